"""Small models that stand in for a large one: whether more data of a kind helps shows in them within seconds.

A classifier over hashed words and word pairs (as in fastText: Joulin et al. 2017), and a byte n-gram language model
(interpolated, Witten and Bell 1991). Both see case, marks and misspellings as a large model's tokens show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.characters import encode, tables
from lamina.kit.errors import InputError

_BITS = 18
_EPOCHS = 12  # over the largest training set compared
_RATE = 0.3
_ORDER = 6  # bytes of context
_START = 0  # a byte that no text of the model's begins with
_TRUSTS = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5)
_Seen = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Features:
    """Hashed words and pairs of N texts: text i has those from ``ends[i]`` to ``ends[i + 1]``."""

    hashes: NDArray[np.int64]
    ends: NDArray[np.int64]


def features(texts: Sequence[str]) -> Features:
    """Each text's words, in their case, and pairs of neighbours, as numbers below 2^18."""
    from lamina.data.augment.kernels import scan as kernel

    batch, table = encode(texts), tables()
    size = len(batch.codes)
    tokens, hashes = np.empty((size, 5), np.int64), np.empty(size, np.uint64)
    token_ends, none = np.empty(len(texts) + 1, np.int64), np.zeros(2, np.uint64)
    mask, as_is = np.zeros(size, np.uint8), np.arange(len(table.lower), dtype=np.uint32)
    count = kernel.scan(
        batch.codes, batch.ends, mask, table.classes, as_is, table.case, none, True, tokens, hashes, token_ends
    )
    words = hashes[:count]
    pairs = (words[:-1] * np.uint64(0x9E3779B97F4A7C15) + words[1:]) >> np.uint64(64 - _BITS)
    single = (words >> np.uint64(64 - _BITS)).astype(np.int64)
    parts: list[NDArray[np.int64]] = []
    for a, b in pairwise(token_ends.tolist()):
        parts += (single[a:b], pairs[a : max(a, b - 1)].astype(np.int64))
    sizes = [len(parts[i]) + len(parts[i + 1]) for i in range(0, len(parts), 2)]
    flat = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return Features(flat, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))


