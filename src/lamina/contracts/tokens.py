"""Text as numbers: what a tokenizer gives, what a training step takes.

Shapes: B sequences of a batch, T tokens of a sequence, S tokens of a source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.chat import Message, Tool

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

    def render(self, messages: Sequence[Message], *, open_answer: bool = False, tools: Sequence[Tool] = ()) -> Rendered:
        """Apply the chat template; ``open_answer`` ends with the header of an assistant turn, ready to be answered.

        ``tools`` are offered where the template has a place for them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training micro-batch. All arrays are int64, those without another shape (B, T).

    ``targets``: what each place is to say, ``IGNORED`` where nothing is to be learned there: the next token for a model
    that goes on with text (already shifted), the hidden one for a masked language model;
    ``segments`` number the documents packed into a row from 1 (0 = padding); ``positions`` restart with each segment.

    ``sources`` (B, S): what an encoder beside a decoder reads; ``source_segments`` (B, S) number it as ``segments`` do,
    so that a document sees its own source. For an encoder alone: the texts that are to be found near those of
    ``inputs``, one a row. ``kinds``: of token, 0 and 1 for BERT's first and second text.
    ``labels`` (B,): of rows with one text each: its class, 0 or 1 where a second text follows the first or does not
    (as ``transformers`` counts), or the row of ``sources`` that belongs to it; ``IGNORED`` where there is none.

    ``references`` (B,) float64: the batch teaches which answers are preferred. Each row is an answer to a prompt, its
    ``targets`` those of the answer, and this its log-probability by the model that training began with. Without labels
    row 2i is preferred to row 2i + 1; with them an answer was good (1) or bad (0), and rows whose label is ``IGNORED``
    are answers to other prompts, by which the distance from the reference is estimated.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    segments: NDArray[np.int64]
    positions: NDArray[np.int64]
    sources: NDArray[np.int64] | None = None
    source_segments: NDArray[np.int64] | None = None
    kinds: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None
    references: NDArray[np.float64] | None = None

    @property
    def places(self) -> int:
        """Places of tokens that a model computes, padding and an encoder's sources among them."""
        return self.inputs.size + (0 if self.sources is None else self.sources.size)

    @property
    def learned_tokens(self) -> int:
        """Targets that carry loss by themselves."""
        return 0 if self.references is not None else int((self.targets != IGNORED).sum())

    @property
    def learned_labels(self) -> int:
        """Labels, or pairs of answers, that carry loss."""
        if self.labels is None:
            return 0 if self.references is None else len(self.references) // 2
        return int((self.labels != IGNORED).sum())

    @property
    def learned(self) -> int:
        """Tokens and labels that carry loss."""
        return self.learned_tokens + self.learned_labels


class BatchStream(Protocol):
    """An endless, deterministic stream of batches whose place can be saved and restored exactly."""

    def __next__(self) -> Batch: ...

    def state(self) -> Mapping[str, Any]:
        """JSON-serialisable; ``restore(state())`` makes the next batch the same as without interruption."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...
