"""The compiled loops: words, shingles and MinHash of documents straight from Arrow's UTF-8 bytes, and likeness of sets.

Texts are ``data`` (bytes of all texts of a batch) and ``offsets`` (N + 1): text i has the bytes from offsets[i] to
offsets[i + 1]. Nothing here allocates by the document but small scratch.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled

_ALONE, _MANY = np.uint32(1 << 31), np.uint32(1 << 30)
_CODE = np.uint32((1 << 30) - 1)
_SEED = np.uint64(0x243F6A8885A308D3)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_ZERO = np.uint64(0)
_LAST = np.uint32(0xFFFFFFFF)


@compiled
def mix(x):
    """splitmix64's finaliser (Steele et al. 2014): every bit of the input moves every bit of the output."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@compiled
def mix_all(values):
    """``mix`` of each."""
    out = np.empty_like(values)
    for i in range(len(values)):
        out[i] = mix(values[i])
    return out


@compiled
def bytes_hash(data, begin, end):
    """64 bits of the bytes as they are."""
    h = _SEED
    for i in range(begin, end):
        h = (h ^ np.uint64(data[i])) * _STEP
        h ^= h >> _S32
    return mix(h)


@compiled
def raw_hashes(data, offsets, out):
    """``bytes_hash`` of each text, into ``out`` (N)."""
    for t in range(len(offsets) - 1):
        out[t] = bytes_hash(data, offsets[t], offsets[t + 1])


@compiled
def words_of(data, begin, end, table, many, out):
    """Hashes of the words between two bytes, into ``out``; how many there are. ``out`` has room for (bytes + 1) / 2."""
    count = 0
    h = _SEED
    inside = False
    limit = len(table)
    i = begin
    while i < end:
        c = np.uint32(data[i])
        i += 1
        if c >= 0x80:
            # One code point of UTF-8; bytes that Arrow let through although they are none become a separator.
            more = 1 if c < 0xE0 else 2 if c < 0xF0 else 3
            c &= np.uint32(0x3F >> more)
            for _ in range(more):
                if i < end:
                    c = np.uint32(c << np.uint32(6)) | np.uint32(data[i] & 0x3F)
                    i += 1
        folded = table[c] if c < limit else np.uint32(0)
        if folded > 1:
            if folded < _MANY:
                h = (h ^ np.uint64(folded)) * _STEP
                inside = True
            elif folded < _ALONE:
                place = np.int64(folded & _CODE)
                for k in range(place + 1, place + 1 + np.int64(many[place])):
                    h = (h ^ np.uint64(many[k])) * _STEP
                inside = True
            else:
                if inside:
                    out[count] = mix(h)
                    count += 1
                out[count] = mix((_SEED ^ np.uint64(folded & _CODE)) * _STEP)
                count += 1
                h = _SEED
                inside = False
        elif folded == 0 and inside:
            out[count] = mix(h)
            count += 1
            h = _SEED
            inside = False
    if inside:
        out[count] = mix(h)
        count += 1
    return count


@compiled
def sequence_hash(words, count):
    """128 bits of a sequence of words, as two."""
    a, b = _SEED, _MIX1
    for i in range(count):
        a = (a ^ words[i]) * _STEP
        a ^= a >> _S32
        b = (b + words[i]) * _MIX2
        b ^= b >> _S31
    return mix(a), mix(b)


@compiled
def grams_of(words, count, n, out):
    """32-bit hashes of the n-grams of words, in their order and with repeats; how many there are.

    Fewer than n words, but at least one, are one gram.
    """
    if count == 0:
        return 0
    size = min(n, count)
    top = np.uint64(1)
    for _ in range(size - 1):
        top *= _STEP
    h = _ZERO
    for i in range(size):
        h = h * _STEP + words[i]
    out[0] = np.uint32(mix(h) >> _S32)
    for i in range(size, count):
        h = (h - words[i - size] * top) * _STEP + words[i]
        out[i - size + 1] = np.uint32(mix(h) >> _S32)
    return count - size + 1


@compiled
def minimums(grams, count, xors, factors, out):
    """MinHash (Broder 1997): for each permutation x -> (x ^ s) * a mod 2^32 (a odd) the least image of the grams."""
    for p in range(len(out)):
        x, a = xors[p], factors[p]
        least = _LAST
        for i in range(count):  # a reduction without stores: LLVM makes it 8 or 16 grams at a time
            least = min(least, np.uint32(np.uint32(grams[i] ^ x) * a))
        out[p] = least


@compiled
def band_keys(signature, rows, n, keys):
    """One 64-bit key for each band of ``rows`` hashes: ``keys[band, n]``."""
    for band in range(len(keys)):
        key = np.uint64(band + 1)
        for k in range(band * rows, (band + 1) * rows):
            key = mix(key ^ np.uint64(signature[k]) * _STEP)
        keys[band, n] = key


@compiled
def sketch_texts(data, offsets, table, many, n, rows, xors, factors, hashes, raw, facts, keys):
    """Of each text: ``hashes`` (N, 2) of its words, ``raw`` hash of its bytes, ``facts`` (N, 2): grams and characters;
    ``keys`` (bands, N). A text without words has the hash of its bytes in place of that of its words."""
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    words = np.empty(longest // 2 + 2, np.uint64)
    grams = np.empty(longest // 2 + 2, np.uint32)
    signature = np.empty(len(xors), np.uint32)
    for t in range(len(offsets) - 1):
        begin, end = offsets[t], offsets[t + 1]
        characters = 0
        for i in range(begin, end):
            characters += (data[i] & 0xC0) != 0x80
        raw[t] = bytes_hash(data, begin, end)
        count = words_of(data, begin, end, table, many, words)
        hashes[t, 0], hashes[t, 1] = sequence_hash(words, count)
        if count == 0:
            hashes[t, 0], hashes[t, 1] = raw[t], _ZERO
        size = grams_of(words, count, n, grams)
        minimums(grams, size, xors, factors, signature)
        band_keys(signature, rows, t, keys)
        facts[t, 0], facts[t, 1] = size, characters


@compiled
def shingle_texts(data, offsets, table, many, n, wanted, out, first):
    """Grams of the texts whose first word hash stands in ``wanted`` (sorted), one text after another.

    ``out`` gets number << 32 | gram, where those texts are numbered from 0; ``first`` their first word hashes. Returns
    how many texts and grams there are.
    """
    longest = 0
    for t in range(len(offsets) - 1):
        longest = max(longest, offsets[t + 1] - offsets[t])
    words = np.empty(longest // 2 + 2, np.uint64)
    grams = np.empty(longest // 2 + 2, np.uint32)
    texts, total = 0, 0
    for t in range(len(offsets) - 1):
        count = words_of(data, offsets[t], offsets[t + 1], table, many, words)
        key, _ = sequence_hash(words, count)
        place = np.searchsorted(wanted, key)
        if count == 0 or place == len(wanted) or wanted[place] != key:
            continue
        size = grams_of(words, count, n, grams)
        for i in range(size):
            out[total + i] = np.uint64(texts) << _S32 | np.uint64(grams[i])
        first[texts] = key
        texts += 1
        total += size
    return texts, total
