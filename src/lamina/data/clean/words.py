"""Words and word n-grams of many texts at once, as 64-bit hashes in flat arrays: what several steps count on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

#: What lies between white space (Gopher's notion of a word).
SPACED = r"\S+"
#: Letters and digits; scripts that are written without spaces count each character.
LETTERS = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"|[\p{L}\p{N}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SEED = 20260


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of N texts one after another (W in all)."""

    hashes: NDArray[np.uint64]  # (W,)
    lengths: NDArray[np.int64]  # (W,) characters
    ends: NDArray[np.int64]  # (N + 1,): text i has the words from ends[i] to ends[i + 1]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Words of each text, (N,)."""
        return np.diff(self.ends)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The text of each word, (W,)."""
        return np.repeat(np.arange(len(self.ends) - 1, dtype=np.int64), self.counts)


def find_words(texts: pl.Series, pattern: str = SPACED) -> Words:
    """The matches of ``pattern`` in each text."""
    lists = texts.str.extract_all(pattern)
    counts = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    flat = lists.explode().drop_nulls()
    return Words(
        hashes=flat.hash(_SEED).to_numpy().astype(np.uint64, copy=False),
        lengths=flat.str.len_chars().to_numpy().astype(np.int64),
        ends=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
    )


def extend(grams: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hashes of n-grams made one word longer: a polynomial modulo 2^64 in hashed words."""
    return grams * _BASE + words


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele et al. 2014): every bit of the input moves every bit of the output."""
    x = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shingles(words: Words, n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of each text's word n-grams, sorted and without repeats, and where each text's begin, (N + 1,).

    A text shorter than ``n`` words has one shingle made of all its words; one without words has none.
    """
    counts, owners = words.counts, words.owners
    grams = np.zeros(len(owners), np.uint64)
    ends = np.repeat(words.ends[1:], counts)
    starts = np.arange(len(owners), dtype=np.int64)
    for k in range(n):
        inside = starts + k < ends
        grams[inside] = extend(grams[inside], words.hashes[starts[inside] + k])
    first = starts == np.repeat(words.ends[:-1], counts)
    kept = (starts + n <= ends) | (first & (np.repeat(counts, counts) < n))
    owners, grams = owners[kept], mix(grams[kept])
    order = np.lexsort((grams, owners))
    owners, grams = owners[order], grams[order]
    new = np.ones(len(grams), bool)
    new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    sizes = np.bincount(owners[new], minlength=len(counts))
    return grams[new], np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int64)
