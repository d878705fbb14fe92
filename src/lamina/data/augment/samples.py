"""Some documents of a corpus, drawn by chance and the same at every call: the smallest ids, which are hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lamina.data.parts import read_parts

COLUMNS = ("id", "text", "source", "language", "group_id", "parent_id", "meta")


def sample(
    files: Iterable[Path],
    *,
    characters: int,
    documents: int | None = None,
    longest: int | None = None,
    more: Sequence[str] = (),
    fits: Callable[[Mapping[str, Any]], bool] = lambda row: True,
) -> list[dict[str, Any]]:
    """Documents of Parquet files that have text, are no children and for which ``fits`` holds, until they have
    ``characters`` (counting at most ``longest`` of each) or are ``documents`` in number; as dicts with ``COLUMNS``.

    One pass; what is held in memory is bounded by ``characters``, however large the corpus. ``more``: columns that are
    taken along where the files have them.
    """
    held: list[dict[str, Any]] = []
    size = 0
    last = "g"  # greater than any id
    for path in files:
        names = set(pq.read_schema(path).names)
        wanted = [name for name in dict.fromkeys((*COLUMNS, *more)) if name in names]
        for batch in read_parts([path], wanted):
            for row in batch.to_pylist():
                if row["id"] > last or row.get("parent_id") or not (row["text"] or "").strip() or not fits(row):
                    continue
                held.append(row)
                size += _counted(row, longest)
                if size > 2 * characters + 1_000_000 or (documents and len(held) > 2 * documents + 1000):
                    held, size, last = _cut(held, characters, documents, longest)
    return _cut(held, characters, documents, longest)[0]


def _cut(
    rows: list[dict[str, Any]], characters: int, documents: int | None, longest: int | None
) -> tuple[list[dict[str, Any]], int, str]:
    """The first of ``rows`` by id that are enough, their size, and the last id (the greatest, where they are not)."""
    kept: list[dict[str, Any]] = []
    size = 0
    for row in sorted(rows, key=lambda r: str(r["id"])):
        kept.append(row)
        size += _counted(row, longest)
        if size >= characters or len(kept) == documents:
            return kept, size, str(row["id"])
    return kept, size, "g"


def _counted(row: Mapping[str, Any], longest: int | None) -> int:
    length = len(row["text"])
    return length if longest is None else min(length, longest)
