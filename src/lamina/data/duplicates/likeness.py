"""A few texts, kept as masked shingles only, and which of many texts resemble one of them: counted, not estimated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8

SHINGLE = 5  # words
LEAST_WORDS = 8  # of a text that can be like another: fewer words are nobody's own
#: Factor (odd, of 64 bits) and summand that shingles are hashed with once more.
Mask = tuple[np.uint64, np.uint64]


def shingles(texts: Iterable[str], mask: Mask) -> list[NDArray[np.uint32]]:
    """The masked shingles of each text that has enough words, sorted, each once; other texts have none."""
    from lamina.data.duplicates.likeness_kernels import shingles_of

    fold = folding()
    found = []
    for text in texts:  # a loop over the few
        data, offsets = utf8(pa.array([text], pa.large_string()))
        begin, end = int(offsets[0]), int(offsets[1])
        words, grams = np.empty((end - begin) // 2 + 2, np.uint64), np.empty((end - begin) // 2 + 2, np.uint32)
        count, size = shingles_of(data, begin, end, fold.table, fold.many, SHINGLE, *mask, words, grams)
        if count >= LEAST_WORDS:
            found.append(grams[:size].copy())
    return found


class Likeness:
    """Compares with the texts whose shingles are ``sets``; ``limits``: the Jaccard similarity that counts, of each."""

    def __init__(self, sets: Sequence[NDArray[np.uint32]], limits: Sequence[float], mask: Mask) -> None:
        self._mask = mask
        self._limits = np.array(limits, np.float64)
        self._sizes = np.array([len(grams) for grams in sets], np.int64)
        flat = np.concatenate([np.zeros(0, np.uint32), *sets])
        self._owners = np.repeat(np.arange(len(sets)), self._sizes)[np.argsort(flat, kind="stable")]
        self._grams, counts = np.unique(flat, return_counts=True)
        self._first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self._there: NDArray[np.bool_] | None = None

    def of(self, texts: pa.Array, *, begun: bool = False) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """(N,), (N,): whether each text resembles one of the few, and the Jaccard similarity where it does.

        ``begun``: a text may be only the beginning of what was written, so that the share of it that one of the few
        has counts as well.
        """
        out, scores = np.full((len(texts), 2), -1), np.zeros((len(texts), 2))
        if not len(self._sizes) or not len(texts):
            return np.zeros(len(texts), np.bool_), scores[:, 0]
        from lamina.data.duplicates.likeness_kernels import compare, mapped

        if self._there is None:
            self._there = np.asarray(mapped(self._grams), np.bool_)
        known = (self._there, self._grams, self._first, self._owners, self._sizes, self._limits)
        # J >= t asks for t of the smaller set at least.
        least = 1 if begun else int(np.floor((self._limits * self._sizes).min()))
        fold = folding()
        compare(*utf8(texts), fold.table, fold.many, SHINGLE, *self._mask, known, LEAST_WORDS, least, out, scores)
        hit = out[:, 0] >= 0
        if begun:
            hit |= (out[:, 1] >= 0) & (scores[:, 1] >= self._limits[out[:, 1]])
        return hit, scores[:, 0]
