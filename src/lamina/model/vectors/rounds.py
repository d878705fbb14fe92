"""The rounds of reproducible training: which rows of the threads' copies are made one again after which round.

Between two rounds each thread misses what the others learn. Where that is little, what they learned can be added up, as
it adds up where threads share the weights; where it is much, the sum goes too far, and a mean learns too little (both
were measured: docs/log.md). So rounds are short, and the rows of frequent words are made one after each of them, others
after 2, 4, 8, … of them, so that no copy of a row misses more than a few occurrences of its word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamina.model.vectors.word2vec_kernels import Task

#: Tokens of a piece of a document at most: a thread's round is no shorter.
PIECE = 500
_MISSED = 3_000  # tokens that all others learn from in a round, which a thread then misses
_LATE = 8  # occurrences between two times that a row is made one
_LONGEST = 6  # it waits for 2^6 rounds at most


@dataclass(frozen=True, slots=True)
class Tiers:
    """All ``rows``, those that are made one oftener first: the first ``ends[k]`` after each 2^k-th round."""

    rows: NDArray[np.int64]
    ends: NDArray[np.int64]

    def due(self, number: int) -> int:
        """How many of ``rows`` are made one after round ``number`` (from 1)."""
        twos = (number & -number).bit_length() - 1
        return int(self.ends[min(twos, _LONGEST)])


def round_of(threads: int) -> float:
    """Tokens that each of several threads learns from in a round."""
    return _MISSED / (threads - 1)


def tiers(kept: NDArray[np.float64], task: Task, inputs: int, outputs: int) -> tuple[Tiers, Tiers]:
    """Of so many rows of either matrix, where word i stands ``kept[i]`` times in a round.

    A row of an n-gram stands for all its words, a node of the tree for all words under it. Words that are drawn as
    negatives are not counted: they move far less.
    """
    seen = (_gathered(kept, task.grams, task.gram_ends, inputs), _gathered(kept, task.paths, task.path_ends, outputs))
    first, second = (_tiers(times) for times in seen)
    return first, second


def _gathered(
    kept: NDArray[np.float64], members: NDArray[np.int32], ends: NDArray[np.int64], rows: int
) -> NDArray[np.float64]:
    if not len(ends):
        return kept
    return np.bincount(members, np.repeat(kept, np.diff(ends)), minlength=rows).astype(np.float64)


def _tiers(seen: NDArray[np.float64]) -> Tiers:
    waits = np.log2(_LATE / np.maximum(seen, 1e-9)).astype(np.int64).clip(0, _LONGEST)
    rows = np.argsort(waits, kind="stable")
    return Tiers(rows, np.searchsorted(waits[rows], np.arange(_LONGEST + 1), "right"))
