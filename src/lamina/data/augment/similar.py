"""Whether texts are nearly the same: children and their kin, children and what is held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.augment.children import scan_documents

_NEAR = 0.98  # Jaccard similarity of word trigrams
_WORDS = 8  # of a shingle; runs as long as this are hardly ever shared by chance
_CLOSE = 0.5  # share of a child's shingles that a held-out document has


def trigrams(text: str) -> frozenset[Any]:
    """The runs of three words between white space, as they are written; of shorter texts the words themselves."""
    words = text.split()
    return frozenset(zip(words, words[1:], words[2:], strict=False)) if len(words) > 3 else frozenset(words)


def is_near(a: frozenset[Any], b: frozenset[Any]) -> bool:
    """Whether two sets share nearly all (Jaccard at least 0.98)."""
    shared = len(a & b)
    return shared >= _NEAR * (len(a) + len(b) - shared)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The 8-word runs of held-out texts, as sorted hashes."""

    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, texts: Iterable[str]) -> HeldOut:
        """From the texts themselves."""
        found = [_shingles(texts)[0]]
        return cls(np.unique(np.concatenate(found)))

    def near(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """For each text whether at least half of its 8-word runs stand in held-out texts; texts below 8 words: no."""
        hashes, ends = _shingles(texts)
        if not len(self.hashes):
            return np.zeros(len(texts), bool)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        seen = np.concatenate([[0], np.cumsum(self.hashes[places] == hashes)])
        counts = np.diff(ends)
        return np.asarray((seen[ends[1:]] - seen[ends[:-1]] >= _CLOSE * counts) & (counts > 0))

    def save(self, path: Path) -> None:
        """Write the hashes as .npy."""
        np.save(path, self.hashes, allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> HeldOut:
        """What ``save`` wrote."""
        return cls(np.load(path, allow_pickle=False))


def _shingles(texts: Iterable[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All texts' runs one after another, and where each text's begin, (N + 1,)."""
    from lamina.data.augment.kernels import shingles as kernel

    strings = list(texts)
    batch = pa.RecordBatch.from_pydict({"id": [""] * len(strings), "text": strings})
    parts: list[NDArray[np.uint64]] = []
    counts = np.zeros(len(strings), np.int64)
    for rows, scanned in scan_documents(batch, operation="", seed=0, terms=()):
        out = np.empty(len(scanned.hashes), np.uint64)
        ends = np.empty(len(rows) + 1, np.int64)
        kernel.shingles(scanned.hashes, scanned.token_ends, _WORDS, out, ends)
        counts[rows] = np.diff(ends)
        parts.append(out[: ends[-1]])
    hashes = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    return hashes, np.concatenate([[0], np.cumsum(counts)])
