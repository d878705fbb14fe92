"""A served artefact becomes a version of the model, and by default the champion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.contracts.lineage import ModelVersion
from lamina.kit.errors import NotFoundError
from lamina.kit.progress import Progress
from lamina.recipes.base_choice import chosen_base
from lamina.recipes.current import read_json
from lamina.recipes.stack import Stack
from lamina.recipes.status import open_registry

if TYPE_CHECKING:
    from lamina.deployment.registry import ModelRegistry


def register(stack: Stack, served: Path, origin: Mapping[str, Any], progress: Progress) -> None:
    """Make ``served`` a version (once) and, unless a version from feedback answers, the champion."""
    with open_registry(stack) as registry:
        seal = read_json(served / "seal.json")
        version = registry.add(served / "model", parent=_base_name(stack), snapshot=None, seal=seal, **origin)
        champion = _champion(registry)
        if champion is None or (champion.id != version.id and champion.role != "feedback"):
            registry.promote(version.id, because=f"trained on the documents ({stack.name})")
            progress.say(f"{version.id} is the champion")
        elif champion.id != version.id:
            progress.say(
                f"{version.id} is ready; {champion.id}, which learned from feedback, stays champion: lamina improve"
            )


def _champion(registry: ModelRegistry) -> ModelVersion | None:
    try:
        return registry.resolve("champion")
    except NotFoundError:
        return None


def _base_name(stack: Stack) -> str | None:
    model = stack.model
    if model is None:
        return None
    if model.base is None:
        return f"{model.architecture} {model.preset}, fresh"
    if (chosen := chosen_base(stack)) is not None:
        return chosen.location
    return model.base if isinstance(model.base, str) else model.base[0]
