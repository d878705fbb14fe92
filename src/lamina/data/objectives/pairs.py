"""Pairs of texts: what an encoder reads, and what the decoder beside it is to write (translation)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lamina.contracts.tokens import Tokenizer
from lamina.data.forms import Draw, Part, Row
from lamina.data.objectives.texts import check_paired, interior, interiors
from lamina.data.packing import Pieces
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import InputError

_log = logging.getLogger(__name__)


class Pairs:
    """Documents of ``Part.shards`` as targets, those of ``Part.sources`` as what they are made from, number by number.

    Both sides end with ``end``; the decoder begins with ``start``. Several pairs are packed in a row, with the same
    segment on both sides.
    """

    holds = ("sources",)
    trimmed = False

    def __init__(self, *, start: int, end: int, source_length: int) -> None:
        self._start, self._end, self._source_length = start, end, source_length

    @property
    def identity(self) -> Mapping[str, Any]:
        """What it was made with."""
        return {"use": "Pairs", "edges": [self._start, self._end], "source_length": self._source_length}

    def source_length(self, length: int) -> int:
        """As given."""
        return self._source_length

    def cut(self, part: Part, length: int) -> Pieces:
        """Pairs that have text on both sides and fit into a row; half a sentence has no translation. ``start`` is a
        pair's number."""
        check_paired(part)
        assert part.sources is not None
        target, source = interiors(part.shards)[1], interiors(part.sources)[1]
        # One number for both sides: each takes at most its share of the row's ``length``.
        room = np.maximum(-(-(source + 1) * length // self._source_length), target + 1)
        there = (source > 0) & (target > 0)
        kept = there & (room <= length)
        if part.documents is not None:
            chosen = np.isin(np.arange(len(kept)), part.documents)
            there, kept = there & chosen, kept & chosen
        if long := int((there & ~kept).sum()):
            _log.warning("%s: %d of %d pairs are longer than a row: left out", part.shards.path, long, there.sum())
        return Pieces(start=np.arange(len(kept)), size=target, learned=target + 1, room=room).where(kept)

    def write(self, row: Row, segment: int, part: Part, start: int, size: int, draw: Draw) -> None:
        """``start`` is the pair's number."""
        assert part.sources is not None  # see cut
        target, source = (
            np.asarray([*side.stream[interior(side, start)], self._end], np.int64)
            for side in (part.shards, part.sources)
        )
        row.put_source(segment, source)
        row.put(segment, np.concatenate([[self._start], target[:-1]]), target)


def write_pairs(
    rows: Iterable[tuple[str, str]], folder: Path, tokenizer: Tokenizer, target_tokenizer: Tokenizer | None = None
) -> tuple[Shards, Shards]:
    """Pairs of source and target as shards in ``folder``: (sources, targets). Pairs without text are left out.

    Raises ``InputError`` where no pair is left, or where one is not two texts.
    """
    other = target_tokenizer or tokenizer
    with ShardWriter(folder / "sources", tokenizer) as sources, ShardWriter(folder / "targets", other) as targets:
        empty = True
        for number, pair in enumerate(rows):
            if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise InputError("a pair is two texts: the source and the target", where=f"row {number}")
            ids = tokenizer.encode(pair[0]), other.encode(pair[1])
            if not all(ids):
                continue
            empty = False
            for writer, side in ((sources, ids[0]), (targets, ids[1])):
                writer.add(side, [True] * len(side), id=str(number), source="pairs")
        if empty:
            raise InputError("there is no pair with text on both sides", where=str(folder))
        return sources.close(), targets.close()
