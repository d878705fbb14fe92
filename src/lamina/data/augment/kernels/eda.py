"""Easy data augmentation (Wei and Zou 2019, arXiv:1901.11196): the four operations, drawn word by word."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.augment.characters import BREAK, SPACE
from lamina.data.augment.kernels.assemble import (
    AS_IS,
    BEGIN,
    CHILD,
    FROM,
    LEAD,
    LOWERED,
    POOL,
    SHAPE,
    TEXTS,
    TITLED,
    TO,
    UPPERED,
    WORDS,
)
from lamina.data.augment.kernels.assemble import END as LAST
from lamina.data.augment.kernels.scan import (
    CASE,
    END,
    FLAGS,
    PLAIN,
    PROTECTED,
    SENTENCE,
    START,
    STOPWORD,
    TITLE,
    UPPER,
    below,
    mix,
    slot_of,
    unit,
)
from lamina.kit.numba_cache import compiled

_COPY = np.uint64(0xD1342543DE82EF95)


@compiled
def changes(alpha, words):
    """The paper's n = max(1, floor(alpha L)); the small term is for 0.1 * 30 = 3.0000000000000004 and its like."""
    return max(1, np.int64(np.floor(alpha * words + 1e-9)))


@compiled
def put(edits, e, child, first, last):
    """A deletion of the characters from ``first`` to ``last``, to be made more of."""
    edits[e, :] = 0
    edits[e, CHILD], edits[e, BEGIN], edits[e, LAST] = child, first, last


@compiled
def start(state, seed, copy):
    """The draws of one child."""
    state[0] = mix(seed + np.uint64(copy + 1) * _COPY)


@compiled
def _candidates(tokens, first, last, refused, out):
    count = 0
    for i in range(first, last):
        if not tokens[i, FLAGS] & refused:
            out[count] = i
            count += 1
    return count


@compiled
def _pick(candidates, k, count, state):
    """The next of a random order: step ``k`` of Fisher and Yates."""
    other = k + below(state, count - k)
    candidates[k], candidates[other] = candidates[other], candidates[k]
    return candidates[k]


@compiled
def _choose(lexicon_ends, lexicon_words, entry, choices, vowels, wanted, state):
    """A word of an entry, one of its first ``choices`` (0: all); after "a" and "an" one that begins alike; or -1."""
    first, last = lexicon_ends[entry], lexicon_ends[entry + 1]
    if choices:
        last = min(last, first + choices)
    if first == last:
        return -1
    for _ in range(4 if wanted >= 0 else 1):
        word = lexicon_words[first + below(state, last - first)]
        if wanted < 0 or vowels[word] == wanted:
            return word
    return -1


@compiled
def _is_vowel(code):
    return code in (97, 101, 105, 111, 117, 65, 69, 73, 79, 85)


@compiled
def replace(tokens, hashes, token_ends, seeds, codes, copies, alpha, choices, articles, lexicon, edits):
    """Synonym replacement: n random words that are no stop words, each by one of its synonyms. Returns the edits."""
    keys, places, lexicon_ends, lexicon_words, word_ends, vowels = lexicon
    state = np.zeros(1, np.uint64)
    candidates = np.empty(max(1, len(tokens)), np.int64)
    e = 0
    for d in range(len(seeds)):
        first, last = token_ends[d], token_ends[d + 1]
        n = changes(alpha, last - first)
        for c in range(copies):
            start(state, seeds[d], c)
            count = _candidates(tokens, first, last, PROTECTED | STOPWORD, candidates)
            done = 0
            for k in range(count):
                if done == n:
                    break
                i = _pick(candidates, k, count, state)
                slot = slot_of(keys, hashes[i])
                if slot < 0:
                    continue
                wanted = -1
                if i > first and (hashes[i - 1] == articles[0] or hashes[i - 1] == articles[1]):
                    wanted = 1 if _is_vowel(codes[tokens[i, START]]) else 0
                word = _choose(lexicon_ends, lexicon_words, places[slot], choices, vowels, wanted, state)
                if word < 0:
                    continue
                put(edits, e, d * copies + c, tokens[i, START], tokens[i, END])
                shape = tokens[i, CASE]
                edits[e, POOL], edits[e, FROM], edits[e, TO] = WORDS, word_ends[word], word_ends[word + 1]
                edits[e, SHAPE] = TITLED if shape == TITLE else UPPERED if shape == UPPER else AS_IS
                e += 1
                done += 1
    return e


