"""What rows of batches hold: a part of a corpus, the row that is filled, and the form that it is filled in.

``NextTokens`` is the form for models that go on with text; those of the other objectives are in ``objectives/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import blake3
import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import IGNORED
from lamina.data.packing import Pieces, cut
from lamina.data.shards import Shards

Ids = NDArray[np.int64]
Draw = Callable[[], np.random.Generator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the mixture: all of ``shards``, or the ``documents`` with these numbers (ascending).

    ``sources``: shards whose documents belong to those of ``shards`` one by one (what is translated, what is alike);
    ``labels`` (N,): the class of each document.
    """

    shards: Shards
    weight: float
    documents: Ids | None = None
    sources: Shards | None = None
    labels: Ids | None = None

    @property
    def digest(self) -> str:
        """Of the tokens, and of the choice of documents."""
        found = self.shards.digest if self.sources is None else f"{self.shards.digest}<{self.sources.digest}"
        for chosen in (self.documents, self.labels):
            if chosen is not None:
                found += ":" + blake3.blake3(np.asarray(chosen, "<i8").tobytes()).hexdigest()[:16]
        return found


class Row:
    """One row of a batch: views of its arrays, see ``contracts.tokens.Batch``, filled from the left."""

    def __init__(self, arrays: Mapping[str, NDArray[np.int64]], number: int) -> None:
        self.number = number  # of the row in its batch
        self._arrays = {name: array[number] for name, array in arrays.items() if array.ndim == 2}
        self._labels = arrays.get("labels")
        self._at = self._source_at = 0

    @property
    def length(self) -> int:
        """Tokens that it holds."""
        return len(self._arrays["inputs"])

    def put(self, segment: int, inputs: NDArray[Any], targets: NDArray[Any], kinds: NDArray[Any] | None = None) -> None:
        """Write a document's tokens (N,), what they are to say (N,) and of which kinds they are (N,)."""
        place = slice(self._at, self._at + len(inputs))
        self._arrays["inputs"][place] = inputs
        self._arrays["targets"][place] = targets
        self._arrays["segments"][place] = segment
        self._arrays["positions"][place] = np.arange(len(inputs))
        if kinds is not None:
            self._arrays["kinds"][place] = kinds
        self._at += len(inputs)

    def put_source(self, segment: int, ids: NDArray[Any]) -> None:
        """Write a document's source (N,)."""
        place = slice(self._source_at, self._source_at + len(ids))
        self._arrays["sources"][place] = ids
        self._arrays["source_segments"][place] = segment
        self._source_at += len(ids)

    def label(self, label: int) -> None:
        """Write the row's label."""
        assert self._labels is not None  # the form says that it has some
        self._labels[self.number] = label


class Form(Protocol):
    """How pieces of a part become the documents of rows."""

    @property
    def holds(self) -> tuple[str, ...]:
        """Arrays beside inputs, targets, segments and positions: "sources", "kinds", "labels"."""
        ...

    @property
    def trimmed(self) -> bool:
        """Whether columns of padding alone are cut off: where each row is one text."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What it was made with, as JSON."""
        ...

    def source_length(self, length: int) -> int:
        """Tokens of a row of sources, where rows have ``length`` tokens."""
        ...

    def cut(self, part: Part, length: int) -> Pieces:
        """The pieces of ``part``; ``room`` is at most ``length``."""
        ...

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """Put the piece into ``row``; ``draw`` makes its generator, the same whenever it is put there."""
        ...


class NextTokens:
    """Each token is to say the one after it.

    ``every``: those, too, that carry no loss in their shards, as what a user says in a chat, in windows that hold one
    which does.
    """

    holds: tuple[str, ...] = ()
    trimmed = False

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self.identity: Mapping[str, Any] = {"every": True} if every else {}

    def source_length(self, length: int) -> int:
        """There are no sources."""
        return 0

    def cut(self, part: Part, length: int) -> Pieces:
        """Windows of the documents, see ``packing.cut``."""
        return cut(part.shards, length, part.documents)

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """``size`` inputs from ``start`` on, each with the token after it as its target."""
        stretch = np.asarray(part.shards.stream[start : start + size + 1], np.int64)
        marks = part.shards.loss[start + 1 : start + size + 1]
        row.put(segment, stretch[:-1], stretch[1:] if self._every else np.where(marks, stretch[1:], IGNORED))
