"""Texts as numbers for a classifier of quality: hashed words and characters, and the shape of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.analysis import Analysis, analyse, ratio

SLOTS = 1 << 18
MOST_BYTES, MOST_WORDS = 4000, 700  # of a text; what comes later says little more
SHORT_LINE = 30
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Features:
    """N texts: a sparse matrix (N, SLOTS) of rows of length 1, and ``shape`` (N, S), NaN where there is no figure."""

    bounds: NDArray[np.int64]
    ids: NDArray[np.int32]
    values: NDArray[np.float32]
    shape: Floats

    def __len__(self) -> int:
        return len(self.shape)

    def times(self, weights: NDArray[np.float32]) -> Floats:
        """The sparse rows times ``weights`` (SLOTS,), (N,)."""
        from lamina.data.clean.analysis_kernels.features import products

        found: Floats = products(self.bounds, self.ids, self.values, weights)
        return found

    def likeness(self) -> Floats:
        """Cosines of the sparse rows, (N, N)."""
        from lamina.data.clean.analysis_kernels.features import likeness

        found: Floats = likeness(self.bounds, self.ids, self.values, SLOTS)
        return found

    def weighed(self, rows: Floats) -> NDArray[np.float32]:
        """Σ rows[i] · row i, (SLOTS,)."""
        each = np.repeat(rows, np.diff(self.bounds)) * self.values
        return np.bincount(self.ids, weights=each, minlength=SLOTS).astype(np.float32)


def features(texts: pa.RecordBatch | Sequence[str]) -> Features:
    """The features of the column ``text`` of a batch, or of some texts."""
    from lamina.data.clean.analysis_kernels.features import sparse

    batch = (
        texts if isinstance(texts, pa.RecordBatch) else pa.record_batch({"text": pa.array(texts, pa.large_string())})
    )
    found = analyse(batch, split="marks", words=None)
    ends = np.ascontiguousarray(found.ends[:, 0])
    bounds, ids, values = sparse(found.data, found.offsets, MOST_BYTES, found.word_hashes, ends, MOST_WORDS, SLOTS)
    return Features(bounds, ids, values, _shape(found))


def _shape(found: Analysis) -> Floats:
    """Sizes and shares that say how a text looks, whatever its words are, (N, S)."""
    from lamina.data.clean.analysis_kernels import state as s

    counts, lines = found.counts, found.line_counts
    runs, characters = counts[:, s.RUNS], counts[:, s.CHARACTERS]

    def share(bit: int) -> Floats:
        return ratio(found.per_text(found.flags & bit > 0), lines)

    return np.stack(
        [
            np.log1p(counts[:, s.WORDS]),
            ratio(counts[:, s.WORD_LENGTHS], counts[:, s.WORDS]),
            ratio(counts[:, s.WORDS], runs),
            ratio(counts[:, s.LETTERED], runs),
            np.log1p(100 * ratio(counts[:, s.HASHES] + counts[:, s.ELLIPSES], runs)),
            np.log1p(100 * ratio(counts[:, s.NEWLINES], runs)),
            share(s.BULLETED),
            share(s.DOTTED),
            share(s.PUNCTUATED),
            share(s.BRACE),
            ratio(found.per_text(found.lines[:, 2] <= SHORT_LINE), lines),
            ratio(found.repeated_lines[:, 1], characters),
            np.minimum(ratio(found.grams[:, 2], characters), 1.0),
            np.minimum(ratio(found.grams[:, 5], characters), 1.0),
        ],
        axis=1,
    )
