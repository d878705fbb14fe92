"""Which words are kept, which are drawn as negatives, and the tree of hierarchical softmax.

Mikolov et al. 2013 (arXiv 1310.4546), in the form of their program.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FULL = 2**32 - 1


def keep_shares(counts: NDArray[np.int64], sample: float | None) -> NDArray[np.float64]:
    """The share (V,) of each word's places that are kept: (sqrt(f / sample) + 1) sample / f, at most 1.

    f is the word's share of the corpus; ``sample`` None keeps all.
    """
    if sample is None:
        return np.ones(len(counts))
    shares = counts / counts.sum()
    return np.minimum((np.sqrt(shares / sample) + 1) * sample / shares, 1.0)


def thresholds(shares: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Shares in [0, 1] as numbers that 32 random bits stay at or below."""
    return np.rint(shares * _FULL).astype(np.uint32)


def alias_table(counts: NDArray[np.int64], power: float) -> NDArray[np.uint32]:
    """A table (V, 2) that draws word i with probability counts[i]^power / sum, in constant time (Walker 1977).

    A place is drawn uniformly; 32 random bits below ``table[place, 0]`` choose the place itself, others
    ``table[place, 1]`` (Vose 1991 builds it so).
    """
    weights = counts.astype(np.float64) ** power
    chances = weights * (len(weights) / weights.sum())
    share, other = np.ones(len(weights)), np.arange(len(weights), dtype=np.uint32)
    poor = np.flatnonzero(chances < 1).tolist()
    rich = np.flatnonzero(chances >= 1).tolist()
    left = chances.tolist()
    while poor and rich:
        low, high = poor.pop(), rich[-1]
        share[low], other[low] = left[low], high
        left[high] -= 1 - left[low]
        if left[high] < 1:
            poor.append(rich.pop())
    return np.column_stack([thresholds(np.clip(share, 0, 1)), other])


@dataclass(frozen=True, slots=True)
class HuffmanTree:
    """A word's code and the inner nodes on its way from the root: of word i, those from ends[i] to ends[i + 1].

    ``nodes`` int32 in [0, V - 1), the root last; ``codes`` uint8, 0 or 1.
    """

    nodes: NDArray[np.int32]
    codes: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @property
    def longest(self) -> int:
        """The longest code."""
        return int(np.diff(self.ends).max())


def huffman_tree(counts: NDArray[np.int64]) -> HuffmanTree:
    """The tree with the least mean code length (Huffman 1952); of equal nodes the one that was made first."""
    size = len(counts)
    heap = [(int(n), i) for i, n in enumerate(counts)]
    heapq.heapify(heap)
    parent, bit = np.zeros(2 * size - 1, np.int64), np.zeros(2 * size - 1, np.uint8)
    for made in range(size, 2 * size - 1):
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        parent[first[1]] = parent[second[1]] = made
        bit[second[1]] = 1
        heapq.heappush(heap, (first[0] + second[0], made))
    nodes: list[int] = []
    codes: list[int] = []
    ends = np.zeros(size + 1, np.int64)
    root = 2 * size - 2
    for word in range(size):
        at, way, turns = word, [], []
        while at != root:
            turns.append(int(bit[at]))
            at = int(parent[at])
            way.append(at - size)
        nodes += reversed(way)
        codes += reversed(turns)
        ends[word + 1] = len(nodes)
    return HuffmanTree(np.array(nodes, np.int32), np.array(codes, np.uint8), ends)
