"""The compiled walk that makes stars of proposed pairs, each measured on the sets themselves."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled

#: May fall; is kept whatever it resembles; is of an index, so that nothing is asked about it.
FREE, STAYS, KNOWN = 0, 1, 2


@compiled
def common_of(values, a, a_size, b, b_size, least):
    """|A ∩ B| of two sorted sets that begin at ``a`` and ``b``; -1 as soon as it cannot reach ``least``."""
    i, j, common = 0, 0, 0
    while i < a_size and j < b_size:
        if common + min(a_size - i, b_size - j) < least:
            return -1
        for _ in range(64):  # steps without a question between them
            if i == a_size or j == b_size:
                break
            x, y = values[a + i], values[b + j]
            common += x == y
            i += x <= y
            j += y <= x
    return common


@compiled
def jaccard_of(values, a, a_size, b, b_size, least):
    """|A ∩ B| / |A ∪ B|, or -1 where it is below ``least``; two empty sets have nothing in common."""
    small, large = min(a_size, b_size), max(a_size, b_size)
    if large == 0 or small < least * large:
        return -1.0
    # J >= t  <=>  common >= t / (1 + t) * (|A| + |B|); one is taken off against rounding.
    needed = np.int64(np.floor(least / (1 + least) * (a_size + b_size))) - 1
    common = common_of(values, a, a_size, b, b_size, needed)
    if common < 0:
        return -1.0
    found = common / (a_size + b_size - common)
    return found if found >= least else -1.0


@compiled
def root_of(parents, i):
    """The representative of i's cluster; the way there gets shorter."""
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = parents[i]
    return i


@compiled
def _best(d, buckets, room, filled, members, starts, sizes, values, free, threshold, related, seen, near):
    """The best keeper that document d resembles (-1: none, or d is not free to fall), its likeness, how many related
    ones are in ``near``, and how many were measured."""
    found, alike, kin, measured = -1, 0.0, 0, 0
    for band in range(buckets.shape[1]):
        bucket = buckets[d, band]
        if bucket < 0:
            continue
        for place in range(room[bucket], room[bucket] + filled[bucket]):
            other = members[place]
            if seen[other] == d or (found >= 0 and other > found):
                continue
            seen[other] = d
            measured += 1
            j = jaccard_of(values, starts[d], sizes[d], starts[other], sizes[other], related)
            if j >= threshold and free:
                found, alike = other, j
            elif j >= related and kin < len(near):
                near[kin] = other
                kin += 1
    return found, alike, kin, measured


@compiled
def walk(buckets, room, starts, sizes, values, fixed, threshold, related, keepers, likeness, parents):
    """Greedy stars, from the best document (row 0) down: each falls to the best keeper that it resembles, or is one.

    ``buckets`` (N, bands): number of the bucket, -1 where a document is alone; ``room`` (buckets + 1): where the
    keepers of each begin in a list of that many places, so that a bucket's size never counts more than once.
    ``starts`` and ``sizes`` place each document's set in ``values``; ``fixed``: FREE, STAYS or KNOWN.
    Results: ``keepers`` (row or -1), ``likeness``, ``parents`` of clusters. Returns the pairs measured.
    """
    rows, bands = buckets.shape
    members = np.empty(room[-1], np.int32)
    filled = np.zeros(len(room) - 1, np.int32)
    seen = np.full(rows, -1, np.int32)
    near = np.empty(4096, np.int32)
    measured = 0
    for d in range(rows):
        found, alike, kin = -1, 0.0, 0
        if fixed[d] != KNOWN:
            free = fixed[d] == FREE
            found, alike, kin, more = _best(
                d, buckets, room, filled, members, starts, sizes, values, free, threshold, related, seen, near
            )
            measured += more
        keepers[d], likeness[d] = found, alike
        if found >= 0:
            parents[root_of(parents, d)] = root_of(parents, found)
            continue
        for k in range(kin):
            parents[root_of(parents, near[k])] = root_of(parents, d)
        for band in range(bands):
            bucket = buckets[d, band]
            if bucket >= 0 and filled[bucket] < room[bucket + 1] - room[bucket]:
                members[room[bucket] + filled[bucket]] = d
                filled[bucket] += 1
    return measured


@compiled
def gather(values, starts, sizes, out, place):
    """Copy sets one after another into ``out`` from ``place`` on."""
    for s in range(len(starts)):
        for i in range(starts[s], starts[s] + sizes[s]):
            out[place] = values[i]
            place += 1
    return place
