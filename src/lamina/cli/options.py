"""What every verb shares: its options, opening the stack file, and writing the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

StackFile = Annotated[Path, typer.Option("--stack", help="The stack file.", show_default=True)]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a key: model.train.steps=200.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Because = Annotated[str, typer.Option("--because", help="The reason, kept in the log.")]
DEFAULT = Path("lamina.toml")


def open_stack_file(stack: Path, assignments: list[str] | None) -> Any:
    """The stack that the file describes, with the keys that ``--set`` overrides."""
    from lamina.recipes.stack import open_stack

    return open_stack(stack, assignments or [])


def write_out(value: Any, as_json: bool) -> None:
    """Write what a recipe came back with."""
    typer.echo(json.dumps(value, indent=1, default=str) if as_json else value)
