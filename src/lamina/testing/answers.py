"""What an engine delivers, waited for."""

from __future__ import annotations

import threading

from lamina.contracts.inference import Chunk
from lamina.kit.errors import LaminaError


class Answer:
    """Collects what is delivered for one request: give it to the engine as ``deliver``, then read its properties, which
    wait for the end. All but ``ended`` raise the error where the request ended with one."""

    def __init__(self, *, patience: float = 60.0) -> None:
        self.items: list[Chunk | LaminaError] = []
        self.done = threading.Event()
        self.patience = patience

    def __call__(self, item: Chunk | LaminaError) -> None:
        """One more piece; from the engine's thread."""
        self.items.append(item)
        if isinstance(item, LaminaError) or item.finish_reason:
            self.done.set()

    def wait(self, seconds: float | None = None) -> Answer:
        """Until it has ended. Raises ``AssertionError`` where it does not in time."""
        if not self.done.wait(self.patience if seconds is None else seconds):
            raise AssertionError("no answer")
        return self

    @property
    def ended(self) -> Chunk | LaminaError:
        """How it ended."""
        return self.wait().items[-1]

    @property
    def chunks(self) -> list[Chunk]:
        """All pieces."""
        if isinstance(self.ended, LaminaError):
            raise self.ended
        return [item for item in self.items if isinstance(item, Chunk)]

    @property
    def last(self) -> Chunk:
        """The piece with the ``finish_reason``."""
        return self.chunks[-1]

    @property
    def tokens(self) -> list[int]:
        """Ids of the whole answer."""
        return [token for chunk in self.chunks for token in chunk.tokens]

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(chunk.text for chunk in self.chunks)
