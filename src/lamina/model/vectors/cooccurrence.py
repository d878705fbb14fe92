"""Which words stand near each other, counted in bounded memory.

Frequent pairs have a cell in a dense block: those whose ranks (from 1) multiply to no more than a bound. All others go
into hash tables, one a thread; a full table is sorted and becomes a run on disk, and the runs are merged at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.kit.disk import storage
from lamina.kit.errors import InputError
from lamina.kit.progress import Task
from lamina.model.vectors import cooccurrence_kernels as kernels
from lamina.model.vectors.vocabulary import Corpus

#: A pair of ranks, row <= column, and how near they stood how often: the sum of 1 / distance.
PAIR = np.dtype([("row", np.int32), ("column", np.int32), ("count", np.float32)])

_CELL, _SLOT = 8, 16  # bytes of a dense cell and of a slot of a hash table
_DENSE = 1 << 24  # cells at most: more are no faster than the hash table
_BLOCK = 1 << 20  # pairs handed on at a time
_LEAST = 1 << 10  # slots

Pairs = NDArray[Any]
Cells = NDArray[np.uint64]


class Cooccurrences:
    """Counts of pairs at most ``window`` tokens apart in one document; take them with ``pairs``, in blocks.

    ``memory`` (bytes) bounds the block and the tables; what is over goes to files in ``work``, which are removed with
    ``close``. Raises ``InputError`` where they would be needed and no folder was given.
    """

    def __init__(
        self, corpus: Corpus, vocabulary: int, *, window: int, threads: int, memory: int, work: Path | None
    ) -> None:
        self.corpus, self.window, self.threads, self.work = corpus, window, threads, work
        self.start, self.limit, cells = dense_rows(vocabulary, min(memory // 4 // _CELL, _DENSE))
        self.dense = np.zeros(cells, np.uint64)
        most = min(memory // 2 // _SLOT // threads, _enough(corpus, vocabulary, window, threads))
        self.slots = max(1 << (int(most).bit_length() - 1), _LEAST)
        self.runs: list[list[Cells]] = [[] for _ in range(threads)]
        self._exit = ExitStack()
        self._folder: Path | None = None

    def __enter__(self) -> Cooccurrences:
        return self

    def __exit__(self, *error: object) -> None:
        self.runs = []
        self._exit.close()

    def count(self, task: Task) -> None:
        """Read the corpus; ``task`` advances by its tokens."""
        if self.work is not None:
            scratch = tempfile.TemporaryDirectory(prefix=".cooccurrences-", dir=self.work)
            self._folder = Path(self._exit.enter_context(scratch))
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(self._count, range(self.threads), [task] * self.threads))

    def _count(self, thread: int, task: Task) -> None:
        table = np.zeros((self.slots, 2), np.uint64)
        place, filled, near = np.zeros(2, np.int64), np.zeros(1, np.int64), np.zeros((self.window, 2), np.uint64)
        shift = np.uint64(64 - (self.slots.bit_length() - 1))
        shape = (self.start, self.limit, self.dense, table, shift)
        bounds = np.unique(np.linspace(0, len(self.corpus.ends), 65).astype(np.int64).clip(1))
        before = 0
        for last in bounds:
            ends = self.corpus.ends[:last]
            while not kernels.count_pairs(
                self.corpus.tokens, ends, place, self.window, thread, self.threads, *shape, filled, near
            ):
                self._spill(thread, table)
                table[:], filled[0] = 0, 0
            task.advance((int(ends[-1]) - before) / self.threads)
            before = int(ends[-1])
        cells = table[table[:, 0] > 0]
        self.runs[thread].append(cells if not self.runs[thread] else cells[np.argsort(cells[:, 0])])

    def _spill(self, thread: int, table: Cells) -> None:
        if self._folder is None:
            raise InputError("the co-occurrences need more memory than allowed", hint="raise 'memory' or give 'work'")
        cells = table[table[:, 0] > 0]
        path = self._folder / f"{thread}-{len(self.runs[thread])}.run"
        with storage("write", path):
            cells[np.argsort(cells[:, 0])].tofile(path)
        self.runs[thread].append(np.memmap(path, np.uint64, "r", shape=cells.shape))

    @property
    def most(self) -> int:
        """No fewer than there are different pairs."""
        return int(np.count_nonzero(self.dense)) + sum(len(run) for runs in self.runs for run in runs)

    def pairs(self) -> Iterator[Pairs]:
        """All pairs (``PAIR``), each once, in blocks."""
        rows, begin = len(self.limit), 0
        widths = np.maximum(self.limit - np.arange(rows), 0)
        ends = np.cumsum(widths)
        while begin < rows and widths[begin]:
            first = int(ends[begin] - widths[begin])
            end = max(begin + 1, int(np.searchsorted(ends, first + _BLOCK, "right")))
            out = np.empty(int(ends[end - 1]) - first, PAIR)
            yield out[: kernels.take_dense(self.dense, self.start, self.limit, begin, end, out)]
            begin = end
        for runs in self.runs:
            for cells, order in _merged(runs):
                out = np.empty(len(cells), PAIR)
                yield out[: kernels.take_cells(cells, order, out)]


def dense_rows(vocabulary: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Row a of the dense block has the columns from a to limit[a], those with (a + 1)(b + 1) under a common bound.

    The largest bound is taken with which all rows together have at most ``cells`` cells. Returns start, limit, where
    cell (a, b) is the one at start[a] + b, and the number of cells.
    """
    ranks = np.arange(1, vocabulary + 1, dtype=np.int64)

    def widths(bound: int) -> NDArray[np.int64]:
        return np.maximum(np.minimum(bound // ranks, vocabulary) - ranks + 1, 0)

    low, high = 0, vocabulary * vocabulary
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if widths(middle).sum() <= cells else (low, middle - 1)
    wide = widths(low)
    limit = np.where(wide > 0, ranks - 1 + wide, 0)
    return np.cumsum(wide) - wide - (ranks - 1), limit, int(wide.sum())


def _enough(corpus: Corpus, vocabulary: int, window: int, threads: int) -> int:
    """Slots with which a table never gets full: there are no more pairs of places, nor of words."""
    return 3 * (min(len(corpus) * window, vocabulary * (vocabulary + 1) // 2) // threads + window) + 2 * _LEAST


def _merged(runs: list[Cells]) -> Iterator[tuple[Cells, NDArray[np.int64]]]:
    """Cells of a thread's runs in blocks, and an order in which equal keys stand together."""
    if len(runs) == 1:
        for begin in range(0, len(runs[0]), _BLOCK):
            block = runs[0][begin : begin + _BLOCK]
            yield block, np.arange(len(block))
        return
    at = [0] * len(runs)
    share = max(_BLOCK // len(runs), 1)
    while any(place < len(run) for place, run in zip(at, runs, strict=True)):
        # Up to the least of the keys that stand ``share`` further on, every run is wholly at hand.
        ahead = [
            run[min(place + share, len(run)) - 1, 0] for place, run in zip(at, runs, strict=True) if place < len(run)
        ]
        key = min(ahead)
        to = [int(np.searchsorted(run[:, 0], key, "right")) for run in runs]
        block = np.concatenate([run[a:b] for run, a, b in zip(runs, at, to, strict=True)])
        at = to
        yield block, np.argsort(block[:, 0], kind="stable")
