"""The ends of lines and paragraphs: what is kept of them, and how they end."""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.clean.analysis_kernels.classes import TERMINAL
from lamina.data.clean.analysis_kernels.state import (
    ANY,
    BEGIN,
    CHUNKS,
    CLOSED,
    DOTTED,
    END,
    FIRST,
    FLAGS,
    FROM,
    LAST,
    LINE,
    LINE_AT,
    LONGEST,
    PARAGRAPH_AT,
    PUNCTUATED,
    SENTENCES,
    TO,
    TRAILING,
    VALUE,
    bytes_hash,
    decode,
)
from lamina.kit.numba_cache import lean

_BASE = np.uint64(0x9E3779B97F4A7C15)
_CLOSING = np.array([ord(c) for c in "”’»」』"])
_EDIT, _NEEDED = np.frombuffer(b"[edit]", np.uint8), np.frombuffer(b"[citation needed]", np.uint8)


@lean
def last_code(data, begin, end):
    """The last code point before byte ``end``."""
    last = end - 1
    while last > begin and data[last] & 0xC0 == 0x80:
        last -= 1
    code, _ = decode(data, last, end)
    return code


@lean
def end_line(data, table, line, at, lines):
    """Keep the line, unless it is blank, and make ready for the next. ``lines``: hashes and columns, see ``walk``."""
    hashes, rows = lines
    if line[ANY]:
        begin, end = line[BEGIN], line[END]
        code = last_code(data, begin, end)
        flags = line[FLAGS]
        if table[code] & TERMINAL:
            flags |= PUNCTUATED
        three = end - begin >= 3 and data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46
        if three or code == 0x2026:
            flags |= DOTTED
        flags |= _c4_end(data, begin, end, table)
        row = at[LINE_AT]
        hashes[row] = bytes_hash(data, begin, end)
        rows[row, 0], rows[row, 1], rows[row, 2] = begin, end, line[LAST] - line[FIRST]
        rows[row, 3], rows[row, 4] = line[CHUNKS], line[LONGEST]
        rows[row, 5], rows[row, 6] = line[SENTENCES] + 1, flags
        at[LINE_AT] += 1
        at[VALUE] = np.int64((np.uint64(at[VALUE]) ^ hashes[row]) * _BASE)
        if at[FROM] < 0:
            at[FROM] = line[FIRST]
        at[TO] = line[LAST]
    for k in range(LINE):
        line[k] = 0


@lean
def _is(data, begin, end, words):
    if end - begin != len(words):
        return False
    for n in range(len(words)):  # noqa: SIM110  a kernel has no generators
        if data[begin + n] != words[n]:
            return False
    return True


@lean
def note_at_end(data, begin, end):
    """Where a note ("[12]", "[edit]", "[citation needed]") that ends at ``end`` begins; ``end`` if there is none."""
    if end - begin < 2 or data[end - 1] != 93:
        return end
    k = end - 2
    while k >= begin and end - k < 20 and data[k] != 91:
        k -= 1
    if k < begin or data[k] != 91:
        return end
    digits = True
    for n in range(k + 1, end - 1):
        digits = digits and 48 <= data[n] <= 57
    if digits:
        return k
    return k if _is(data, k, end, _EDIT) or _is(data, k, end, _NEEDED) else end


@lean
def _c4_end(data, begin, end, table):
    """How a line ends once notes are off: in punctuation or a closing quotation mark, or in three dots."""
    before = note_at_end(data, begin, end)
    while before < end:
        end = before
        before = note_at_end(data, begin, end)
    if end == begin:
        return 0
    if end - begin >= 3 and data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46:
        return TRAILING
    code = last_code(data, begin, end)
    if code == 34 or code == 39 or table[code] & TERMINAL:
        return CLOSED
    for quote in _CLOSING:
        if code == quote:
            return CLOSED
    return 0


@lean
def end_paragraph(at, paragraphs):
    """Keep the paragraph, unless it has no line, and make ready for the next."""
    hashes, lengths = paragraphs
    if at[FROM] >= 0:
        hashes[at[PARAGRAPH_AT]] = np.uint64(at[VALUE])
        lengths[at[PARAGRAPH_AT]] = at[TO] - at[FROM]
        at[PARAGRAPH_AT] += 1
    at[VALUE], at[FROM], at[TO] = 0, -1, 0