class Classifier:
    """Softmax regression over ``features``."""

    def __init__(self, weights: NDArray[np.float32]) -> None:
        self._weights = weights

    @classmethod
    def train(cls, data: Features, labels: NDArray[np.int64], *, classes: int, steps: int, seed: int) -> Classifier:
        """``steps`` updates, one a document, in an order drawn from ``seed``: equal steps, whatever the data's size."""
        from lamina.data.augment.kernels import proxy as kernel

        count = len(data.ends) - 1
        if not count:
            raise InputError("there is no document to train the proxy on")
        weights = np.zeros((1 << _BITS, classes), np.float32)
        squares = np.zeros_like(weights)
        generator = np.random.default_rng(seed)
        rounds = -(-steps // count)
        order = np.concatenate([generator.permutation(count) for _ in range(rounds)])[:steps]
        kernel.train(data.hashes, data.ends, labels, order, weights, squares, np.float32(_RATE))
        return cls(weights)

    def predict(self, data: Features) -> NDArray[np.int64]:
        """The class of each text, (N,)."""
        from lamina.data.augment.kernels import proxy as kernel

        found = np.empty(len(data.ends) - 1, np.int64)
        kernel.predict(data.hashes, data.ends, self._weights, found)
        return found


def steps_for(documents: int) -> int:
    """Updates that are enough for so many documents."""
    return _EPOCHS * documents


@dataclass(frozen=True, slots=True)
class _Order:
    """What was seen behind contexts of k bytes: sorted keys (context and byte) with counts; contexts with totals."""

    keys: NDArray[np.uint64]
    counts: NDArray[np.float64]
    contexts: NDArray[np.uint64]
    totals: NDArray[np.float64]
    kinds: NDArray[np.float64]  # how many different bytes


class ByteModel:
    """Probabilities of bytes given the six before, each order interpolated with the next shorter one.

    ``trust``: how much what was seen counts against the shorter context; it is to be fitted on texts of their own, for
    a model of texts that repeat each other (and children repeat their parents) is too sure of itself.
    """

    def __init__(self, orders: Sequence[_Order], trust: float = 1.0) -> None:
        self._orders, self.trust = orders, trust

    @classmethod
    def of(cls, texts: Sequence[str], fit: Sequence[str] = ()) -> ByteModel:
        """Trained on ``texts``, of which at least one has a byte; the trust is the best one for ``fit``."""
        data, real = _bytes(texts)
        model = cls([_count(_keys(data, real, k)) for k in range(_ORDER + 1)])
        if any(fit):
            seen = model._seen(fit)
            best = min(_TRUSTS, key=lambda trust: float(-np.log2(_chance(seen, trust)).sum()))
            model.trust = best
        return model

    def bits_per_byte(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Of each text, (N,); texts without a byte have 0."""
        sizes = np.array([len(text.encode("utf-8", "replace")) for text in texts], np.int64)
        if not sizes.sum():
            return np.zeros(len(texts))
        bits = -np.log2(_chance(self._seen(texts), self.trust))
        owners = np.repeat(np.arange(len(texts)), sizes)
        sums = np.bincount(owners, weights=bits, minlength=len(texts))
        return np.asarray(sums / np.maximum(sizes, 1))

    def _seen(self, texts: Sequence[str]) -> list[_Seen]:
        """For each order what was seen of each byte behind its context, of any byte, and how many kinds."""
        data, real = _bytes(texts)
        found: list[_Seen] = []
        for k, order in enumerate(self._orders):
            keys = _keys(data, real, k)
            context = keys >> np.uint64(8)
            totals, kinds = (_lookup(order.contexts, values, context) for values in (order.totals, order.kinds))
            found.append((_lookup(order.keys, order.counts, keys), totals, kinds))
        return found


def _chance(seen: Sequence[_Seen], trust: float) -> NDArray[np.float64]:
    """The probability of each byte."""
    chance = np.full(len(seen[0][0]), 1 / 256)
    for counts, totals, kinds in seen:
        mixed = (trust * counts + kinds * chance) / np.maximum(trust * totals + kinds, 1e-9)
        chance = np.where(totals > 0, mixed, chance)
    return chance


def _bytes(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All bytes with ``_ORDER`` start bytes before each text, and the places of the texts' own."""
    start = bytes([_START]) * _ORDER
    raw = [text.encode("utf-8", "replace") for text in texts]
    data = np.frombuffer(b"".join(start + part for part in raw), np.uint8)
    real = np.ones(len(data), bool)
    at = 0
    for part in raw:
        real[at : at + _ORDER] = False
        at += _ORDER + len(part)
    return data.astype(np.uint64), np.flatnonzero(real)


def _keys(data: NDArray[np.uint64], real: NDArray[np.int64], order: int) -> NDArray[np.uint64]:
    keys = np.zeros(len(real), np.uint64)
    for back in range(order, -1, -1):
        keys = (keys << np.uint64(8)) | data[real - back]
    return keys


def _count(keys: NDArray[np.uint64]) -> _Order:
    unique, numbers = np.unique(keys, return_counts=True)
    counts = np.asarray(numbers, np.float64)
    contexts, first, kinds = np.unique(unique >> np.uint64(8), return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first) if len(first) else np.zeros(0)
    return _Order(unique, counts, contexts, totals, kinds.astype(float))


def _lookup(keys: NDArray[np.uint64], values: NDArray[np.float64], wanted: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The value of each key that is there, else 0."""
    if not len(keys):
        return np.zeros(len(wanted))
    asked, back = np.unique(wanted, return_inverse=True)  # sorted lookups go through memory in one direction
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.asarray(np.where(keys[places] == asked, values[places], 0.0)[back])
