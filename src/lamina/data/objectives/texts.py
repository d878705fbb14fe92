"""Texts in the frame that an encoder wants: whole windows, labelled texts, texts that are alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.tokens import IGNORED
from lamina.data.forms import Draw, Ids, Part, Row
from lamina.data.packing import Pieces, spans, windows
from lamina.data.shards import Shards
from lamina.kit.errors import ConfigError, InputError

Frame = tuple[tuple[int, ...], tuple[int, ...]]


def interiors(shards: Shards, documents: Ids | None = None) -> tuple[Ids, Ids]:
    """Where each document's own tokens begin and how many they are, (N,) and (N,): without what ``write_shards`` put
    at its edges."""
    begin, end = spans(shards, documents)
    edge = 1 if "start" in shards.facts else 0
    return begin + edge, np.maximum(end - begin - 2 * edge, 0)


def interior(shards: Shards, number: int) -> slice:
    """The stretch of one document's own tokens."""
    edge = 1 if "start" in shards.facts else 0
    begin = int(shards.ends[number - 1]) if number else 0
    return slice(begin + edge, max(begin + edge, int(shards.ends[number]) - edge))


class Framed:
    """What the forms of framed texts share. ``frame``: tokens before and behind a text ([CLS] and [SEP])."""

    holds: tuple[str, ...] = ()
    trimmed = True

    def __init__(self, frame: Frame = ((), ())) -> None:
        self._before, self._after = (np.asarray(edge, np.int64) for edge in frame)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The form, and the frame."""
        return {"use": type(self).__name__, "frame": [self._before.tolist(), self._after.tolist()]}

    def source_length(self, length: int) -> int:
        """As long as the texts."""
        return length

    def _inside(self, length: int) -> int:
        """Tokens of a text in a row of ``length``."""
        inside = length - len(self._before) - len(self._after)
        if inside < 1:
            raise ConfigError(f"{length} tokens hold no text in its frame", where="length", hint="longer rows")
        return inside

    def _framed(self, ids: NDArray[Any]) -> Ids:
        return np.concatenate([self._before, np.asarray(ids, np.int64), self._after])


class WholeTexts(Framed):
    """Windows of documents, several packed in a row, each in its frame; each token's target is the token itself.

    What ``MaskedBatches`` hides tokens of.
    """

    trimmed = False

    def cut(self, part: Part, length: int) -> Pieces:
        """Windows that share no token and leave none out."""
        begin, count = interiors(part.shards, part.documents)
        start, size = windows(begin, count, self._inside(length))
        return Pieces(start=start, size=size, learned=size, room=size + length - self._inside(length))

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """One window."""
        ids = self._framed(part.shards.stream[start : start + size])
        row.put(segment, ids, ids)


class Labelled(Framed):
    """One text a row, cut off where it is too long, with its label; ``labels``: how many different ones there are."""

    holds = ("labels",)

    def __init__(self, frame: Frame = ((), ()), *, labels: int) -> None:
        super().__init__(frame)
        self._labels = labels

    def cut(self, part: Part, length: int) -> Pieces:
        """One piece a text. Raises ``InputError`` for a label that is none of them."""
        if part.labels is None or len(part.labels) != part.shards.documents:
            raise InputError("each text needs a label", where=str(part.shards.path))
        wrong = np.flatnonzero((part.labels < 0) | (part.labels >= self._labels))
        if len(wrong):
            raise InputError(
                f"text {wrong[0]} has label {part.labels[wrong[0]]}; there are 0 to {self._labels - 1}",
                where=str(part.shards.path),
            )
        return _one_a_row(part, length, self._inside(length))

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """``start`` is the text's number."""
        assert part.labels is not None  # see cut
        ids = self._framed(part.shards.stream[interior(part.shards, start)][:size])
        row.put(segment, ids, np.full(len(ids), IGNORED))
        row.label(int(part.labels[start]))


class Alike(Framed):
    """One text a row, and as its source the text that is like it; the label says which row of sources that is.

    For embeddings: the sources of the other rows are what it is not like (in-batch negatives, arXiv 1705.00652).
    """

    holds = ("sources", "labels")

    def cut(self, part: Part, length: int) -> Pieces:
        """One piece a pair."""
        check_paired(part)
        return _one_a_row(part, length, self._inside(length))

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """``start`` is the pair's number."""
        assert part.sources is not None  # see cut
        ids = self._framed(part.shards.stream[interior(part.shards, start)][:size])
        other = self._framed(part.sources.stream[interior(part.sources, start)][: self._inside(row.length)])
        row.put(segment, ids, np.full(len(ids), IGNORED))
        row.put_source(segment, other)
        row.label(row.number)


def _one_a_row(part: Part, length: int, inside: int) -> Pieces:
    """A piece of a whole row of ``length`` for each document that has text; ``start`` is its number, ``size`` at most
    ``inside``."""
    size = np.minimum(interiors(part.shards)[1], inside)
    kept = size > 0
    if part.sources is not None:
        kept &= interiors(part.sources)[1] > 0
    if part.documents is not None:
        kept &= np.isin(np.arange(len(size)), part.documents)
    ones = np.ones(len(size), np.int64)
    return Pieces(start=np.arange(len(size)), size=size, learned=ones, room=ones * length).where(kept)


def check_paired(part: Part) -> None:
    """Raise ``InputError`` where sources do not belong to the documents one by one."""
    found = None if part.sources is None else part.sources.documents
    if found != part.shards.documents:
        raise InputError(
            f"{part.shards.documents} texts have {found or 'no'} counterparts",
            where=str(part.shards.path),
            hint="both sides need the same number of documents, in the same order",
        )
