"""How many documents of a corpus have a near duplicate in it: estimated, without comparing all with all.

Documents that share a MinHash (Broder 1997) may be near duplicates; some of them are drawn and compared by their
bottom-k sketches. Of two documents with Jaccard similarity J the chance to share one of two MinHashes is 1 - (1 - J)²:
96 % at 0.8.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8
from lamina.data.variety.reading import READ, SHINGLE, Gathered

ALIKE = 0.8
_DRAWN = 2000  # documents that are compared
_MATES = 2  # on either side, in each of the two orders
_SKETCH = 128


class NearDuplicates:
    """The estimate. Feed it every batch once more (``see``), then ask for the ``rate``."""

    def __init__(self, gathered: Gathered) -> None:
        self._documents = gathered.documents
        self._pairs, self._suspects = _pairs(gathered.keys, gathered.orders)
        self._wanted = np.unique(self._pairs)
        self._sketches = np.zeros((len(self._wanted), _SKETCH), np.uint64)

    def see(self, texts: pa.Array, first: int) -> None:
        """A batch whose first row is document ``first``."""
        from lamina.data.variety import kernels

        begin, end = np.searchsorted(self._wanted, [first, first + len(texts)])
        if begin == end:
            return
        chosen = texts.take(pa.array(self._wanted[begin:end] - first))
        fold, (data, offsets) = folding(), utf8(chosen)
        kernels.bottom_grams(data, offsets, READ, fold.table, fold.many, SHINGLE, self._sketches[begin:end])

    def rate(self, *, alike: float = ALIKE) -> float:
        """The share of documents that have another with a Jaccard similarity of word 5-grams of at least ``alike``."""
        from lamina.data.variety import kernels

        if not len(self._pairs):
            return 0.0
        places = np.searchsorted(self._wanted, self._pairs)
        found: dict[int, bool] = {}
        for (a, b), document in zip(places.tolist(), self._pairs[:, 0].tolist(), strict=True):
            alike_here = kernels.likeness(self._sketches[a], self._sketches[b]) >= alike
            found[document] = found.get(document, False) or alike_here
        return self._suspects / self._documents * sum(found.values()) / len(found)


def _pairs(keys: NDArray[np.uint64], orders: NDArray[np.uint64]) -> tuple[NDArray[np.int64], int]:
    """(document, mate) for the drawn documents, and how many documents share a MinHash with another."""
    worded = np.asarray(keys.any(axis=1))
    suspect = np.zeros(len(keys), np.bool_)
    sides: list[tuple[NDArray[np.int64], NDArray[np.bool_]]] = []
    for side in (0, 1):
        order = np.lexsort((orders, keys[:, 1 - side], keys[:, side]))
        same = (keys[order[1:], side] == keys[order[:-1], side]) & worded[order[1:]]
        suspect[order[1:][same]] = suspect[order[:-1][same]] = True
        sides.append((order, same))
    candidates = np.flatnonzero(suspect)
    drawn = np.zeros(len(keys), np.bool_)
    drawn[candidates[np.argsort(orders[candidates], kind="stable")[:_DRAWN]]] = True
    found: list[NDArray[np.int64]] = []
    for order, same in sides:
        linked = same.copy()
        for step in range(1, _MATES + 1):
            near, far = order[:-step], order[step:]
            if step > 1:
                linked = linked[:-1] & same[step - 1 :]
            for a, b in ((near, far), (far, near)):
                kept = linked & drawn[a]
                found.append(np.column_stack([a[kept], b[kept]]))
    return (np.unique(np.concatenate(found), axis=0) if found else np.zeros((0, 2), np.int64)), len(candidates)
