"""Numbers that say how varied a set of texts is, none of which falls or grows with its size alone.

effective number    exp of Shannon's entropy of shares: how many equal groups would be as varied (Hill 1973; Jost
                    2006, "Entropy and diversity")
distinct-n          different n-grams / n-grams (Li et al. 2016, arXiv 1510.03055), on stretches of fixed size
compression ratio   bytes / compressed bytes (Shaib et al. 2024, arXiv 2403.00553); higher is more repetitive
self-repetition     mean of ln(1 + other documents that a document's 4-grams stand in) (Salkar et al. 2022)
Vendi score         exp of the entropy of the eigenvalues of K/n (Friedman and Dieng 2022, arXiv 2210.02410)
coverage, density   of a reference, by its k-nearest-neighbour balls (Naeem et al. 2020, arXiv 2002.09797)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.kit.errors import InputError

STRETCH = 200  # words of one document that are compared with others
DRAW = 20_000  # words that distinct-n is measured on
REPEATED = 500  # documents that self-repetition is measured on
_DRAWS = 5
_RAW = 500_000  # bytes that the compression ratio is measured on
_PIECE = 1_000  # characters of one document among them
_LEVEL = 9
_BLOCK = 512
_ROUNDING = 1e-6  # of a cosine
_STEP = np.uint64(0x9E3779B97F4A7C15)


def effective_number(amounts: ArrayLike) -> float:
    """How many groups of equal size would be as varied as these; 0 where nothing is there."""
    values = np.asarray(amounts, np.float64)
    values = values[values > 0]
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def stretches(
    words: NDArray[np.uint64], ends: NDArray[np.int64], order: NDArray[np.uint64]
) -> list[NDArray[np.uint64]]:
    """Of each text at most ``STRETCH`` words, from a place that its ``order`` (N,) draws."""
    found = []
    for begin, end, draw in zip(ends[:-1].tolist(), ends[1:].tolist(), order.tolist(), strict=True):
        spare = max(end - begin - STRETCH, 0)
        first = begin + draw % (spare + 1)
        found.append(words[first : min(end, first + STRETCH)])
    return found


def grams(words: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """Hashes of the n-grams of a stretch of words; none where it is shorter."""
    if len(words) < n:
        return np.zeros(0, np.uint64)
    size = len(words) - n + 1
    found = np.zeros(size, np.uint64)
    for k in range(n):
        found = (found * _STEP) + words[k : k + size]
        found ^= found >> np.uint64(29)
    return found


def distinct(pieces: Sequence[NDArray[np.uint64]], n: int, *, words: int = DRAW) -> tuple[float, float, int]:
    """distinct-n: the mean over up to five draws, their standard deviation, and the words of a draw.

    A draw takes stretches until it has ``words`` words, and cuts the last one; where all the stretches have fewer,
    there is one draw of them all, and its figure is no lower than a full one would be.
    """
    values: list[float] = []
    current: list[NDArray[np.uint64]] = []
    have = 0
    for piece in pieces:
        current.append(piece[: words - have])
        have += len(current[-1])
        if have == words:
            values.append(_distinct(current, n))
            current, have = [], 0
            if len(values) == _DRAWS:
                break
    if values:
        return float(np.mean(values)), float(np.std(values)), words
    return _distinct(current, n), 0.0, have


def _distinct(pieces: Sequence[NDArray[np.uint64]], n: int) -> float:
    found = np.concatenate([grams(piece, n) for piece in pieces]) if pieces else np.zeros(0, np.uint64)
    return len(np.unique(found)) / len(found) if len(found) else 0.0


def self_repetition(pieces: Sequence[NDArray[np.uint64]], n: int = 4) -> float:
    """The mean over the first 500 texts of ln(1 + Σ over a text's n-grams of the other texts that have it)."""
    sets = [np.unique(grams(piece, n)) for piece in pieces[:REPEATED]]
    if not sets:
        return 0.0
    flat = np.concatenate(sets)
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    owners = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    others = np.bincount(owners, weights=counts[place] - 1.0, minlength=len(sets))
    return float(np.log1p(others).mean())


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes / bytes compressed by zstd, over the beginnings of texts up to half a megabyte; 0 without a byte."""
    import zstandard

    parts: list[bytes] = []
    size = 0
    for text in texts:
        parts.append(text[:_PIECE].encode("utf-8", "replace"))
        size += len(parts[-1])
        if size >= _RAW:
            break
    raw = b"\n".join(parts)
    return len(raw) / len(zstandard.ZstdCompressor(level=_LEVEL).compress(raw)) if size else 0.0


def vendi(vectors: NDArray[np.float32], *orders: float) -> tuple[float, ...]:
    """The Vendi scores of vectors (N, D) of unit length with the cosine as likeness: how many different ones there are.

    1 for N equal vectors, N for N orthogonal ones; never above D. One score for each of the ``orders`` (1 without any);
    order 2 counts rare kinds less (Pasarkar and Dieng 2023, arXiv 2310.12952). Vectors of length 0 are left out.
    """
    rows = _units(vectors)
    orders = orders or (1.0,)
    rows = rows[rows.any(axis=1)]
    if not len(rows):
        return (0.0,) * len(orders)
    smaller = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows  # both have the same eigenvalues but zeros
    values = np.linalg.eigvalsh(smaller)
    values = values[values > 1e-12 * values[-1]]
    values /= values.sum()
    return tuple(
        float(np.exp(-(values * np.log(values)).sum()))
        if order == 1.0
        else float((values**order).sum() ** (1 / (1 - order)))
        for order in orders
    )


def covered(
    reference: NDArray[np.float32], corpus: NDArray[np.float32], *, k: int = 5, radius: float | None = None
) -> tuple[NDArray[np.bool_], float]:
    """Which of the reference's vectors (N, D) have one of the corpus' (M, D) within their radius, and the density.

    The radius of each is the distance to its ``k``-th nearest neighbour within the reference (Naeem et al. 2020), or
    the same cosine distance for all. Density: how many of the reference's balls a vector of the corpus lies in, divided
    by k. Vectors of length 0 cover nothing and are not covered. Raises ``InputError`` where the vectors differ in size
    or the reference has not more than ``k``.
    """
    a, b = _units(reference), _units(corpus)
    b = b[b.any(axis=1)]
    worded = np.asarray(a.any(axis=1))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"vectors of {a.shape[1]} and {b.shape[1]} numbers cannot be compared")
    if radius is None and worded.sum() <= k:
        raise InputError(f"{worded.sum()} documents are too few for neighbourhoods of {k}", where="reference")
    found = np.zeros(len(a), np.bool_)
    inside = 0
    others = a[worded]
    for begin in range(0, len(a) if len(b) else 0, _BLOCK):
        block = a[begin : begin + _BLOCK]
        if radius is None:
            near = -np.partition(-(block @ others.T), k, axis=1)[:, k]  # itself is the nearest
        else:
            near = np.full(len(block), 1 - radius)
        hits = ((block @ b.T) >= near[:, None] - _ROUNDING) & worded[begin : begin + _BLOCK, None]
        found[begin : begin + _BLOCK] = hits.any(axis=1)
        inside += int(hits.sum())
    return found, inside / (k * len(b)) if len(b) else 0.0


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))
