"""What an engine tells those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """Is told what happens, on the engine's thread; times in seconds."""

    def first_token(self, seconds: float, prompt_tokens: int) -> None:
        """``seconds`` after its arrival a request got its first token."""
        ...

    def next_token(self, seconds: float) -> None:
        """A further token, ``seconds`` after the one before."""
        ...

    def finished(self, reason: str, seconds: float, generated: int) -> None:
        """A request ended: "stop", "length", "abort" or "error"."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the engine holds right now."""

    running: int
    waiting: int
    cache_usage: float  # 0 to 1
    step_age: float | None  # seconds since the last step ended while there is work; None when idle
