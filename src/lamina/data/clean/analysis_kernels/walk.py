"""One walk over the bytes of each text: its words, lines and paragraphs as flat arrays, and counts of the whole text.

Texts are ``data`` (UTF-8 bytes of all) and ``offsets`` (N + 1). The walk stops before a text for which the flat arrays
may not have room, and goes on from there when they have been made larger.

Over 300 lines because the cases of one loop share its state, and a kernel's state is passed by hand.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.clean.analysis_kernels.classes import (
    ALONE,
    BULLET,
    COUNTED,
    LETTER,
    PLAIN,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    TERMINAL,
    WORD,
    classes,
)
from lamina.data.clean.analysis_kernels.lines import end_line, end_paragraph
from lamina.data.clean.analysis_kernels.phrases import first_phrases, phrase_at
from lamina.data.clean.analysis_kernels.state import (
    ALONES,
    ANY,
    AT,
    BEGIN,
    BRACE,
    BULLETED,
    CHARACTERS,
    CHUNKS,
    COUNTS,
    ELLIPSES,
    END,
    FIRST,
    FLAGS,
    FROM,
    HASHES,
    LAST,
    LETTERED,
    LINE,
    LINE_AT,
    LONGEST,
    NEWLINES,
    PARAGRAPH_AT,
    PHRASES,
    PRIME,
    RUN_LENGTHS,
    RUNS,
    SEED,
    SEEN,
    SENTENCES,
    SLOTS,
    STOPS,
    VALUE,
    WORD_AT,
    WORD_LENGTHS,
    WORDS,
    bytes_hash,
    decode,
)
from lamina.data.clean.analysis_kernels.tokens import cut
from lamina.kit.numba_cache import compiled, lean

_SLOT_MASK = np.uint64(SLOTS - 1)
_FREE, _S32 = np.uint64(0), np.uint64(32)
_RARE = first_phrases()[:, 1] > 0  # letters at which a phrase may be found
_ASCII = np.concatenate([classes()[:128], np.zeros(128, np.uint16)])


@lean
def _stop_bit(value, base, slots, bits):
    """The bit of the stop word with this hash (of its lower case), 0 if there is none."""
    slot = np.int64((value ^ (value >> _S32)) & _SLOT_MASK)
    while slots[base + slot] != _FREE and slots[base + slot] != value:
        slot = (slot + 1) & (SLOTS - 1)
    return bits[base + slot]


@lean
def _stop_words(codes, size, table, lower, base, slots, bits):
    """The bits of the stop words among the runs of letters and digits."""
    found, k = np.int64(0), 0
    while k < size:
        if not table[codes[k]] & WORD:
            k += 1
            continue
        value = SEED
        while k < size and table[codes[k]] & WORD:
            code = codes[k]
            value = (value ^ np.uint64(lower[code] if code < 0x2000 else code)) * PRIME
            k += 1
        found |= _stop_bit(value, base, slots, bits)
    return found


@lean
def _count_word(codes, first, last, table, counts, line):
    """Count a word, and see whether it begins or ends a sentence."""
    either, every = np.uint16(0), np.uint16(0xFFFF)
    for k in range(first, last):
        bits = table[codes[k]]
        either |= bits
        every &= bits
    counts[RUNS] += 1
    counts[RUN_LENGTHS] += last - first
    if not every & SYMBOL:
        counts[WORDS] += 1
        counts[WORD_LENGTHS] += last - first
    if either & LETTER:
        counts[LETTERED] += 1
    if last - first == 1 and every & TERMINAL:
        line[SEEN] = 1
    elif line[SEEN] and not every & PUNCTUATION:
        line[SENTENCES] += 1
        line[SEEN] = 0


@lean
def _count_signs(codes, size, counts, line):
    """Hashes, ellipses and braces of a run."""
    k = 0
    while k < size:
        code = codes[k]
        if code == 35:
            counts[HASHES] += 1
        elif code == 0x2026:
            counts[ELLIPSES] += 1
        elif code == 123:
            line[FLAGS] |= BRACE
        elif code == 46 and k + 2 < size and codes[k + 1] == 46 and codes[k + 2] == 46:
            counts[ELLIPSES] += 1
            k += 2
        k += 1


@lean
def _without_notes(codes, size):
    """Take "[12]" and "[edit]" out of a run, in place; its new size."""
    n, k = 0, 0
    while k < size:
        if codes[k] == 91:
            stop = k + 1
            while stop < size and 48 <= codes[stop] <= 57:
                stop += 1
            edit = (
                k + 5 < size
                and codes[k + 1] == 101
                and codes[k + 2] == 100
                and codes[k + 3] == 105
                and codes[k + 4] == 116
            )
            if edit and codes[k + 5] == 93:
                stop = k + 5
            if stop < size and codes[stop] == 93:
                k = stop + 1
                continue
        codes[n] = codes[k]
        n += 1
        k += 1
    return n


@lean
def _cut_run(data, end, codes, places, ends, tails, size, table, counts, line, at, hashes, lengths):
    """Words and marks of a run that is not all letters."""
    pieces = cut(codes, size, table, ends, tails)
    noted = False
    for k in range(size):
        noted = noted or codes[k] == 91
    seen, sentences = line[SEEN], line[SENTENCES]
    begin = 0
    for n in range(pieces):
        stop = ends[n]
        _keep(hashes, lengths, at, bytes_hash(data, places[begin], places[stop] if stop < size else end), stop - begin)
        _count_word(codes, begin, stop, table, counts, line)
        begin = stop
    if noted:  # a note of a source is no part of the sentence
        rest = _without_notes(codes, size)
        if rest < size:
            line[SEEN], line[SENTENCES] = seen, sentences
            _sentences(codes, cut(codes, rest, table, ends, tails), ends, table, line, line[LINE:])


@lean
def _sentences(codes, words, ends, table, line, unused):
    begin = 0
    for n in range(words):
        _count_word(codes, begin, ends[n], table, unused, line)
        begin = ends[n]


@lean
def _run(data, k, end, start, marks, base, tables, scratch, row, line, at, words):
    """Take up the run of characters that begins at byte ``k``; returns where it ends and its characters."""
    table, lower, slots, bits_of = tables
    codes, places, ends, tails = scratch
    hashes, lengths = words
    begin, run = k, 0
    either, every = np.uint16(0), np.uint16(0xFFFF)
    while k < end:
        code, n = decode(data, k, end)
        bits = table[code]
        if bits & SPACE or (bits & ALONE and run > 0):
            break
        codes[run], places[run] = code, k
        run += 1
        either |= bits
        every &= bits
        if code < 128 and _RARE[code]:
            line[FLAGS] |= phrase_at(data, k, start, end) << PHRASES
        k += n
        if bits & ALONE:
            row[ALONES] += 1
            break
    if not line[ANY] and run == 1 and either & BULLET:
        line[FLAGS] |= BULLETED
    if either & COUNTED:
        _count_signs(codes, run, row, line)
    if base >= 0 and either & WORD:
        row[STOPS] |= _stop_words(codes, run, table, lower, base, slots, bits_of)
    if marks and not every & PLAIN:
        _cut_run(data, k, codes, places, ends, tails, run, table, row, line, at, hashes, lengths)
    else:
        _keep(hashes, lengths, at, bytes_hash(data, begin, k), run)
        _count_word(codes, 0, run, table, row, line)
    return k, run


@lean
def _keep(hashes, lengths, at, value, length):
    hashes[at[WORD_AT]] = value
    lengths[at[WORD_AT]] = length
    at[WORD_AT] += 1


@lean
def _walk_text(data, k, end, marks, base, tables, scratch, row, words, lines, paragraphs, line, at):
    """Walk over the text whose bytes go from ``k`` to ``end``; returns its characters."""
    table, _, slots, bits = tables
    start, characters, simple, letters, breaks = k, 0, 0, 0, 0
    known = base >= 0
    while k < end:
        begin = k
        h, small = SEED, SEED
        while k < end:  # most runs are ASCII letters from end to end
            b = data[k]
            if not _ASCII[b] & PLAIN:
                break
            h = (h ^ np.uint64(b)) * PRIME
            small = (small ^ np.uint64(b | 32)) * PRIME
            if _RARE[b]:
                line[FLAGS] |= phrase_at(data, k, start, end) << PHRASES
            k += 1
        size = k - begin
        if size > 0 and (k == end or _ASCII[data[k]] & SPACE) and not (size == 6 and marks):
            if known:
                row[STOPS] |= _stop_bit(small, base, slots, bits)
            simple += 1
            letters += size
            _keep(words[0], words[1], at, h, size)
            if line[SEEN]:
                line[SENTENCES] += 1
                line[SEEN] = 0
        else:
            k = begin
            b = data[k]
            if b == 10:
                end_line(data, table, line, at, lines)
                breaks += 1
                if breaks == 2:
                    end_paragraph(at, paragraphs)
                row[NEWLINES] += 1
                characters += 1
                k += 1
                continue
            code, n = decode(data, k, end)
            if table[code] & SPACE:
                breaks = 0
                characters += 1
                k += n
                continue
            k, size = _run(data, k, end, start, marks, base, tables, scratch, row, line, at, words)
        breaks = 0
        if not line[ANY]:
            line[ANY], line[BEGIN], line[FIRST] = 1, begin, characters
        characters += size
        line[END], line[LAST] = k, characters
        line[CHUNKS] += 1
        line[LONGEST] = max(line[LONGEST], size)
    row[RUNS] += simple
    row[WORDS] += simple
    row[LETTERED] += simple
    row[RUN_LENGTHS] += letters
    row[WORD_LENGTHS] += letters
    return characters


@compiled
def walk(data, offsets, start, marks, table, lower, stops, languages, counts, words, lines, paragraphs, ends):
    """Walk from text ``start`` on; returns the first text that was not walked (N when all were).

    ``marks``: punctuation marks count as words. ``stops``: hash tables of stop words one after another, and the bit of
    each slot; ``languages`` (N,): which of them holds for a text, -1 for none. Out: ``counts`` (N, COUNTS); ``words``:
    hashes and lengths; ``lines``: hashes and (first byte, end, characters, runs, longest run, sentences, flags);
    ``paragraphs``: hashes and characters; ``ends`` (N + 1, 3): words, lines and paragraphs of the texts before.
    """
    line, at = np.zeros(LINE + COUNTS, np.int64), np.zeros(AT, np.int64)
    at[WORD_AT], at[LINE_AT], at[PARAGRAPH_AT] = ends[start, 0], ends[start, 1], ends[start, 2]
    longest = 1
    for i in range(start, len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    cuts = np.empty(longest, np.int32), np.empty(longest, np.int32)
    scratch = (np.empty(longest, np.int32), np.empty(longest, np.int64), *cuts)
    tables = (table, lower, *stops)
    for i in range(start, len(offsets) - 1):
        size = offsets[i + 1] - offsets[i]
        if at[WORD_AT] + size > len(words[0]) or max(at[LINE_AT], at[PARAGRAPH_AT]) + size > len(lines[0]):
            return i
        at[FROM], at[VALUE] = -1, 0
        base = languages[i] * SLOTS if languages[i] >= 0 else -1
        row = counts[i]
        row[CHARACTERS] = _walk_text(
            data, offsets[i], offsets[i + 1], marks, base, tables, scratch, row, words, lines, paragraphs, line, at
        )
        end_line(data, table, line, at, lines)
        end_paragraph(at, paragraphs)
        ends[i + 1, 0], ends[i + 1, 1], ends[i + 1, 2] = at[WORD_AT], at[LINE_AT], at[PARAGRAPH_AT]
    return len(offsets) - 1
