"""Text as numbers: what a tokenizer gives, what a training step takes.

Shapes: B sequences of a batch, T tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.chat import Message

#: A target that carries no loss (PyTorch's ``ignore_index``).
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as token ids; ``learned[i]``: token i belongs to an assistant's turn (end token included)."""

    ids: list[int]
    learned: list[bool]


class Tokenizer(Protocol):
    """Text to ids and back. Control tokens inside ordinary text are encoded as plain text, never as control ids."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a document or an assistant's turn; the first one separates documents."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def render(self, messages: Sequence[Message], *, open_answer: bool = False) -> Rendered:
        """Apply the chat template; ``open_answer`` ends with the header of an assistant turn, ready to be answered."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training micro-batch. All arrays are int64 of shape (B, T).

    ``targets`` are already shifted (the token after each input token), ``IGNORED`` where nothing is to be learned;
    ``segments`` number the documents packed into a row from 1 (0 = padding); ``positions`` restart with each segment.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    segments: NDArray[np.int64]
    positions: NDArray[np.int64]

    @property
    def learned(self) -> int:
        """Tokens that carry loss."""
        return int((self.targets != IGNORED).sum())


class BatchStream(Protocol):
    """An endless, deterministic stream of batches whose place can be saved and restored exactly."""

    def __next__(self) -> Batch: ...

    def state(self) -> Mapping[str, Any]:
        """JSON-serialisable; ``restore(state())`` makes the next batch the same as without interruption."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
