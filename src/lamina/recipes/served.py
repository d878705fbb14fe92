"""Whether the engine can serve a model; where it cannot, a stack ends with the trained model and says so."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamina.kit.errors import ConfigError
from lamina.kit.spawn import imports
from lamina.kit.workers import call


def why_not_served(folder: Path) -> str | None:
    """What the engine lacks for the model in ``folder`` (a Hugging Face folder); None where it serves it."""
    told = {"folder": str(folder)}
    if "torch" in sys.modules:
        return lacking(told)
    found: str | None = call("lamina.recipes.served:lacking", told)  # torch stays out of this process
    return found


@imports("lamina.deployment.engine.runner")
def lacking(payload: Mapping[str, Any]) -> str | None:
    """The answer, in a process with torch."""
    from lamina.deployment.engine.layer import check_served
    from lamina.model.checkpoint import read_config
    from lamina.model.families import family_of_config

    folder = Path(payload["folder"])
    config, where = read_config(folder), str(folder / "config.json")
    try:
        check_served(family_of_config(config, where).to_spec(config, where))
    except ConfigError as error:
        return f"{error.what} ({config.get('model_type')} is not among them yet)"
    return None
