"""fastText's prediction (Joulin et al. 2016, 2017) for a batch of texts: words and character n-grams to hidden vectors.

The same features in the same order of characters as fastText 0.9.2 (`dictionary.cc`): each word between ASCII white
space, in the vocabulary or not, with the n-grams of ``<word>``, hashed with its FNV-1a of 32 bits (which sign-extends
bytes) into buckets that pruning left; and the mark of the line's end.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import compiled, lean

_FNV, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_SPREAD = np.uint32(0x9E3779B1)
_BEGIN, _END = 60, 62  # < and >


@lean
def _add_byte(h, b):
    """One step of fastText's hash: the byte is signed."""
    return np.uint32((h ^ np.uint32(np.int32(np.int8(b)))) * _PRIME)  # numba multiplies in 64 bits


@lean
def _is_space(b):
    return b == 32 or 9 <= b <= 13 or b == 0


@lean
def _find(keys, values, key):
    """The value of ``key`` in an open-addressed table (-1 where free), or -1."""
    mask = len(keys) - 1
    slot = np.int64(np.uint32(key * _SPREAD) >> np.uint32(7)) & mask
    while values[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return values[slot]


@lean
def _add_row(rows, row, out):
    for d in range(len(out)):
        out[d] += rows[row, d]


@lean
def _subwords(word, size, shortest, longest, buckets, seen, keys, values, rows, out):
    """Add the n-grams of ``word`` (with its marks) to ``out``; how many there were."""
    found = 0
    for i in range(size):
        if word[i] & 0xC0 == 0x80:
            continue
        h, j, n = _FNV, i, 1
        while j < size and n <= longest:
            h = _add_byte(h, word[j])
            j += 1
            while j < size and word[j] & 0xC0 == 0x80:
                h = _add_byte(h, word[j])
                j += 1
            if n >= shortest and not (n == 1 and (i == 0 or j == size)):
                bucket = h % buckets
                if seen[bucket >> np.uint32(3)] & (np.uint8(1) << np.uint8(bucket & np.uint32(7))):
                    _add_row(rows, _find(keys, values, bucket), out)
                    found += 1
            n += 1
    return found


@lean
def hidden(data, offsets, most, model, word, out):
    """The mean feature vector of each text's first ``most`` characters, into ``out`` (N, D); 0 where there is none.

    ``model``: shortest and longest n-gram, buckets, bits of the buckets that are left, their table (keys, rows), the
    vocabulary's table (hashes, rows; with the words' bytes and ends), the row of the line's end, all rows (R, D).
    ``word``: room for the longest text.
    """
    shortest, longest, buckets, seen, keys, values, hashes, owners, letters, ends, last_row, rows = model
    for i in range(len(offsets) - 1):
        k, end = offsets[i], offsets[i + 1]
        characters, features = 0, 0
        while k < end and characters < most:
            if _is_space(data[k]):
                k += 1
                characters += 1
                continue
            size = 1
            word[0] = _BEGIN
            h = _FNV
            while k < end and not _is_space(data[k]):
                if data[k] & 0xC0 != 0x80:
                    if characters == most:
                        break
                    characters += 1
                word[size] = data[k]
                h = _add_byte(h, data[k])
                size += 1
                k += 1
            word[size] = _END
            size += 1
            known = _known(hashes, owners, letters, ends, h, word, size)
            if known == last_row:  # the text says "</s>": fastText reads no further
                break
            if known >= 0:
                _add_row(rows, known, out[i])
                features += 1
            features += _subwords(word, size, shortest, longest, buckets, seen, keys, values, rows, out[i])
        if features > 0 or characters > 0:
            _add_row(rows, last_row, out[i])
            features += 1
            for d in range(out.shape[1]):
                out[i, d] /= features


@lean
def _known(hashes, owners, letters, ends, h, word, size):
    """The row of a word of the vocabulary, or -1; the bytes are compared, so that no hash can mislead."""
    mask = len(hashes) - 1
    slot = np.int64(np.uint32(h * _SPREAD) >> np.uint32(7)) & mask
    while owners[slot] >= 0:
        row = owners[slot]
        begin = ends[row]
        if hashes[slot] == h and ends[row + 1] - begin == size - 2:
            k = 0
            while k < size - 2 and letters[begin + k] == word[k + 1]:
                k += 1
            if k == size - 2:
                return row
        slot = (slot + 1) & mask
    return -1


@compiled
def small_letters(data, offsets, most):
    """The share of small letters among the ASCII letters of each text's first ``most`` characters, 0 without any."""
    out = np.zeros(len(offsets) - 1)
    for i in range(len(out)):
        k, end, characters = offsets[i], offsets[i + 1], 0
        small, large = 0, 0
        while k < end and characters < most:
            b = data[k]
            small += 97 <= b <= 122
            large += 65 <= b <= 90
            characters += b & 0xC0 != 0x80
            k += 1
        out[i] = small / (small + large) if small + large else 0.0
    return out
