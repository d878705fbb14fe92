"""The compiled loops over chunks: parts of texts whose ids do not depend on what stands round them.

Texts are ``data`` (bytes of all texts of a batch) and ``offsets`` (N + 1): text i has the bytes from offsets[i] to
offsets[i + 1]. A table of chunks is ``slots`` (a power of two; the number of a chunk, or -1), ``hashes`` (C),
``spans`` (C + 1; chunk i has the bytes of ``arena`` from spans[i] to spans[i + 1]), and ``sizes`` [chunks].
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled
from lamina.kit.tokenizer_chunks import OTHER

LONGEST = 48  # bytes of a chunk that is remembered
LONE = -1  # the code of one that is not
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = (np.uint64(n) for n in (27, 30, 31, 32))


@compiled
def cut_before(data, begin, at, kinds, cuts):
    """Whether a text that begins at ``begin`` is cut before the byte ``at``.

    ``kinds`` (256) and ``cuts`` (7, 7): see ``kit.tokenizer_chunks``.
    """
    before = kinds[data[at - 1]]
    return cuts[before, kinds[data[at]]] and (before != OTHER or _ink(data, begin, at))


@compiled
def _ink(data, begin, at):
    """Whether the character that ends before ``at`` leaves ink: no control, no kind of white space, nothing that a
    Unicode form turns into one, and not "▁"."""
    last = data[at - 1]
    if last < 0x80:
        return False
    a = data[at - 2] if at - 2 >= begin else 0
    b = data[at - 3] if at - 3 >= begin else 0
    if a == 0xC2:  # U+0080 to U+00A0
        return last > 0xA0
    if b == 0xE1:  # U+1680, U+180E
        return not ((a == 0x9A and last == 0x80) or (a == 0xA0 and last == 0x8E))
    if b == 0xE2:
        if a == 0x80:  # U+2000 to U+200F, U+2028 to U+202F
            return not (last <= 0x8F or last >= 0xA8)
        return not ((a == 0x81 and last >= 0x9F) or (a == 0x96 and last == 0x81))  # U+205F on, U+2581
    if b == 0xE3:  # U+3000
        return not (a == 0x80 and last == 0x80)
    if b == 0xEF:  # U+FEFF
        return not (a == 0xBB and last == 0xBF)
    return True


@compiled
def count(data, offsets, kinds, cuts):
    """How many chunks the texts have."""
    total = 0
    for t in range(len(offsets) - 1):
        begin, end = offsets[t], offsets[t + 1]
        total += begin < end
        for at in range(begin + 1, end):
            total += cut_before(data, begin, at, kinds, cuts)
    return total


@compiled
def scan(data, offsets, kinds, cuts, table, apart, codes, ends, lone):
    """Number the chunks of each text, remembering new ones: those of text i are ``codes`` from ends[i] to ends[i + 1].

    ``apart``: a text's first chunk is not like the others and gets ``LONE``; so do chunks that are long, or for which
    there is no room. ``lone`` (room, 2) gets their bytes' begin and end. Returns how many of these there are, which may
    be more than there is room for; then ask again with more (nothing is remembered twice).
    """
    total, alone = 0, 0
    for t in range(len(offsets) - 1):
        text, end = offsets[t], offsets[t + 1]
        begin = text
        while begin < end:
            h = (np.uint64(data[begin]) + _STEP) * _STEP
            at = begin + 1
            while at < end and not cut_before(data, text, at, kinds, cuts):
                h ^= h >> _S32
                h = (h ^ np.uint64(data[at])) * _STEP
                at += 1
            code = LONE
            if at - begin <= LONGEST and not (apart and begin == text):
                code = _number(data, begin, at, h, table)
            if code == LONE:
                if alone < len(lone):
                    lone[alone, 0], lone[alone, 1] = begin, at
                alone += 1
            codes[total] = code
            total += 1
            begin = at
        ends[t + 1] = total
    return alone


@compiled
def _number(data, begin, end, h, table):
    """The number of a chunk; a new one where it is new and there is room, else ``LONE``."""
    slots, hashes, spans, arena, sizes = table
    h = (h ^ (h >> _S30)) * _MIX1
    h = (h ^ (h >> _S27)) * _MIX2
    h ^= h >> _S31
    mask = np.int64(len(slots) - 1)
    slot = np.int64(h & np.uint64(mask))
    length = end - begin
    while slots[slot] >= 0:
        found = slots[slot]
        if hashes[found] == h and spans[found + 1] - spans[found] == length:
            place, same = spans[found], True
            for k in range(length):
                if arena[place + k] != data[begin + k]:
                    same = False
                    break
            if same:
                return np.int64(found)
        slot = (slot + 1) & mask
    number = sizes[0]
    if number == len(hashes) or spans[number] + length > len(arena):
        return np.int64(LONE)
    place = spans[number]
    for k in range(length):
        arena[place + k] = data[begin + k]
    hashes[number], spans[number + 1], slots[slot] = h, place + length, number
    sizes[0] = number + 1
    return np.int64(number)


@compiled
def rehash(hashes, chunks, slots):
    """Put ``chunks`` chunks into empty slots."""
    mask = np.int64(len(slots) - 1)
    for number in range(chunks):
        slot = np.int64(hashes[number] & np.uint64(mask))
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = number


@compiled
def tally(codes, counts):
    """Count each chunk."""
    for i in range(len(codes)):
        if codes[i] >= 0:
            counts[codes[i]] += 1


@compiled
def lengths(codes, ends, known, lone, out):
    """Ids of each text: ``known`` (C + 1) and ``lone`` (L + 1) say where the ids of a chunk begin."""
    alone = 0
    for t in range(len(ends) - 1):
        size = 0
        for i in range(ends[t], ends[t + 1]):
            code = codes[i]
            if code >= 0:
                size += known[code + 1] - known[code]
            else:
                size += lone[alone + 1] - lone[alone]
                alone += 1
        out[t] = size


@compiled
def write(codes, ends, known, pool, lone, lone_pool, first, last, out):
    """The ids of the texts one after another in ``out``, each between ``first`` and ``last`` unless they are -1."""
    at, alone = 0, 0
    for t in range(len(ends) - 1):
        if first >= 0:
            out[at] = first
            at += 1
        for i in range(ends[t], ends[t + 1]):
            code = codes[i]
            if code >= 0:
                for k in range(known[code], known[code + 1]):
                    out[at] = pool[k]
                    at += 1
            else:
                for k in range(lone[alone], lone[alone + 1]):
                    out[at] = lone_pool[k]
                    at += 1
                alone += 1
        if last >= 0:
            out[at] = last
            at += 1
    return at