@compiled
def insert(tokens, hashes, token_ends, seeds, codes, classes, ends, copies, alpha, choices, lexicon, edits):
    """Random insertion: n times a synonym of a random word that is no stop word, at a random place between words."""
    keys, places, lexicon_ends, lexicon_words, word_ends, vowels = lexicon
    state = np.zeros(1, np.uint64)
    candidates = np.empty(max(1, len(tokens)), np.int64)
    gaps = np.empty(max(1, len(tokens)), np.int64)
    e = 0
    for d in range(len(seeds)):
        first, last = token_ends[d], token_ends[d + 1]
        n = changes(alpha, last - first)
        room = 0
        for i in range(first, last - 1):  # behind a word that a space follows, not next to something protected
            if tokens[i, FLAGS] & PROTECTED or tokens[i + 1, FLAGS] & PROTECTED:
                continue
            if classes[codes[tokens[i, END]]] == SPACE:
                gaps[room] = i
                room += 1
        if room == 0:
            continue
        for c in range(copies):
            start(state, seeds[d], c)
            count = _candidates(tokens, first, last, PROTECTED | STOPWORD, candidates)
            done = 0
            tries = 0
            while done < n and count and tries < 10 * n + 10:  # words without synonyms are drawn in vain
                tries += 1
                slot = slot_of(keys, hashes[candidates[below(state, count)]])
                if slot < 0:
                    continue
                word = _choose(lexicon_ends, lexicon_words, places[slot], choices, vowels, -1, state)
                if word < 0:
                    continue
                i = gaps[below(state, room)]
                put(edits, e, d * copies + c, tokens[i, END], tokens[i, END])
                edits[e, POOL], edits[e, FROM], edits[e, TO] = WORDS, word_ends[word], word_ends[word + 1]
                edits[e, LEAD] = 32
                edits[e, SHAPE] = UPPERED if tokens[i, CASE] == UPPER and tokens[i + 1, CASE] == UPPER else AS_IS
                e += 1
                done += 1
    return e


@compiled
def swap(tokens, token_ends, seeds, copies, alpha, edits):
    """Random swap: n times two random words of one sentence change places; a place keeps its case."""
    state = np.zeros(1, np.uint64)
    candidates = np.empty(max(1, len(tokens)), np.int64)
    now = np.empty(max(1, len(tokens)), np.int64)  # the word that stands at each place
    lows = np.empty(max(1, len(tokens)), np.int64)
    highs = np.empty(max(1, len(tokens)), np.int64)
    e = 0
    for d in range(len(seeds)):
        first, last = token_ends[d], token_ends[d + 1]
        n = changes(alpha, last - first)
        count = _candidates(tokens, first, last, PROTECTED, candidates)
        a = 0
        while a < count:  # the candidates of each candidate's sentence
            b = a
            while b < count and tokens[candidates[b], SENTENCE] == tokens[candidates[a], SENTENCE]:
                b += 1
            lows[a:b] = a
            highs[a:b] = b
            a = b
        for c in range(copies):
            start(state, seeds[d], c)
            for k in range(count):
                now[candidates[k]] = candidates[k]
            done = 0
            for _ in range(4 * n if count else 0):  # a sentence of one word gives no pair
                if done == n:
                    break
                x = below(state, count)
                low, high = lows[x], highs[x]
                if high - low < 2:
                    continue
                y = low + below(state, high - low - 1)
                y += y >= x
                i, j = candidates[x], candidates[y]
                now[i], now[j] = now[j], now[i]
                done += 1
            for k in range(count):
                i = candidates[k]
                j = now[i]
                if i == j:
                    continue
                put(edits, e, d * copies + c, tokens[i, START], tokens[i, END])
                edits[e, POOL], edits[e, FROM], edits[e, TO] = TEXTS, tokens[j, START], tokens[j, END]
                edits[e, SHAPE] = _place_shape(tokens[i, CASE], tokens[j, CASE])
                e += 1
    return e


@compiled
def _place_shape(place, word):
    if place == word:
        return AS_IS
    if place == TITLE:
        return TITLED
    if place == UPPER:
        return UPPERED
    return LOWERED if place == PLAIN else AS_IS


@compiled
def _is_blank(code, classes):
    """A space, but no tab: that is layout."""
    return classes[code] == SPACE and code != 9


@compiled
def delete(tokens, token_ends, seeds, codes, classes, ends, copies, alpha, edits):
    """Random deletion: each word with the probability alpha, and the white space that it would leave double."""
    state = np.zeros(1, np.uint64)
    candidates = np.empty(max(1, len(tokens)), np.int64)
    e = 0
    for d in range(len(seeds)):
        first, last = token_ends[d], token_ends[d + 1]
        count = _candidates(tokens, first, last, PROTECTED, candidates)
        for c in range(copies):
            start(state, seeds[d], c)
            spared = first + below(state, max(1, last - first))  # some word stays
            before = -1
            for k in range(count):
                i = candidates[k]
                if unit(state) >= alpha or (count == last - first and i == spared):
                    continue
                a, b = tokens[i, START], tokens[i, END]
                free = a > ends[d] and a - 1 >= before and _is_blank(codes[a - 1], classes)
                follows = b < ends[d + 1] and _is_blank(codes[b], classes)
                opens = a == ends[d] or a == before or classes[codes[a - 1]] == BREAK
                if free:
                    a -= 1
                elif follows and opens:
                    b += 1
                put(edits, e, d * copies + c, a, b)
                e += 1
                before = b
    return e
