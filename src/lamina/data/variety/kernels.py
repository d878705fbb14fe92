"""The compiled loops: hashed words of many texts counted and projected, and what near duplicates share.

Texts are ``data`` and ``offsets`` as in ``data.duplicates.kernels``, whose notion of a word this is; of each text at
most ``limit`` bytes are read. ``table`` and ``many`` are a ``Folding``.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,assignment"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.duplicates.kernels import bytes_hash, mix, words_of
from lamina.kit.numba_cache import compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE, _EIGHT, _PLACE = np.uint64(1), np.uint64(8), np.uint64(127)


@compiled
def hash_texts(data, offsets, seed, out):
    """64 bits of each text's bytes and the seed."""
    for t in range(len(offsets) - 1):
        out[t] = mix(bytes_hash(data, offsets[t], offsets[t + 1]) ^ seed)


@compiled
def longest_of(offsets, limit):
    """Bytes of the longest text that is read."""
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, min(offsets[t + 1] - offsets[t], limit))
    return longest


@compiled
def count_documents(data, offsets, limit, table, many, counts):
    """Add to ``counts`` (a power of two of buckets) how many texts have a word in each bucket."""
    words = np.empty(longest_of(offsets, limit) // 2 + 2, np.uint64)
    last = np.full(len(counts), -1, np.int64)
    mask = np.uint64(len(counts) - 1)
    for t in range(len(offsets) - 1):
        count = words_of(data, offsets[t], min(offsets[t + 1], offsets[t] + limit), table, many, words)
        for i in range(count):
            bucket = words[i] & mask
            if last[bucket] != t:
                last[bucket] = t
                counts[bucket] += 1


@compiled
def project(data, offsets, limit, table, many, weights, logs, seed, out):
    """TF-IDF of hashed words, (1 + ln tf) * ``weights``, added up in ``out`` (N, 1024), which is zero before.

    Each word stands in 8 of the dimensions, one of each block of 128, with a random sign (Kane and Nelson 2014).
    ``logs`` holds 1 + ln n for small n.
    """
    words = np.empty(longest_of(offsets, limit) // 2 + 2, np.uint64)
    times = np.zeros(len(weights), np.uint16)
    mask = np.uint64(len(weights) - 1)
    most = len(logs) - 1
    for t in range(len(offsets) - 1):
        count = words_of(data, offsets[t], min(offsets[t + 1], offsets[t] + limit), table, many, words)
        row = out[t]
        for i in range(count):
            bucket = words[i] & mask
            times[bucket] = min(times[bucket] + 1, most)
        for i in range(count):
            bucket = words[i] & mask
            seen = times[bucket]
            if seen == 0:
                continue
            times[bucket] = 0
            weight = logs[seen] * weights[bucket]
            draw = mix((bucket + _ONE) * _STEP ^ seed)
            for block in range(8):
                place = block * 128 + np.int64((draw >> _ONE) & _PLACE)
                row[place] += weight if draw & _ONE else -weight
                draw >>= _EIGHT


@compiled
def collect_words(data, offsets, limit, table, many, out, ends):
    """The words of all texts one after another into ``out``; text t has those from ``ends[t]`` to ``ends[t + 1]``."""
    total = 0
    ends[0] = 0
    for t in range(len(offsets) - 1):
        end = min(offsets[t + 1], offsets[t] + limit)
        total += words_of(data, offsets[t], end, table, many, out[total:])
        ends[t + 1] = total
    return total


@compiled
def _grams(words, count, n, out):
    """64-bit hashes of the n-grams of words; fewer than n words, but at least one, are one gram."""
    if count == 0:
        return 0
    size = min(n, count)
    top = _ONE
    for _ in range(size - 1):
        top *= _STEP
    h = np.uint64(0)
    for i in range(size):
        h = h * _STEP + words[i]
    out[0] = mix(h)
    for i in range(size, count):
        h = (h - words[i - size] * top) * _STEP + words[i]
        out[i - size + 1] = mix(h)
    return count - size + 1


@compiled
def least_grams(data, offsets, limit, table, many, n, out):
    """MinHash (Broder 1997) of each text's word n-grams under two permutations: ``out`` (N, 2), zeros without words."""
    room = longest_of(offsets, limit) // 2 + 2
    words, grams = np.empty(room, np.uint64), np.empty(room, np.uint64)
    for t in range(len(offsets) - 1):
        count = words_of(data, offsets[t], min(offsets[t + 1], offsets[t] + limit), table, many, words)
        size = _grams(words, count, n, grams)
        first, second = _LAST, _LAST
        for i in range(size):
            first = min(first, grams[i])
            second = min(second, grams[i] * _STEP)
        out[t, 0], out[t, 1] = (first, second) if size else (np.uint64(0), np.uint64(0))


@compiled
def bottom_grams(data, offsets, limit, table, many, n, out):
    """The least different hashes of each text's word n-grams, sorted, into ``out`` (N, K); the rest of a row is the
    largest number."""
    room = longest_of(offsets, limit) // 2 + 2
    words, grams = np.empty(room, np.uint64), np.empty(room, np.uint64)
    for t in range(len(offsets) - 1):
        count = words_of(data, offsets[t], min(offsets[t + 1], offsets[t] + limit), table, many, words)
        size = _grams(words, count, n, grams)
        ordered = np.sort(grams[:size])
        out[t, :] = _LAST
        kept = 0
        for i in range(size):
            if kept == out.shape[1]:
                break
            if i == 0 or ordered[i] != ordered[i - 1]:
                out[t, kept] = ordered[i]
                kept += 1


@compiled
def likeness(a, b):
    """The Jaccard similarity of two sets, estimated from their least hashes (Cohen and Kaplan 2007).

    ``a`` and ``b`` are rows of ``bottom_grams``; sets smaller than a row are compared exactly.
    """
    i = j = both = union = 0
    while union < len(a):
        left = a[i] if i < len(a) else _LAST
        right = b[j] if j < len(b) else _LAST
        if left == _LAST and right == _LAST:
            break
        union += 1
        if left == right:
            both += 1
        i += left <= right
        j += right <= left
    return both / union if union else 0.0
