"""Low-rank adapters that a service keeps beside a model: each is asked for by its name, as a model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAdapter:
    """An adapter that may be asked now."""

    name: str
    version: str  # the model version that it is added to
    rank: int
    digest: str  # sha256 of its files
    source: str  # the folder that it was read from
    created: datetime  # when it was loaded


class Adapters(Protocol):
    """Adapters come and go while the service answers. Synchronous: called in a thread."""

    def adapters(self) -> Sequence[ServedAdapter]:
        """Those that may be asked, by name."""
        ...

    def load_adapter(self, name: str, path: str, *, replace: bool = False) -> ServedAdapter:
        """Read the PEFT folder at ``path`` for the version that answers now; ``replace`` one of the same name.

        Raises ``RefusedError`` for a folder that the service may not read, ``InputError`` for a bad name or a taken
        one, ``ModelFileError`` for what is no adapter of this model, ``TooLargeError`` above the limits.
        """
        ...

    def unload_adapter(self, name: str) -> None:
        """Take no more requests for it; those that run end first. Raises ``NotFoundError``."""
        ...
