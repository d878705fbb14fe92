"""Documents of shards as other trainers want them: the tokens and one end, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.shards import Shards

_TOKENS = 1 << 22  # of a block, about


@dataclass(frozen=True)
class Block:
    """Whole documents; document i of the block ends before token ``ends[i]``. ``loss``: tokens that carry loss."""

    tokens: NDArray[np.unsignedinteger[Any]]
    loss: NDArray[np.bool_]
    ends: NDArray[np.int64]
    ids: list[str]
    sources: list[str]


def blocks(shards: Shards) -> Iterator[Block]:
    """All documents, in order. The first token of a document that begins with the separator is left out: these formats
    put a separator behind each document only."""
    facts, begins = shards.facts, np.concatenate([np.zeros(1, np.int64), shards.ends[:-1]])
    doubled = facts.get("start") is not None and facts["start"] == facts.get("end")
    names = _Names(shards)
    first = 0
    while first < shards.documents:
        last = max(first + 1, int(np.searchsorted(shards.ends, begins[first] + _TOKENS, "right")))
        place = slice(int(begins[first]), int(shards.ends[last - 1]))
        kept = np.ones(place.stop - place.start, np.bool_)
        if doubled:
            kept[begins[first:last] - place.start] = False
        sizes = shards.ends[first:last] - begins[first:last] - doubled
        ids, sources = names.next(last - first)
        yield Block(shards.stream[place][kept], shards.loss[place][kept], np.cumsum(sizes), ids, sources)
        first = last


class _Names:
    """Ids and sources, read on where the last reading stopped."""

    def __init__(self, shards: Shards) -> None:
        self._file = pq.ParquetFile(shards.path / "documents.parquet")
        self._batches = self._file.iter_batches(columns=["id", "source"])
        self._ids: list[str] = []
        self._sources: list[str] = []

    def next(self, count: int) -> tuple[list[str], list[str]]:
        while len(self._ids) < count:
            batch = next(self._batches)
            self._ids += batch.column("id").to_pylist()
            self._sources += batch.column("source").to_pylist()
        found = self._ids[:count], self._sources[:count]
        del self._ids[:count], self._sources[:count]
        return found
