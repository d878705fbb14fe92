"""Going through the row groups of a corpus in their order, with the work on them spread over threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.data.parts import rows_of
from lamina.kit.progress import Progress
from lamina.kit.workers import cores

T = TypeVar("T")


def walk(
    work: Callable[[pa.RecordBatch, int], T],
    files: Sequence[Path],
    columns: Sequence[str],
    *,
    name: str,
    progress: Progress | None = None,
    alone: bool = False,
) -> Iterator[T]:
    """``work(batch, first)`` of every row group, in their order; ``first`` is the place of its first row.

    Columns that a file lacks are null. ``work`` runs on threads (decoding goes on meanwhile), or ``alone``: one call
    after another. With a ``progress`` there is a bar called ``name``.
    """
    if progress is None:
        for value, _ in _spread(work, files, columns, alone):
            yield value
        return
    with progress.task(name, total=rows_of(files), unit="documents") as task:
        for value, rows in _spread(work, files, columns, alone):
            yield value
            task.advance(rows)


def _spread(
    work: Callable[[pa.RecordBatch, int], T], files: Sequence[Path], columns: Sequence[str], alone: bool
) -> Iterator[tuple[T, int]]:
    if alone:
        for batch, first in _batches(files, columns):
            yield work(batch, first), batch.num_rows
        return
    waiting: deque[tuple[Future[T], int]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        for batch, first in _batches(files, columns):
            waiting.append((pool.submit(work, batch, first), batch.num_rows))
            if len(waiting) > cores():
                future, rows = waiting.popleft()
                yield future.result(), rows
        for future, rows in waiting:
            yield future.result(), rows


def _batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
    row = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            have = [name for name in columns if name in file.schema_arrow.names]
            for group in range(file.num_row_groups):
                for batch in file.read_row_group(group, columns=have).combine_chunks().to_batches():
                    given = dict(zip(batch.schema.names, batch.columns, strict=True))
                    nothing = pa.nulls(batch.num_rows, pa.string())
                    yield pa.record_batch([given.get(name, nothing) for name in columns], names=list(columns)), row
                    row += batch.num_rows
