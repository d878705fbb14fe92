"""The command line is frozen: growth is a decision, made by writing the new snapshot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import typer

from lamina.cli import app

SNAPSHOT = Path(__file__).parent / "surface.json"


def surface(command: Any) -> Any:
    if hasattr(command, "commands"):
        return {name: surface(inner) for name, inner in sorted(command.commands.items())}
    return sorted("/".join(p.opts) if p.param_type_name == "option" else str(p.name).upper() for p in command.params)


def test_the_command_line_is_as_recorded() -> None:
    now = surface(typer.main.get_command(app))
    if os.environ.get("LAMINA_WRITE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(now, indent=1) + "\n")
    assert now == json.loads(SNAPSHOT.read_text()), "LAMINA_WRITE_SNAPSHOTS=1 records a wanted change"
