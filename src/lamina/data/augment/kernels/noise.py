"""The noise of the world, one slip a word: beside the key, misread, misspelt, in the wrong case, badly spaced."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.augment.characters import LETTER, MARK, SPACE
from lamina.data.augment.kernels.assemble import (
    AS_IS,
    FROM,
    LEAD,
    LOWERED,
    POOL,
    SHAPE,
    TEXTS,
    TITLED,
    TO,
    TOGGLED,
    UPPERED,
    WORDS,
)
from lamina.data.augment.kernels.eda import put, start
from lamina.data.augment.kernels.scan import (
    CASE,
    END,
    FLAGS,
    PLAIN,
    PROTECTED,
    START,
    TITLE,
    UPPER,
    below,
    slot_of,
    unit,
)
from lamina.kit.numba_cache import compiled

KEYBOARD, OCR, SPELLING, CASING, PUNCTUATION, SPACING = range(6)
_MARKS = np.array([44, 46, 59, 58, 33, 63], np.uint32)  # , . ; : ! ?


@compiled
def _is_mark(code):
    return (code == _MARKS).any()


@compiled
def _confuse(codes, a, b, table, fold, base, lower, case, edits, e, child, state):
    """One confusion in the word from ``a`` to ``b``, at its first possible place after a random one; edits made."""
    firsts, sources, source_ends, target_ends = table
    if b <= a or len(firsts) == 0:
        return 0
    turn = below(state, b - a)
    for step in range(b - a):
        at = a + (turn + step) % (b - a)
        code = lower[codes[at]] if fold else codes[at]
        low = np.searchsorted(firsts, code)
        high = low
        while high < len(firsts) and firsts[high] == code:
            high += 1
        if high == low:
            continue
        k = low + below(state, high - low)
        for _ in range(high - low):
            length = source_ends[k + 1] - source_ends[k]
            same = at + length <= b
            j = 1
            while same and j < length:
                same = codes[at + j] == sources[source_ends[k] + j]
                j += 1
            if same:
                put(edits, e, child, at, at + length)
                edits[e, POOL] = WORDS
                edits[e, FROM], edits[e, TO] = base + target_ends[k], base + target_ends[k + 1]
                edits[e, SHAPE] = UPPERED if fold and case[codes[at]] == 2 else AS_IS
                return 1
            k = low + (k + 1 - low) % (high - low)
    return 0


@compiled
def _misspell(codes, a, b, classes, edits, e, child, state):
    """Two letters change places, one is doubled or left out; the first letter of a longer word stays. Edits made."""
    low = a + 1 if b - a > 3 else a
    if b - low < 2:
        return 0
    at = low + below(state, b - low)
    follows = at + 1 < b
    if classes[codes[at]] != LETTER or (follows and classes[codes[at + 1]] == MARK):
        return 0
    kind = below(state, 3)
    if kind == 0:
        if not follows:
            at -= 1
        if classes[codes[at]] != LETTER or classes[codes[at + 1]] != LETTER or codes[at] == codes[at + 1]:
            return 0
        put(edits, e, child, at, at + 1)
        edits[e, POOL], edits[e, FROM], edits[e, TO] = TEXTS, at + 1, at + 2
        edits[e, SHAPE] = AS_IS
        put(edits, e + 1, child, at + 1, at + 2)
        edits[e + 1, POOL], edits[e + 1, FROM], edits[e + 1, TO] = TEXTS, at, at + 1
        return 2
    if kind == 1:
        put(edits, e, child, at, at)
        edits[e, POOL], edits[e, FROM], edits[e, TO] = TEXTS, at, at + 1
        return 1
    if b - a < 3:
        return 0
    put(edits, e, child, at, at + 1)
    return 1


@compiled
def _recase(a, b, shape, edits, e, child, state):
    put(edits, e, child, a, b)
    edits[e, POOL], edits[e, FROM], edits[e, TO] = TEXTS, a, b
    if shape == PLAIN:
        edits[e, SHAPE] = UPPERED if below(state, 2) else TOGGLED
    elif shape == TITLE:
        edits[e, SHAPE] = UPPERED if below(state, 2) else LOWERED
    else:
        edits[e, SHAPE] = LOWERED if below(state, 2) else TITLED
    return 1


@compiled
def _punctuate(codes, b, end, classes, marks, edits, e, child, state):
    """The mark behind a word goes, doubles or becomes another; or a comma comes where there was none."""
    if b >= end:
        return 0
    if _is_mark(codes[b]):
        if b + 1 < end and classes[codes[b + 1]] != SPACE and codes[b + 1] != 10:
            return 0
        kind = below(state, 3)
        if kind == 0:
            put(edits, e, child, b, b + 1)
        elif kind == 1:
            put(edits, e, child, b, b)
            edits[e, LEAD] = codes[b]
        else:
            other = below(state, len(_MARKS) - 1)
            put(edits, e, child, b, b + 1)
            edits[e, LEAD] = _MARKS[other] if _MARKS[other] != codes[b] else _MARKS[len(_MARKS) - 1]
        return 1
    if classes[codes[b]] == SPACE:
        put(edits, e, child, b, b)
        edits[e, LEAD] = 44
        return 1
    return 0


@compiled
def _respace(codes, a, b, end, next_free, classes, edits, e, child, state):
    """A space within the word, a second one behind it, or none."""
    kind = below(state, 3)
    behind = b < end and codes[b] == 32
    if kind == 0 and b - a >= 4:
        at = a + 1 + below(state, b - a - 1)
        if classes[codes[at]] == MARK:
            return 0
        put(edits, e, child, at, at)
        edits[e, LEAD] = 32
        return 1
    if not behind:
        return 0
    if kind == 1 or not next_free:
        put(edits, e, child, b, b)
        edits[e, LEAD] = 32
    else:
        put(edits, e, child, b, b + 1)
    return 1


@compiled
def slip(tokens, hashes, token_ends, seeds, codes, ends, tables, copies, rate, kinds, typing, reading, lexicon, edits):
    """Each word that is not protected slips with the probability ``rate`` in one of ``kinds``; returns the edits.

    ``typing`` and ``reading`` are (confusion table, where its targets begin in the pool); ``lexicon`` (its arrays,
    where its characters begin) gives known misspellings. A kind that cannot happen to a word leaves it alone.
    """
    classes, lower, case = tables
    (keys, places, lexicon_ends, lexicon_words, word_ends, _), words_base = lexicon
    state = np.zeros(1, np.uint64)
    e = 0
    for d in range(len(seeds)):
        for c in range(copies):
            start(state, seeds[d], c)
            child = d * copies + c
            for i in range(token_ends[d], token_ends[d + 1]):
                if tokens[i, FLAGS] & PROTECTED or unit(state) >= rate:
                    continue
                a, b = tokens[i, START], tokens[i, END]
                kind = kinds[below(state, len(kinds))]
                if kind == KEYBOARD:
                    e += _confuse(codes, a, b, typing[0], True, typing[1], lower, case, edits, e, child, state)
                elif kind == OCR:
                    e += _confuse(codes, a, b, reading[0], False, reading[1], lower, case, edits, e, child, state)
                elif kind == SPELLING:
                    slot = slot_of(keys, hashes[i])
                    if slot >= 0 and below(state, 2):
                        first, last = lexicon_ends[places[slot]], lexicon_ends[places[slot] + 1]
                        word = lexicon_words[first + below(state, last - first)]
                        put(edits, e, child, a, b)
                        edits[e, POOL] = WORDS
                        edits[e, FROM], edits[e, TO] = words_base + word_ends[word], words_base + word_ends[word + 1]
                        shape = tokens[i, CASE]
                        edits[e, SHAPE] = TITLED if shape == TITLE else UPPERED if shape == UPPER else AS_IS
                        e += 1
                    else:
                        e += _misspell(codes, a, b, classes, edits, e, child, state)
                elif kind == CASING:
                    e += _recase(a, b, tokens[i, CASE], edits, e, child, state)
                elif kind == PUNCTUATION:
                    e += _punctuate(codes, b, ends[d + 1], classes, _MARKS, edits, e, child, state)
                else:
                    free = i + 1 < token_ends[d + 1] and not tokens[i + 1, FLAGS] & PROTECTED
                    e += _respace(codes, a, b, ends[d + 1], free, classes, edits, e, child, state)
    return e
