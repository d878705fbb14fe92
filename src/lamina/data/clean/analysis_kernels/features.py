"""Hashed features of texts: words, pairs of words and runs of four bytes, as sorted rows of a sparse matrix."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled, lean

RUN = 4  # bytes of a run
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_S31 = np.uint64(31)
_PAIRS, _RUNS = np.uint64(0x51ED270B), np.uint64(0x2545F491)  # so that no kind of feature hides behind another


@lean
def _slot(value, mask):
    value = (value ^ (value >> _S31)) * _MIX
    return np.int64((value ^ (value >> _S31)) & mask)


@lean
def _fold(b):
    """Letters small, digits alike, white space alike."""
    if 65 <= b <= 90:
        return b | 32
    if 48 <= b <= 57:
        return 48
    return 32 if 9 <= b <= 13 else b


@lean
def _ids(data, begin, end, hashes, first, last, mask, out):
    """The features of one text into ``out``; how many there are."""
    n = 0
    for k in range(first, last):
        out[n] = _slot(hashes[k], mask)
        n += 1
        if k + 1 < last:
            out[n] = _slot(hashes[k] * _BASE + hashes[k + 1] + _PAIRS, mask)
            n += 1
    window, size, before = np.uint64(0), 0, 32
    for k in range(begin, end):
        b = _fold(data[k])
        if b == 32 and before == 32:
            continue
        before = b
        window = ((window << np.uint64(8)) | np.uint64(b)) & np.uint64(0xFFFFFFFF)
        size += 1
        if size >= RUN:
            out[n] = _slot(window * _BASE + _RUNS, mask)
            n += 1
    return n


@lean
def _sums(ids, n, values):
    """Sorted ids to different ones with 1 + ln of their counts, of length 1 together; how many."""
    found, k, total = 0, 0, 0.0
    while k < n:
        begin = k
        while k < n and ids[k] == ids[begin]:
            k += 1
        value = 1.0 + np.log(np.float64(k - begin))
        ids[found], values[found] = ids[begin], value
        total += value * value
        found += 1
    for j in range(found):
        values[j] /= np.sqrt(total)
    return found


@compiled
def sparse(data, offsets, most_bytes, hashes, ends, most_words, slots):
    """A row for each text's first ``most_words`` words and ``most_bytes`` bytes: ends of rows (N + 1,), ids, values."""
    texts = len(offsets) - 1
    room = 2 * most_words + most_bytes
    ids, values = np.empty(room, np.int64), np.empty(room, np.float64)
    bounds = np.zeros(texts + 1, np.int64)
    total = 0
    for i in range(texts):
        total += 2 * min(ends[i + 1] - ends[i], most_words) + min(offsets[i + 1] - offsets[i], most_bytes)
    out_ids, out_values = np.empty(total, np.int32), np.empty(total, np.float32)
    mask = np.uint64(slots - 1)
    for i in range(texts):
        last, end = min(ends[i + 1], ends[i] + most_words), min(offsets[i + 1], offsets[i] + most_bytes)
        n = _ids(data, offsets[i], end, hashes, ends[i], last, mask, ids)
        ids[:n].sort()
        n = _sums(ids, n, values)
        at = bounds[i]
        for k in range(n):
            out_ids[at + k], out_values[at + k] = ids[k], values[k]
        bounds[i + 1] = at + n
    return bounds, out_ids[: bounds[texts]].copy(), out_values[: bounds[texts]].copy()


@compiled
def products(bounds, ids, values, weights):
    """Each row times ``weights``, (N,)."""
    out = np.zeros(len(bounds) - 1)
    for i in range(len(out)):
        total = 0.0
        for k in range(bounds[i], bounds[i + 1]):
            total += values[k] * weights[ids[k]]
        out[i] = total
    return out


@compiled
def likeness(bounds, ids, values, slots):
    """Rows times rows, (N, N): each row is spread out once, and the rows before it are taken times it."""
    rows = len(bounds) - 1
    out, spread = np.zeros((rows, rows)), np.zeros(slots, np.float32)
    for i in range(rows):
        for k in range(bounds[i], bounds[i + 1]):
            spread[ids[k]] = values[k]
        for j in range(i + 1):
            total = 0.0
            for k in range(bounds[j], bounds[j + 1]):
                total += values[k] * spread[ids[k]]
            out[i, j] = out[j, i] = total
        for k in range(bounds[i], bounds[i + 1]):
            spread[ids[k]] = 0.0
    return out
