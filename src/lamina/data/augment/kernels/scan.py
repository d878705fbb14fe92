"""The words of texts, found once for all copies: where they lie, what they are, and whether they may be touched."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.augment.characters import (
    BREAK,
    CLOSER,
    DIGIT,
    GLUE,
    JOINER,
    LETTER,
    MARK,
    SINGLE,
    SPACE,
    STOP,
)
from lamina.kit.numba_cache import compiled

PLAIN, TITLE, UPPER, MIXED = 0, 1, 2, 3
PROTECTED, STOPWORD, INITIAL = 1, 2, 4  # flags
#: Columns of a token.
START, END, FLAGS, CASE, SENTENCE = 0, 1, 2, 3, 4
_JOINED = GLUE  # a word beside one of these is part of a path, a handle, an expression
_ABBREVIATION = 4  # letters; "Prof." and shorter titles end no sentence


@compiled
def mix(x):
    """splitmix64's finaliser (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def below(state, n):
    """A number from 0 to ``n`` - 1; ``state`` (1,) moves on by splitmix64's step."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mix(state[0]) >> np.uint64(11)) % np.uint64(n))


@compiled
def unit(state):
    """A number from 0 to below 1."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    return np.float64(mix(state[0]) >> np.uint64(11)) / 9007199254740992.0


@compiled
def hash_part(codes, first, last, lower):
    """64 bits for a word, whatever its case."""
    h = np.uint64(0xCBF29CE484222325)
    for k in range(first, last):
        h = (h ^ np.uint64(lower[codes[k]])) * np.uint64(0x100000001B3)
    return mix(h)


@compiled
def hash_words(codes, ends, lower):
    """``hash_part`` of each of N words, (N,)."""
    out = np.empty(len(ends) - 1, np.uint64)
    for i in range(len(out)):
        out[i] = hash_part(codes, ends[i], ends[i + 1], lower)
    return out


@compiled
def mixed(hashes, own):
    """``hashes`` made others by ``own``, (N,)."""
    out = np.empty(len(hashes), np.uint64)
    for i in range(len(out)):
        out[i] = mix(hashes[i] ^ own)
    return out


@compiled
def slot_of(keys, key):
    """The place of ``key`` in an open-addressing table (its size a power of two, 0 = empty), or -1."""
    mask = np.uint64(len(keys) - 1)
    place = key & mask
    while keys[place] != 0:
        if keys[place] == key:
            return np.int64(place)
        place = (place + np.uint64(1)) & mask
    return np.int64(-1)


@compiled
def _case_of(codes, first, last, case):
    letters = 0
    uppers = 0
    first_upper = False
    for k in range(first, last):
        kind = case[codes[k]]
        if kind:
            if kind == 2:
                uppers += 1
                if letters == 0:
                    first_upper = True
            letters += 1
    if uppers == 0:
        return PLAIN
    if uppers == letters and letters > 1:
        return UPPER
    if first_upper and uppers == 1:
        return TITLE
    for k in range(first + 1, last):  # "Anglo-Saxon" and "O'Neil" are titles too, "iPhone" is not
        if case[codes[k]] == 2 and codes[k - 1] not in (39, 45, 0x2010, 0x2011, 0x2019):
            return MIXED
    return TITLE if first_upper else MIXED


@compiled
def _word_end(codes, at, end, classes):
    """Where the word that begins at ``at`` ends; letters, digits and marks, with joiners between them."""
    if classes[codes[at]] == SINGLE:
        at += 1
        while at < end and classes[codes[at]] == MARK:
            at += 1
        return at
    while at < end:
        kind = classes[codes[at]]
        inner = kind in (LETTER, DIGIT, MARK)
        if not inner:
            follows = at + 1 < end and (classes[codes[at + 1]] == LETTER or classes[codes[at + 1]] == DIGIT)
            if kind != JOINER or not follows:
                break
        at += 1
    return at


@compiled
def _is_glued(codes, first, last, begin, end, classes):
    """Whether what touches the word makes it part of something else: a path, ``name.part``, ``call(``."""
    if first > begin:
        left = codes[first - 1]
        if classes[left] == _JOINED:
            return True
        if (left == 46 or left == 58) and first - 1 > begin:
            kind = classes[codes[first - 2]]
            if kind in (LETTER, DIGIT):
                return True
    if last < end:
        right = codes[last]
        if classes[right] == _JOINED or right == 40 or right == 95:
            return True
        if (right == 46 or right == 58) and last + 1 < end:
            kind = classes[codes[last + 1]]
            if kind in (LETTER, DIGIT):
                return True
    return False


@compiled
def _ends_sentence(codes, at, end, classes, last_word, case):
    """Whether the stop at ``at`` ends a sentence: closers, then white space; and it is no abbreviation's point."""
    if codes[at] == 46 and last_word[1] == at:
        length = last_word[1] - last_word[0]
        if length <= _ABBREVIATION and case[codes[last_word[0]]] == 2:
            return False
    at += 1
    while at < end and (classes[codes[at]] == CLOSER or classes[codes[at]] == STOP or codes[at] in (39, 95, 0x2019)):
        at += 1
    return at >= end or classes[codes[at]] == SPACE or classes[codes[at]] == BREAK or classes[codes[at]] == SINGLE


