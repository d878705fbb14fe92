"""Words as bags of their n-grams of letters, which give vectors to words never seen (arXiv 1607.04606)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Grams:
    """N-grams of ``shortest`` to ``longest`` letters of ``<word>``, hashed into ``buckets`` rows."""

    shortest: int = 3
    longest: int = 6
    buckets: int = 200_000

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest <= 64:
            raise ConfigError(f"no n-grams of {self.shortest} to {self.longest} letters", where="subwords")
        if not 1 <= self.buckets <= 1 << 30:
            raise ConfigError(f"n-grams cannot be hashed into {self.buckets:,} rows", where="subwords.buckets")

    def of(self, word: str) -> list[int]:
        """The buckets of the n-grams of ``word``, in their order; the word's marks alone are none."""
        marked = f"<{word}>"
        size = len(marked)
        grams = [
            marked[i : i + n]
            for i in range(size)
            for n in range(self.shortest, min(self.longest, size - i) + 1)
            if n > 1 or 0 < i < size - 1
        ]
        return [zlib.crc32(gram.encode("utf-8", "surrogatepass")) % self.buckets for gram in grams]


def gram_rows(words: Sequence[str], grams: Grams) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows of the input matrix for each of V words: its own, then those of its n-grams, which start at row V.

    Word i has the rows from ends[i] to ends[i + 1].
    """
    rows: list[int] = []
    ends = np.zeros(len(words) + 1, np.int64)
    for i, word in enumerate(words):
        rows.append(i)
        rows += [len(words) + bucket for bucket in grams.of(word)]
        ends[i + 1] = len(rows)
    return np.array(rows, np.int32), ends
