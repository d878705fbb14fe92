"""``[deployment] draft``: the small model that guesses what the served one will say."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.kit.errors import ConfigError, NotFoundError
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.contracts.lineage import ModelVersion
    from lamina.deployment.drafts import DraftOf
    from lamina.deployment.registry import ModelRegistry

_log = logging.getLogger(__name__)


def find_drafts(stack: Stack, registry: ModelRegistry) -> DraftOf | None:
    """Where a version's draft lies; None where the stack has none. Raises ``ConfigError`` where there is none now."""
    name = stack.deployment.draft
    if name is None:
        return None
    try:
        _folder(stack, registry, name, "")
    except NotFoundError as error:
        raise ConfigError(
            f"'{name}' is neither a folder beside the stack file nor a version",
            where="deployment.draft",
            hint=error.hint,
        ) from error
    return partial(_draft_of, stack, registry, name)


def _draft_of(stack: Stack, registry: ModelRegistry, name: str, version: ModelVersion) -> Path | None:
    """No version guesses for itself. What is gone since is done without: it changes no answer."""
    try:
        found = _folder(stack, registry, name, version.id)
    except NotFoundError as error:
        _log.warning("%s is served without its draft: %s", version.id, error)
        return None
    if found is None:
        _log.info("%s is what deployment.draft names: it is served without one", version.id)
    return found


def _folder(stack: Stack, registry: ModelRegistry, name: str, served: str) -> Path | None:
    """A folder beside the stack file, or a version; None: it is the one that is ``served``."""
    folder = stack.folder / name
    if name and folder.is_dir():
        return folder
    found = registry.resolve(name)
    return None if found.id == served else registry.folder(found.id)
