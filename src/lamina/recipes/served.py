"""Whether the engine can serve a model; where it cannot, a stack ends with the trained model and says so."""

from __future__ import annotations

from pathlib import Path

from lamina.kit.errors import ConfigError


def why_not_served(folder: Path) -> str | None:
    """What the engine lacks for the model in ``folder`` (a Hugging Face folder); None where it serves it."""
    from lamina.deployment.engine.runner import check_served
    from lamina.model.checkpoint import read_config
    from lamina.model.families import family_of_config

    config, where = read_config(folder), str(folder / "config.json")
    try:
        check_served(family_of_config(config, where).to_spec(config, where))
    except ConfigError as error:
        return f"{error.what} ({config.get('model_type')} is not among them yet)"
    return None