@compiled
def _flags(codes, at, last, begin, end, classes, mask, shape):
    """Whether a word is protected by what it is or stands in."""
    if shape == MIXED or (shape == TITLE and last - at == 1):
        return PROTECTED
    for k in range(at, last):
        if mask[k] or classes[codes[k]] == DIGIT or codes[k] == 95:
            return PROTECTED
    return PROTECTED if _is_glued(codes, at, last, begin, end, classes) else 0


@compiled
def scan(codes, ends, mask, classes, lower, case, stops, nouns_titled, tokens, hashes, token_ends):
    """Fill ``tokens`` (T, 5) and ``hashes`` (T,) with the words of each text, ``token_ends`` (N + 1,); returns T.

    ``mask`` (C,) marks characters that are protected already; ``stops`` is a table of stop words' hashes. Where
    ``nouns_titled`` (German), a capital is no sign of a name. Protected by what they are: words with digits or
    capitals inside, single capitals, names and acronyms, parts of paths and expressions.
    """
    count = 0
    last_word = np.zeros(2, np.int64)
    for d in range(len(ends) - 1):
        begin, end = ends[d], ends[d + 1]
        token_ends[d] = count
        sentence, initial, breaks = 0, True, 0
        last_word[:] = -1
        at = begin
        while at < end:
            kind = classes[codes[at]]
            if kind in (LETTER, DIGIT, SINGLE):
                last = _word_end(codes, at, end, classes)
                shape = _case_of(codes, at, last, case)
                flags = _flags(codes, at, last, begin, end, classes, mask, shape)
                h = hash_part(codes, at, last, lower)
                if slot_of(stops, h) >= 0:
                    flags |= STOPWORD
                if initial:
                    flags |= INITIAL
                tokens[count, START], tokens[count, END] = at, last
                tokens[count, FLAGS], tokens[count, CASE], tokens[count, SENTENCE] = flags, shape, sentence
                hashes[count] = h
                count += 1
                initial, breaks = False, 0
                last_word[0], last_word[1] = at, last
                at = last
                continue
            if kind == BREAK:
                breaks += 1 if codes[at] != 13 else 0
                if breaks == 2 and not initial:
                    sentence, initial = sentence + 1, True
            elif kind == STOP and not initial and _ends_sentence(codes, at, end, classes, last_word, case):
                sentence, initial = sentence + 1, True
            at += 1
        _protect_names(tokens, hashes, token_ends[d], count, nouns_titled)
    token_ends[len(ends) - 1] = count
    return count


@compiled
def _protect_names(tokens, hashes, first, last, nouns_titled):
    """Capitals within a sentence are names, runs of capitals at its beginning too, and what is a name elsewhere in
    the text; a sentence mostly in upper case is loud, not full of acronyms."""
    names = np.empty(last - first, np.uint64)
    found = 0
    i = first
    while i < last:
        j = i
        uppers = 0
        while j < last and tokens[j, SENTENCE] == tokens[i, SENTENCE]:
            uppers += tokens[j, CASE] == UPPER
            j += 1
        loud = 2 * uppers > j - i
        for k in range(i, j):
            shape = tokens[k, CASE]
            name = shape == UPPER and not loud
            if shape == TITLE and not nouns_titled:
                begins = tokens[k, FLAGS] & INITIAL
                stop = tokens[k, FLAGS] & STOPWORD
                run = k + 1 < j and tokens[k + 1, CASE] == TITLE and tokens[k + 1, START] - tokens[k, END] == 1
                name = not begins or (run and not stop)
            if name:
                tokens[k, FLAGS] |= PROTECTED
                if not tokens[k, FLAGS] & STOPWORD:
                    names[found] = hashes[k]
                    found += 1
        i = j
    known = np.sort(names[:found])
    for k in range(first, last):
        if found and tokens[k, CASE] == TITLE and not tokens[k, FLAGS] & PROTECTED:
            place = np.searchsorted(known, hashes[k])
            if place < found and known[place] == hashes[k]:
                tokens[k, FLAGS] |= PROTECTED


@compiled
def protect_terms(tokens, hashes, token_ends, firsts, term_ends, term_hashes):
    """Protect the words of each term; ``firsts`` are the sorted hashes of the terms' first words, a term's words are
    ``term_hashes`` from ``term_ends[t]``."""
    for d in range(len(token_ends) - 1):
        for i in range(token_ends[d], token_ends[d + 1]):
            t = np.searchsorted(firsts, hashes[i])
            while t < len(firsts) and firsts[t] == hashes[i]:
                length = term_ends[t + 1] - term_ends[t]
                same = i + length <= token_ends[d + 1]
                k = 1
                while same and k < length:
                    same = hashes[i + k] == term_hashes[term_ends[t] + k]
                    k += 1
                if same:
                    for k in range(i, i + length):
                        tokens[k, FLAGS] |= PROTECTED
                t += 1
