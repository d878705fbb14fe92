"""Whether texts are nearly the same: children and their kin, documents and what is held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.augment.characters import encode, tables
from lamina.data.augment.children import scan_documents

_NEAR = 0.98  # Jaccard similarity of word trigrams
_WORDS = 8  # of a shingle; runs as long as this are hardly ever shared by chance
_CLOSE = 0.5  # share of a text's shingles that held-out documents have
_MOST = 1 << 25  # hashes kept, 256 MiB: about 200 MB of held-out text whole, a sample of more
_TEXTS = 512  # scanned at once


@dataclass(frozen=True, slots=True)
class Trigrams:
    """N texts' runs of three words between white space, as they are written (of up to three words the words): sorted
    hashes, text i's from ``ends[i]`` to ``ends[i + 1]``."""

    hashes: NDArray[np.uint64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Trigrams:
        """From the texts themselves."""
        from lamina.data.augment.kernels import trigrams as kernel

        batch = encode(texts)
        hashes = np.empty(len(batch.codes) // 2 + len(texts) + 1, np.uint64)
        ends = np.empty(len(texts) + 1, np.int64)
        kernel.trigrams(batch.codes, batch.ends, tables().classes, hashes, ends)
        return cls(hashes, ends)

    def near(self, rows: NDArray[np.int64], other: Trigrams, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each pair of a text of ``rows`` and one of ``others`` in ``other`` whether they share nearly all (Jaccard
        at least 0.98), (P,)."""
        from lamina.data.augment.kernels import trigrams as kernel

        found: NDArray[np.bool_]
        found = kernel.near_pairs(self.hashes, self.ends, rows, other.hashes, other.ends, others, _NEAR)
        return found


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The 8-word runs of held-out texts (of shorter texts the whole), as sorted hashes up to ``limit``.

    Where there are too many for memory, only those below a limit are kept, on both sides of the comparison: a share of
    a random sample is an unbiased estimate (FracMinHash: Irber et al. 2022).
    """

    hashes: NDArray[np.uint64]
    limit: int = (1 << 64) - 1

    @classmethod
    def of(cls, texts: Iterable[str], *, most: int = _MOST) -> HeldOut:
        """From the texts themselves, which may be more than memory holds."""
        known, limit = np.zeros(0, np.uint64), (1 << 64) - 1
        waiting: list[NDArray[np.uint64]] = []
        size = 0
        for some in _some(texts):
            hashes = _shingles(some)[0]
            waiting.append(hashes[hashes <= limit])
            size += len(waiting[-1])
            if size > most // 2:
                known, limit = _fitted([known, *waiting], limit, most)
                waiting, size = [], 0
        known, limit = _fitted([known, *waiting], limit, most)
        return cls(known, limit)

    def near(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """For each text whether at least half of its 8-word runs stand in held-out texts; a text without words: no."""
        hashes, ends = _shingles(texts)
        if not len(self.hashes):
            return np.zeros(len(texts), bool)
        compared = hashes <= self.limit
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        seen = np.concatenate([[0], np.cumsum((self.hashes[places] == hashes) & compared)])
        asked = np.concatenate([[0], np.cumsum(compared)])
        counts = asked[ends[1:]] - asked[ends[:-1]]
        return np.asarray((seen[ends[1:]] - seen[ends[:-1]] >= _CLOSE * counts) & (counts > 0))

    def save(self, path: Path) -> None:
        """Write limit and hashes as .npy."""
        with path.open("wb") as file:
            np.save(file, np.concatenate([np.array([self.limit], np.uint64), self.hashes]), allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> HeldOut:
        """What ``save`` wrote; it stays on disk and is shared by all that read it."""
        values = np.load(path, allow_pickle=False, mmap_mode="r")
        return cls(values[1:], int(values[0]))


def _some(texts: Iterable[str]) -> Iterator[list[str]]:
    left = iter(texts)
    while found := list(islice(left, _TEXTS)):
        yield found


def _fitted(parts: Sequence[NDArray[np.uint64]], limit: int, most: int) -> tuple[NDArray[np.uint64], int]:
    """All different hashes, sorted, and a limit that is low enough for them to be at most ``most``."""
    known = np.unique(np.concatenate(parts))
    while len(known) > most:
        limit >>= 1
        known = known[: np.searchsorted(known, np.uint64(limit), side="right")]
    return known, limit


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All texts' runs, and where each text's begin and end, (N + 1,)."""
    from lamina.data.augment.kernels import shingles as kernel

    batch = pa.RecordBatch.from_pydict({"id": [""] * len(texts), "text": pa.array(texts, pa.string())})
    parts: list[NDArray[np.uint64]] = []
    counts = np.zeros(len(texts), np.int64)
    for rows, scanned in scan_documents(batch, operation="", seed=0, terms=()):
        out = np.empty(len(scanned.hashes), np.uint64)
        ends = np.empty(len(rows) + 1, np.int64)
        kernel.shingles(scanned.hashes, scanned.token_ends, _WORDS, out, ends)
        counts[rows] = np.diff(ends)
        parts.append(out[: ends[-1]])
    hashes = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    return hashes, np.concatenate([[0], np.cumsum(counts)])
