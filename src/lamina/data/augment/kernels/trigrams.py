"""Which runs of three words texts have, as hashes, and how alike two texts are by them."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.augment.characters import BREAK, SPACE
from lamina.data.augment.kernels.scan import mix
from lamina.kit.numba_cache import compiled

_PRIME = np.uint64(0x100000001B3)
_MANY = 500  # words from which on a general sort is the faster one
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@compiled
def trigrams(codes, ends, classes, out, out_ends):
    """Each text's runs of three words between white space, as they are written; of up to three words the words.

    Sorted, each once, into ``out`` (at least half the characters and one a text), text i from ``out_ends[i]``.
    """
    count = 0
    for d in range(len(ends) - 1):
        out_ends[d] = count
        words = _words(codes, ends[d], ends[d + 1], classes, out, count)
        if words > 3:
            words -= 2
            for i in range(count, count + words):
                out[i] = mix((out[i] * _GOLDEN + out[i + 1]) * _GOLDEN + out[i + 2])
        part = out[count : count + words]
        if words > _MANY:
            part.sort()
        else:
            _sort_few(part)
        for i in range(words):
            if i == 0 or part[i] != out[count - 1]:
                out[count] = part[i]
                count += 1
    out_ends[len(ends) - 1] = count


@compiled
def _sort_few(part):
    """Shell's sort, which needs no memory of its own: texts have tens of words, and numba's sort starts slowly."""
    for gap in (57, 23, 10, 4, 1):
        for i in range(gap, len(part)):
            value = part[i]
            j = i
            while j >= gap and part[j - gap] > value:
                part[j] = part[j - gap]
                j -= gap
            part[j] = value


@compiled
def _words(codes, first, last, classes, out, place):
    """The hashes of the words between white space, from ``out[place]`` on; how many there are."""
    words = 0
    h = np.uint64(0)
    inside = False
    for k in range(first, last):
        kind = classes[codes[k]]
        if kind in (SPACE, BREAK):
            if inside:
                out[place + words] = mix(h)
                words += 1
            inside = False
            continue
        if not inside:
            h = np.uint64(0xCBF29CE484222325)
            inside = True
        h = (h ^ np.uint64(codes[k])) * _PRIME
    if inside:
        out[place + words] = mix(h)
        words += 1
    return words


@compiled
def near_pairs(a, a_ends, rows, b, b_ends, others, least):
    """For each i whether the set ``rows[i]`` of ``a`` and the set ``others[i]`` of ``b`` are near, (N,)."""
    out = np.empty(len(rows), np.bool_)
    for i in range(len(rows)):
        r, o = rows[i], others[i]
        out[i] = _is_near(a[a_ends[r] : a_ends[r + 1]], b[b_ends[o] : b_ends[o + 1]], least)
    return out


@compiled
def _is_near(a, b, least):
    """Whether two sorted sets have a Jaccard similarity of ``least``."""
    # With more that only one of them has, their similarity is less, whatever comes.
    room = int((len(a) + len(b)) * (1 - least) / (1 + least))
    i = j = shared = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            shared += 1
            i += 1
            j += 1
            continue
        if a[i] < b[j]:
            i += 1
        else:
            j += 1
        room -= 1
        if room < 0:
            return False
    return shared >= least * (len(a) + len(b) - shared)
