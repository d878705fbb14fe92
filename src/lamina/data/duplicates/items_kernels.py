"""The compiled search for the n-grams of evaluation items in documents."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.duplicates.kernels import mix, words_of
from lamina.kit.numba_cache import compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)
_ZERO = np.uint64(0)


@compiled
def words_in(data, offsets, table, many, out, ends):
    """The words of each text, one text after another in ``out``; text i has those up to ends[i + 1]."""
    total = 0
    for t in range(len(offsets) - 1):
        total += words_of(data, offsets[t], offsets[t + 1], table, many, out[total:])
        ends[t + 1] = total
    return total


@compiled
def grams_in(words, count, n, out):
    """64-bit hashes of all n-grams of a text, in their order: none where it has fewer than n words."""
    top = np.uint64(1)
    for _ in range(n - 1):
        top *= _STEP
    h = _ZERO
    for i in range(count):
        h = h * _STEP + words[i] if i < n else (h - words[i - n] * top) * _STEP + words[i]
        if i >= n - 1:
            out[i - n + 1] = mix(h)
    return max(count - n + 1, 0)


@compiled
def hashed(grams):
    """A table of the grams (each once), at most half full: in every slot the place of a gram, or -1."""
    size = 16
    while size < 2 * len(grams):
        size *= 2
    slots = np.full(size, -1, np.int32)
    for g in range(len(grams)):
        slot = np.int64(grams[g] & np.uint64(size - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        slots[slot] = g
    return slots


@compiled
def place_of(gram, slots, grams):
    """The place of ``gram`` in ``grams``, or -1."""
    slot = np.int64(gram & np.uint64(len(slots) - 1))
    while slots[slot] >= 0:
        if grams[slots[slot]] == gram:
            return slots[slot]
        slot = (slot + 1) & (len(slots) - 1)
    return np.int32(-1)


@compiled
def suspects(data, offsets, table, many, n, index, needed, out):
    """Pairs of text and item whose shared n-grams, wherever they stand in the text, weigh at least ``needed`` (I).

    ``index``: grams (G), slots, weights (G), and the items of each gram: ``items`` from first[g] to first[g + 1].
    ``out`` (room, 2) gets the pairs; returns how many there are, -1 where there is no room for them.
    """
    grams, slots, weights, first, items = index
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    words = np.empty(longest // 2 + 2, np.uint64)
    here = np.empty(longest // 2 + 2, np.uint64)
    seen_gram, seen_item = np.full(len(grams), -1, np.int64), np.full(len(needed), -1, np.int64)
    sums = np.zeros(len(needed))
    touched = np.empty(len(needed), np.int64)
    total = 0
    for t in range(len(offsets) - 1):
        count = words_of(data, offsets[t], offsets[t + 1], table, many, words)
        met = 0
        for i in range(grams_in(words, count, n, here)):
            gram = place_of(here[i], slots, grams)
            if gram < 0 or seen_gram[gram] == t:
                continue
            seen_gram[gram] = t
            for k in range(first[gram], first[gram + 1]):
                item = items[k]
                if seen_item[item] != t:
                    seen_item[item], sums[item] = t, 0.0
                    touched[met] = item
                    met += 1
                sums[item] += weights[gram]
        for k in range(met):
            if sums[touched[k]] >= needed[touched[k]] - 1e-9:
                if total == len(out):
                    return -1
                out[total, 0], out[total, 1] = t, touched[k]
                total += 1
    return total
