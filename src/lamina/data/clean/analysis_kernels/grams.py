"""Repeated word n-grams and repeated lines of each text, counted in hash tables that live in arrays.

Only where an n-gram is repeated can one that begins with it be, so each length looks at what the one before left.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled

SHORTEST, TOP, LONGEST = 2, 4, 10  # n: the most frequent one up to TOP, from there the repeated ones
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


@compiled
def _mix(x):
    """splitmix64's finaliser (Steele et al. 2014)."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@compiled
def _size_for(entries):
    """Slots of a table that stays at most half full."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return size


@compiled
def _slot(keys, marks, mark, key, mask):
    """The slot of ``key``, or the free one where it belongs. A slot is free unless ``mark`` is on it."""
    slot = key & mask
    while marks[slot] == mark and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def repeats(hashes, lengths, ends, texts):
    """For each text, of entries (lines) that have been there before: how many, and their characters, (N, 2)."""
    most = 0
    for i in range(texts):
        most = max(most, ends[i + 1] - ends[i])
    keys = np.empty(_size_for(most), np.uint64)
    marks = np.zeros(len(keys), np.int64)
    out = np.zeros((texts, 2), np.int64)
    for i in range(texts):
        begin, end = ends[i], ends[i + 1]
        if end - begin < 2:
            continue
        mask = np.uint64(_size_for(end - begin) - 1)
        for k in range(begin, end):
            key = _mix(hashes[k])
            slot = _slot(keys, marks, i + 1, key, mask)
            if marks[slot] == i + 1:
                out[i, 0] += 1
                out[i, 1] += lengths[k]
            else:
                marks[slot] = i + 1
                keys[slot] = key
    return out


@compiled
def grams(hashes, lengths, ends, texts):
    """Characters of repeated n-grams of each text, (N, LONGEST + 1): column n is for n-grams.

    To TOP: of the most frequent n-gram (of several, the one that comes first), each time it occurs, with a space
    between words; 0 where none occurs twice. Above: of the words that lie inside n-grams that have been there before.
    """
    most = 1
    for i in range(texts):
        most = max(most, ends[i + 1] - ends[i])
    size = _size_for(most)
    table = (np.empty(size, np.uint64), np.zeros(size, np.int64), np.empty(size, np.int64))
    places, values, slots = np.empty(most, np.int64), np.empty(most, np.uint64), np.empty(most, np.int64)
    before = np.empty(most + 1, np.int64)
    out = np.zeros((texts, LONGEST + 1), np.int64)
    mark = 0
    for i in range(texts):
        begin, words = ends[i], ends[i + 1] - ends[i]
        before[0] = 0
        for k in range(words):
            places[k] = k
            values[k] = hashes[begin + k]
            before[k + 1] = before[k] + lengths[begin + k]
        left = words
        for n in range(SHORTEST, LONGEST + 1):
            if left < 2:
                break
            mark += 1
            left = _extend(places, values, left, n, hashes, begin, words)
            out[i, n] = _count(places, values, slots, left, table, mark, before, n)
            left = _repeated(places, values, slots, left, table)
    return out


@compiled
def _extend(places, values, left, n, hashes, begin, words):
    """Make the n-grams at ``places`` one word longer, less those that the text ends before."""
    kept = 0
    for k in range(left):
        place = places[k]
        if place + n <= words:
            places[kept] = place
            values[kept] = values[k] * _BASE + hashes[begin + place + n - 1]
            kept += 1
    return kept


@compiled
def _count(places, values, slots, left, table, mark, before, n):
    """Count each n-gram into ``table``; the characters that the rule for ``n`` asks for."""
    keys, marks, counts = table
    mask = np.uint64(_size_for(left) - 1)
    covered, inside = 0, 0  # words before ``inside`` have been counted
    for k in range(left):
        key = _mix(values[k])
        slot = _slot(keys, marks, mark, key, mask)
        slots[k] = slot
        if marks[slot] == mark:
            counts[slot] += 1
            place = places[k]
            covered += before[place + n] - before[max(place, inside)]
            inside = place + n
        else:
            marks[slot] = mark
            keys[slot] = key
            counts[slot] = 1
    if n > TOP:
        return covered
    most, best = 1, -1
    for k in range(left):
        if counts[slots[k]] > most:
            most, best = counts[slots[k]], k
    if best < 0:
        return 0
    place = places[best]
    return most * (before[place + n] - before[place] + n - 1)


@compiled
def _repeated(places, values, slots, left, table):
    """Keep the n-grams that occur more than once."""
    counts = table[2]
    kept = 0
    for k in range(left):
        if counts[slots[k]] > 1:
            places[kept] = places[k]
            values[kept] = values[k]
            kept += 1
    return kept
