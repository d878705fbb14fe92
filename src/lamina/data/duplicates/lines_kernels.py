"""The compiled loops over lines and paragraphs of texts: what each says, and texts without some of them."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.duplicates.kernels import sequence_hash, words_of
from lamina.kit.numba_cache import compiled

_NEWLINE = 10


@compiled
def _next(data, begin, end, paragraphs):
    """Where the piece that begins here ends, and where the next one begins."""
    for i in range(begin, end):
        if data[i] == _NEWLINE:
            if not paragraphs:
                return i, i + 1
            k = i + 1
            while k < end and (data[k] == 32 or data[k] == 9 or data[k] == 13):
                k += 1
            if k < end and data[k] == _NEWLINE:
                return i, k + 1
    return end, end


@compiled
def pieces_of(data, offsets, table, many, paragraphs, least, hashes, bounds, counts):
    """The lines (or paragraphs) of each text, one text after another: ``hashes`` of their words, 0 where there are
    fewer than ``least``; ``bounds`` (P, 2): their first byte and the first of what follows; ``counts`` (N). How many
    there are."""
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    words = np.empty(longest // 2 + 2, np.uint64)
    total = 0
    for t in range(len(offsets) - 1):
        begin, end = offsets[t], offsets[t + 1]
        before = total
        while begin < end:
            stop, after = _next(data, begin, end, paragraphs)
            count = words_of(data, begin, stop, table, many, words)
            key, _ = sequence_hash(words, count)
            hashes[total] = key if count >= least and count > 0 else np.uint64(0)
            bounds[total, 0], bounds[total, 1] = begin, after
            total += 1
            begin = after
        counts[t] = total - before
    return total


@compiled
def known_in(hashes, known, out):
    """Which of ``hashes`` stand in ``known`` (sorted)."""
    for i in range(len(hashes)):
        place = np.searchsorted(known, hashes[i])
        out[i] = hashes[i] != 0 and place < len(known) and known[place] == hashes[i]


@compiled
def without(data, hashes, bounds, counts, gone, gone_ends, edges, out, ends, cut):
    """Each text without the pieces whose hash stands among its own ``gone`` (text i: up to gone_ends[i + 1]), only at
    its two ends with ``edges``. ``out`` gets the bytes, ``ends`` (N + 1) where they end, ``cut`` (N) how many went."""
    filled, first = 0, 0
    for t in range(len(counts)):
        last = first + counts[t]
        head, tail = first, last  # at the ends: what lies before the first and behind the last piece that stays
        if edges:
            while head < last and _goes(hashes[head], gone, gone_ends[t], gone_ends[t + 1], True):
                head += 1
            while tail > head and _goes(hashes[tail - 1], gone, gone_ends[t], gone_ends[t + 1], True):
                tail -= 1
        for p in range(first, last):
            inside = edges and head <= p < tail
            if not inside and _goes(hashes[p], gone, gone_ends[t], gone_ends[t + 1], False):
                cut[t] += 1
                continue
            for i in range(bounds[p, 0], bounds[p, 1]):
                out[filled] = data[i]
                filled += 1
        ends[t + 1] = filled
        first = last


@compiled
def _goes(key, gone, begin, end, blank):
    if key == 0:
        return blank  # what has no words ends no run of lines at an edge, but stays
    for k in range(begin, end):  # noqa: SIM110 - numba knows no any()
        if gone[k] == key:
            return True
    return False
