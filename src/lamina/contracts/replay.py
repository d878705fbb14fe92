"""Answering a stored request again, to see whether the answer is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """``differs``: the first token (from 0) that is another one; None: the answer is the same, token for token.

    ``tokens`` and ``text`` are those of now, ``reasons`` say why they could differ, in words.
    """

    id: str
    version: str
    adapter: str
    differs: int | None
    stored_tokens: Sequence[int]
    tokens: Sequence[int]
    text: str
    finish_reason: str
    kernels: tuple[str, str]  # then and now
    reasons: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.differs is None


class Replays(Protocol):
    """Stored answers, made again."""

    async def replay(self, id: str) -> Replayed:
        """Raises ``NotFoundError`` where the answer, or what it was made with, is not known any more."""
        ...
