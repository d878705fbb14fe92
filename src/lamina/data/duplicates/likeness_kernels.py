"""The compiled comparison of many texts with a few: whose shingles a text has, by exact counts."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.duplicates.kernels import grams_of, words_of
from lamina.kit.numba_cache import compiled

_S32 = np.uint64(32)
BITS = 22  # of a hash that the map of what is there is asked by
_SHIFT = np.uint32(32 - BITS)


@compiled
def masked(gram, factor, summand):
    """A shingle's 32 bits under a key: multiply-shift (Dietzfelbinger et al. 1997) with a secret factor and summand."""
    return np.uint32((np.uint64(gram) * factor + summand) >> _S32)


@compiled
def shingles_of(data, begin, end, table, many, n, factor, summand, words, grams):
    """The masked shingles of a text, sorted, each once, at the beginning of ``grams``: (words, shingles)."""
    count = words_of(data, begin, end, table, many, words)
    size = grams_of(words, count, n, grams)
    for i in range(size):
        grams[i] = masked(grams[i], factor, summand)
    return count, _unique(grams, size)


@compiled
def _unique(grams, size):
    grams[:size].sort()
    unique = 0
    for i in range(size):
        if i == 0 or grams[i] != grams[unique - 1]:
            grams[unique] = grams[i]
            unique += 1
    return unique


@compiled
def mapped(grams):
    """Which hashes occur at all, by their upper bits."""
    found = np.zeros(1 << BITS, np.bool_)
    for i in range(len(grams)):
        found[grams[i] >> _SHIFT] = True
    return found


@compiled
def _count(own, size, known, counts, touched):
    """How many of a text's shingles each known one has, into ``counts``; those above 0 are named in ``touched``."""
    there, grams, first, owners = known[0], known[1], known[2], known[3]
    some = 0
    for i in range(size):
        if not there[own[i] >> _SHIFT]:
            continue
        place = np.searchsorted(grams, own[i])
        if place < len(grams) and grams[place] == own[i]:
            for k in range(first[place], first[place + 1]):
                if counts[owners[k]] == 0:
                    touched[some] = owners[k]
                    some += 1
                counts[owners[k]] += 1
    return some


@compiled
def _best(size, known, counts, touched, some, out, scores):
    """The most like and the fullest of those that share shingles, into ``out`` (2) and ``scores`` (2)."""
    sizes, limits = known[4], known[5]
    for s in range(some):
        owner = touched[s]
        common = counts[owner]
        counts[owner] = 0
        alike, part = common / (size + sizes[owner] - common), common / size
        if alike >= limits[owner] and (alike > scores[0] or (alike == scores[0] and owner < out[0])):
            out[0], scores[0] = owner, alike
        if part > scores[1] or (part == scores[1] and owner < out[1]):
            out[1], scores[1] = owner, part


@compiled
def compare(data, offsets, table, many, n, factor, summand, known, few, least, out, scores):
    """For each text the known one that it is most like.

    ``known``: ``mapped(grams)``, ``grams`` (sorted, each once), ``first`` (G + 1) and ``owners``: whose each is,
    ``sizes``: how many shingles each owner has, ``limits``: from which similarity a text is like it. A text of fewer
    than ``few`` words, or with fewer than ``least`` of all these shingles, is not looked at. Results: ``out`` (N, 2):
    the owner with the highest Jaccard similarity and the one that holds the largest part of the text, -1 where there is
    none; ``scores`` (N, 2): that similarity and that part.
    """
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    words = np.empty(longest // 2 + 2, np.uint64)
    own = np.empty(longest // 2 + 2, np.uint32)
    counts = np.zeros(len(known[4]), np.int64)
    touched = np.empty(len(known[4]), np.int64)
    for t in range(len(offsets) - 1):
        out[t, :] = -1
        scores[t, :] = 0.0
        count = words_of(data, offsets[t], offsets[t + 1], table, many, words)
        size = grams_of(words, count, n, own)
        hits = 0
        for i in range(size):
            own[i] = masked(own[i], factor, summand)
            hits += known[0][own[i] >> _SHIFT]
        if count >= few and hits >= max(least, 1):
            size = _unique(own, size)
            some = _count(own, size, known, counts, touched)
            _best(size, known, counts, touched, some, out[t], scores[t])
