"""The compiled loops that count which words stand near each other.

A pair (a, b) of ranks, a <= b, has one cell: in ``dense`` at start[a] + b where b < limit[a], else in the hash table
``table`` (slots, 2) of keys (a << 32 | b, plus one; 0 is a free slot) and counts. Pairs are dealt out to the threads by
a + b, so that each cell has one writer. Counts are whole numbers of 2^-32: their sums don't depend on the order.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import lean
from lamina.model.vectors.prefetch import touch

_STEP = np.uint64(0x9E3779B97F4A7C15)
_ONE, _S32, _LOW = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)
_UNIT = 2.0**-32


@lean
def count_pairs(tokens, ends, place, window, thread, threads, start, limit, dense, table, shift, filled, near):
    """Count the pairs of one thread from ``place`` (document, token) on; False where the table got full before the end.

    Words d tokens apart add 1 / d to their pair; a word's pair with itself is seen from both sides and gets 2 / d.
    ``filled`` (1) counts the slots in use, of which a quarter stays free; a slot is the top bits of a hash, from
    ``shift`` on; ``near`` (window, 2) uint64 is scratch.
    """
    mask, most = np.uint64(len(table) - 1), len(table) // 4 * 3 - window
    for document in range(place[0], len(ends)):
        begin = ends[document - 1] if document else 0
        for i in range(max(begin, place[1]), ends[document]):
            if filled[0] >= most:
                place[0], place[1] = document, i
                return False
            word, count = tokens[i], 0
            for j in range(max(begin, i - window), i):
                other = tokens[j]
                if (word + other) % threads != thread:
                    continue
                a, b = min(word, other), max(word, other)
                weight = np.uint64((2 if a == b else 1) * 4294967296 // (i - j))
                if b < limit[a]:
                    dense[start[a] + b] += weight
                else:  # asked for now, counted when all of this word's are on their way
                    near[count, 0] = (np.uint64(a) << _S32 | np.uint64(b)) + _ONE
                    near[count, 1] = weight
                    touch(table, np.int64((near[count, 0] * _STEP) >> shift), 0)
                    count += 1
            for n in range(count):
                key = near[n, 0]
                slot = (key * _STEP) >> shift
                while table[slot, 0] != 0 and table[slot, 0] != key:
                    slot = (slot + _ONE) & mask
                if table[slot, 0] == 0:
                    table[slot, 0] = key
                    filled[0] += 1
                table[slot, 1] += near[n, 1]
    place[0] = len(ends)
    return True


@lean
def take_dense(dense, start, limit, first, last, out):
    """The pairs in the rows ``first`` to ``last`` of the dense block into ``out`` (row, column, count); how many."""
    found = 0
    for a in range(first, last):
        for b in range(a, limit[a]):
            count = dense[start[a] + b]
            if count > 0:
                out[found].row, out[found].column, out[found].count = a, b, np.float32(count * _UNIT)
                found += 1
    return found


@lean
def take_cells(cells, order, out):
    """``cells`` (N, 2) of keys and counts, in an ``order`` that puts equal keys together, into ``out``; how many."""
    found, total = 0, np.uint64(0)
    for n in range(len(order)):
        key = cells[order[n], 0]
        total += cells[order[n], 1]
        if n + 1 == len(order) or cells[order[n + 1], 0] != key:
            out[found].row, out[found].column = (key - _ONE) >> _S32, (key - _ONE) & _LOW
            out[found].count = np.float32(total * _UNIT)
            found, total = found + 1, np.uint64(0)
    return found
