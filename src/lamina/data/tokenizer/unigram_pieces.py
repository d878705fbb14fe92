"""The pieces of a Unigram model and their scores, learned from words and counts: Kudo 2018, as in SentencePiece.

Repeated stretches of characters are the first pieces. Then in turns: expectation and maximisation of the likelihood of
the words, twice, and the pieces that are worth least are dropped, until as many are left as are wanted. The same words
give the same pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SEEDS = 24  # pieces to begin with, times those that are wanted
_KEPT = 0.75  # of the pieces after a round
_MORE = 1.1  # pieces that the rounds end with, times those that are wanted
_RARE = 0.5  # expected times of a piece that is dropped at once
_BLOCKS = 16  # of words; their sums are added in order


@dataclass(frozen=True)
class Text:
    """Words as numbers of characters: word w is ``points`` from begins[w] to begins[w + 1] - 1, where a 0 stands."""

    characters: Sequence[str]  # character number i is characters[i - 1]
    points: NDArray[np.int32]
    begins: Ints  # (W + 1,)
    counts: Floats  # (W,)


@dataclass(frozen=True)
class Pieces:
    """Stretches of ``points``."""

    begins: Ints
    sizes: Ints
    scores: Floats

    def __len__(self) -> int:
        return len(self.begins)

    def keep(self, which: NDArray[Any]) -> Pieces:
        """Some of them: a mask, or places."""
        return Pieces(self.begins[which], self.sizes[which], self.scores[which])


def text_of(words: Sequence[str], counts: Sequence[int], characters: str) -> Text:
    """``words`` in characters that are in ``characters`` only: elsewhere a word is cut."""
    places = np.zeros(0x110000, np.int32)
    known = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
    places[known] = np.arange(1, len(known) + 1)
    flat = np.frombuffer("\0".join([*words, ""]).encode("utf-32-le"), np.uint32)
    sizes = np.fromiter(map(len, words), np.int64, len(words)) + 1
    points, weights = places[flat], np.repeat(np.asarray(counts, np.float64), sizes)
    # A run of nothing but zeros is one end.
    zero = points == 0
    kept = ~(zero & np.concatenate([[True], zero[:-1]]))
    points, weights = points[kept], weights[kept]
    ends = np.flatnonzero(points == 0)
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1])
    # Room behind the last word, so that a stretch may be looked at beyond it.
    return Text(characters, np.concatenate([points, np.zeros(32, np.int32)]), begins, weights[ends])


def learn(text: Text, wanted: int, after: Callable[[int], None]) -> list[tuple[str, float]]:
    """At most ``wanted`` pieces with their log probabilities; ``after`` hears after each round how many are left."""
    pieces = seeds(text, SEEDS * wanted)
    while True:
        for _ in range(2):
            pieces = maximised(text, pieces)
        after(len(pieces))
        if len(pieces) <= _MORE * wanted:
            break
        pieces = pruned(text, pieces, int(_MORE * wanted))
    single = pieces.sizes == 1
    order = np.lexsort((np.arange(len(pieces)), -pieces.scores, ~single))  # characters first, then the likeliest
    pieces = maximised(text, pieces.keep(np.sort(order[:wanted])), drop=False)
    characters = ["", *text.characters]
    rows = zip(pieces.begins.tolist(), pieces.sizes.tolist(), pieces.scores.tolist(), strict=True)
    return [("".join(characters[c] for c in text.points[b : b + n].tolist()), s) for b, n, s in rows]


def seeds(text: Text, most: int) -> Pieces:
    """Every character, and the ``most`` repeated stretches with the most characters in the text."""
    from lamina.data.tokenizer.unigram_kernels import common, repeated

    order = _sorted(text.points)
    order = order[np.searchsorted(text.points[order] > 0, True) :]  # ends stand first
    shared = np.zeros(len(order), np.int32)
    common(text.points, order, shared)
    owner = np.searchsorted(text.begins, order, "right") - 1
    before = np.concatenate([np.zeros(1), np.cumsum(text.counts[owner])])
    room = 2 * len(order)
    begins, sizes, weights = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
    found = repeated(text.points, order, shared, before, begins, sizes, weights)
    begins, sizes, weights = begins[:found], sizes[:found], weights[:found]
    alone = np.bincount(text.points[order], text.counts[owner])
    first = np.zeros(len(alone), np.int64)
    first[text.points[order][::-1]] = order[::-1]
    there = np.flatnonzero(alone)
    longer = np.flatnonzero(sizes > 1)
    gain = weights[longer] * sizes[longer]
    longer = np.sort(longer[np.argsort(-gain, kind="stable")[:most]])
    total = np.log(np.concatenate([alone[there], weights[longer] * sizes[longer]]))
    scores = total - np.log(np.exp(total).sum())
    return Pieces(
        np.concatenate([first[there], begins[longer]]),
        np.concatenate([np.ones(len(there), np.int64), sizes[longer]]),
        scores,
    )


def maximised(text: Text, pieces: Pieces, *, drop: bool = True) -> Pieces:
    """One step of expectation and maximisation. Scores are digamma of what was expected: that favours few pieces
    (Liang et al. 2007)."""
    from lamina.data.tokenizer.unigram_kernels import expect

    table = _tree(text, pieces)
    expected = np.zeros(len(pieces))
    edges = np.linspace(0, len(text.counts), _BLOCKS + 1).astype(np.int64)
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        expect(text.points, text.begins, text.counts, first, last, table, pieces.scores, expected)
    kept = np.ones(len(pieces), np.bool_) if not drop else (expected >= _RARE) | (pieces.sizes == 1)
    expected = np.maximum(expected[kept], _RARE)
    scores = digamma(expected) - digamma(expected.sum(keepdims=True))
    return Pieces(pieces.begins[kept], pieces.sizes[kept], scores)


def pruned(text: Text, pieces: Pieces, least: int) -> Pieces:
    """Without the pieces whose loss costs least: a quarter of all, but at least ``least`` stay."""
    from lamina.data.tokenizer.unigram_kernels import losses, used

    table = _tree(text, pieces)
    often, worth = np.zeros(len(pieces)), np.zeros(len(pieces))
    used(text.points, text.begins, text.counts, table, pieces.scores, often)
    losses(text.points, pieces.begins, pieces.sizes, table, pieces.scores, often, worth)
    size = max(least, int(_KEPT * len(pieces)))
    order = np.argsort(-worth, kind="stable")[:size]
    return pieces.keep(np.sort(order[worth[order] >= 0]))


def digamma(x: Floats) -> Floats:
    """The logarithmic derivative of the gamma function for x > 0 (Abramowitz and Stegun 6.3.5, 6.3.18)."""
    x = np.array(x, np.float64)
    total = np.zeros_like(x)
    for _ in range(7):
        small = x < 7.0
        total[small] -= 1.0 / x[small]
        x[small] += 1.0
    r = 1.0 / (x * x)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))
    return np.asarray(total + np.log(x) - 0.5 / x - series)


def _tree(text: Text, pieces: Pieces) -> tuple[Any, ...]:
    from lamina.data.tokenizer.unigram_kernels import tree

    nodes = int(pieces.sizes.sum()) + 1
    slots = 1 << (2 * nodes - 1).bit_length()
    keys = np.full(slots, 0xFFFFFFFFFFFFFFFF, np.uint64)
    children = np.full(slots, -1, np.int32)
    piece_of = np.full(nodes, -1, np.int32)
    made = tree(text.points, pieces.begins, pieces.sizes, keys, children, piece_of)
    return keys, children, piece_of[:made]


def _sorted(points: NDArray[np.int32]) -> Ints:
    """Places in the order of the 16 characters that stand there, by doubling (Manber and Myers 1993)."""
    rank: Ints = points.astype(np.int64)
    order = np.argsort(rank, kind="stable")
    for reach in (1, 2, 4, 8):
        beyond = np.concatenate([rank[reach:], np.zeros(reach, np.int64)])
        key = rank * (int(rank.max()) + 1) + beyond
        order = np.argsort(key, kind="stable")
        steps = np.diff(key[order], prepend=key[order[:1]]) != 0
        rank = np.empty_like(rank)
        rank[order] = np.cumsum(steps)
    return order
