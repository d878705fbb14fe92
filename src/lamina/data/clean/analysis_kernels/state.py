"""Names of columns, places and bits that the kernels of the walk share, and reading UTF-8."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.kit.numba_cache import lean

#: Columns of the counts of a text: RUNS are words and marks, WORDS those that are not marks alone.
CHARACTERS, RUNS, RUN_LENGTHS, WORDS, WORD_LENGTHS, LETTERED = range(6)
HASHES, ELLIPSES, NEWLINES, STOPS, ALONES, COUNTS = range(6, 12)
#: Places of what is known of the present line: bytes, characters, runs, sentences so far, flags.
BEGIN, END, FIRST, LAST, CHUNKS, LONGEST, SENTENCES, SEEN, FLAGS, ANY, LINE = range(11)
#: Places of what is known of the walk: entries of words, lines, paragraphs; and of the present paragraph.
WORD_AT, LINE_AT, PARAGRAPH_AT, VALUE, FROM, TO, AT = range(7)
#: Bits of a line: begins as a list item, ends in an ellipsis, ends a sentence (Unicode), ends as C4 wants, ends in
#: three dots, has a brace. The bits of phrases begin at PHRASES.
BULLETED, DOTTED, PUNCTUATED, CLOSED, TRAILING, BRACE = 1, 2, 4, 8, 16, 32
PHRASES = 8
#: Slots of the hash table of a language's stop words.
SLOTS = 256

PRIME = np.uint64(0x100000001B3)
SEED = np.uint64(0xCBF29CE484222325)


@lean
def decode(data, k, end):
    """The code point at byte ``k`` and its size in bytes (never beyond ``end``)."""
    b = np.int64(data[k])
    if b < 0x80 or k + 1 >= end:
        return b, 1
    c = np.int64(data[k + 1]) & 0x3F
    if b < 0xE0 or k + 2 >= end:
        return ((b & 0x1F) << 6) | c, 2
    d = np.int64(data[k + 2]) & 0x3F
    if b < 0xF0 or k + 3 >= end:
        return ((b & 0x0F) << 12) | (c << 6) | d, 3
    return (((b & 0x03) << 18) | (c << 12) | (d << 6) | (np.int64(data[k + 3]) & 0x3F)), 4


@lean
def bytes_hash(data, begin, end):
    """FNV-1a of 64 bits."""
    h = SEED
    for k in range(begin, end):
        h = (h ^ np.uint64(data[k])) * PRIME
    return h
