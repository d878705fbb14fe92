"""The versions of a stack's model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamina.kit.database import Database
from lamina.recipes.stack import Stack

if TYPE_CHECKING:
    from lamina.deployment.registry import ModelRegistry


@contextmanager
def open_registry(stack: Stack) -> Iterator[ModelRegistry]:
    """The stack's model registry over its database."""
    from lamina.deployment.registry import ModelRegistry

    stack.state.mkdir(parents=True, exist_ok=True)
    database = Database.open(stack.database)
    try:
        yield ModelRegistry(database, stack.state / "models")
    finally:
        database.close()
