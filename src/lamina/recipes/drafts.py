"""``[deployment] draft``: the small model that guesses what the served one will say."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.kit.errors import ConfigError, NotFoundError
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.contracts.lineage import ModelVersion
    from lamina.deployment.drafts import DraftOf
    from lamina.deployment.registry import ModelRegistry


def find_drafts(stack: Stack, registry: ModelRegistry) -> DraftOf | None:
    """Where a version's draft lies; None where the stack has none."""
    return None if stack.deployment.draft is None else partial(_draft_of, stack, registry, stack.deployment.draft)


def _draft_of(stack: Stack, registry: ModelRegistry, name: str, version: ModelVersion) -> Path | None:
    """A folder beside the stack file, or a version; no version guesses for itself. Raises ``ConfigError``."""
    folder = stack.folder / name
    if folder.is_dir():
        return folder
    try:
        found = registry.resolve(name)
    except NotFoundError as error:
        raise ConfigError(
            f"'{name}' is neither a folder beside the stack file nor a version",
            where="deployment.draft",
            hint=error.hint,
        ) from error
    return None if found.id == version.id else registry.folder(found.id)
