"""A corpus gone through once: what is counted of every document, and a sample that everything else is measured on.

The sample is the documents with the least hashes of seed and id: the same for every order of the rows. Augmented rows
are passed over: what is made of a document adds nothing to the variety of what was collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8
from lamina.data.parts import rows_of
from lamina.data.variety.walk import walk
from lamina.kit.progress import Progress

if TYPE_CHECKING:
    import polars as pl

FACETS = ("source", "language", "author", "year")
COLUMNS = ["id", "text", "source", "language", "author", "created", "collected", "parent_id"]
SHINGLE = 5  # words
READ = 1 << 16  # bytes of a document that near duplicates are told by
_SHOWN = 8192  # characters of a sampled document that are kept
_TOGETHER = 64  # batches that are counted at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What one reading of a corpus gives.

    ``counts``: for each facet a table of name (null = unknown), documents and characters. ``sample``: id, row (place in
    the files as read by name), order (the hash), the facets, characters and the beginning of the text, by order.
    ``own`` (N,), ``orders`` (N,) and ``keys`` (N, 2) are of every row: whether it is a document (and no child of one),
    the hash, and what near duplicates have in common (zeros: nothing).
    """

    documents: int
    characters: int
    collected: int | None  # the last year
    counts: dict[str, pl.DataFrame]
    sample: pl.DataFrame
    own: NDArray[np.bool_]
    orders: NDArray[np.uint64]
    keys: NDArray[np.uint64]

    @property
    def texts(self) -> pa.Array:
        """The texts of the sample."""
        return array_of(self.sample["text"])


def gather(
    files: Sequence[Path], *, size: int, seed: int, keys: bool = True, progress: Progress | None = None
) -> Gathered:
    """Read the documents in Parquet ``files`` once; the sample has at most ``size`` of them."""
    import polars as pl

    rows = _Rows(rows_of(files), size, seed, keys)
    counted = _Counts()
    waiting: list[pl.DataFrame] = []
    candidates: list[pl.DataFrame] = []
    for facts, near in walk(rows.see, files, COLUMNS, name="variety", progress=progress):
        waiting.append(facts)
        candidates.append(near)
        if len(waiting) == _TOGETHER:
            counted.add(waiting)
            waiting = []
            candidates = [pl.concat(candidates).sort("order", "id").head(size)]
    counted.add(waiting)
    if not candidates:
        nothing = pa.record_batch([pa.nulls(0, pa.string()) for _ in COLUMNS], names=COLUMNS)
        candidates = [_described(nothing, 0, rows.orders)]
    return Gathered(
        documents=int(rows.own.sum()),
        characters=counted.characters,
        collected=counted.collected,
        counts=counted.tables(),
        sample=pl.concat(candidates).sort("order", "id").head(size),
        own=rows.own,
        orders=rows.orders,
        keys=rows.keys,
    )


class _Rows:
    """What is kept of every row: arrays that threads fill, each its own part."""

    def __init__(self, total: int, size: int, seed: int, keys: bool) -> None:
        self.own, self.orders = np.ones(total, np.bool_), np.zeros(total, np.uint64)
        self.keys = np.zeros((total if keys else 0, 2), np.uint64)
        self._limit, self._seed = _limit(size, total), seed

    def see(self, batch: pa.RecordBatch, first: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """What is counted of a batch whose first row is ``first``, and its candidates for the sample."""
        import polars as pl

        part = slice(first, first + batch.num_rows)
        self.own[part] = np.asarray(batch.column("parent_id").is_null())
        _hash(batch.column("id"), self._seed, self.orders[part])
        if len(self.keys):
            _keys(batch.column("text"), self.keys[part])
            self.keys[part][~self.own[part]] = 0
        frame = _described(batch, first, self.orders[part]).filter(pl.Series(self.own[part]))
        near = frame.filter(pl.col("order") <= pl.lit(self._limit, pl.UInt64))
        near = near.with_columns(pl.col("text").str.head(_SHOWN))
        # Strings of polars look into the batch that they came from, which would stay whole in memory for a few of them.
        own = pl.DataFrame({name: near[name].to_list() for name in near.columns}, schema=near.schema)
        return frame.drop("text", "id", "row", "order"), own


def _limit(size: int, total: int) -> int:
    """A hash that surely ``size`` of ``total`` documents lie below, and not many more."""
    share = (size + 6 * size**0.5 + 10) / total if total else 1.0
    return 2**64 - 1 if share >= 1 else int(share * 2**64)


def array_of(column: pl.Series) -> pa.Array:
    """A column of strings as one Arrow array."""
    found = column.to_arrow()
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _described(batch: pa.RecordBatch, row: int, orders: NDArray[np.uint64]) -> pl.DataFrame:
    """The columns that are counted and sampled."""
    import polars as pl

    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(
        "id",
        "text",
        *("source", "language", "author"),
        year=_year("created", frame),
        collected=_year("collected", frame),
        characters=pl.col("text").str.len_chars().fill_null(0).cast(pl.Int64),
        row=pl.Series(np.arange(row, row + frame.height)),
        order=pl.Series(orders[: frame.height]),
    )


def _year(name: str, frame: pl.DataFrame) -> Any:
    import polars as pl

    column = pl.col(name)
    return column.dt.year() if frame.schema[name].is_temporal() else pl.lit(None, pl.Int32).alias(name)


def _hash(ids: pa.Array, seed: int, out: NDArray[np.uint64]) -> None:
    from lamina.data.variety import kernels

    data, offsets = utf8(ids)
    kernels.hash_texts(data, offsets, np.uint64(seed), out)


def _keys(texts: pa.Array, out: NDArray[np.uint64]) -> None:
    from lamina.data.variety import kernels

    fold, (data, offsets) = folding(), utf8(texts)
    kernels.least_grams(data, offsets, READ, fold.table, fold.many, SHINGLE, out)


class _Counts:
    """Documents and characters by facet, added up as the reading goes on."""

    def __init__(self) -> None:
        self.characters = 0
        self.collected: int | None = None
        self._parts: dict[str, list[pl.DataFrame]] = {facet: [] for facet in FACETS}

    def add(self, frames: Sequence[pl.DataFrame]) -> None:
        import polars as pl

        if not frames:
            return
        frame = pl.concat(frames)
        self.characters += int(frame["characters"].sum())
        years = [y for y in (self.collected, frame["collected"].max()) if isinstance(y, int)]
        self.collected = max(years, default=None)
        for facet, parts in self._parts.items():
            name = pl.col(facet).cast(pl.String).alias("name")
            parts.append(frame.group_by(name).agg(documents=pl.len().cast(pl.Int64), characters=pl.sum("characters")))
            if len(parts) == _TOGETHER:
                self._parts[facet] = [_added(parts)]

    def tables(self) -> dict[str, pl.DataFrame]:
        return {facet: _added(parts) for facet, parts in self._parts.items()}


def _added(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One table, the largest group first."""
    import polars as pl

    empty = pl.DataFrame(schema={"name": pl.String, "documents": pl.Int64, "characters": pl.Int64})
    table = pl.concat([empty, *parts]).group_by("name").sum()
    return table.sort(["documents", "characters", "name"], descending=[True, True, False])
