"""Where a word ends when marks of punctuation count as words of their own.

After spaCy's English tokenizer (rules of its 3.8 `punctuation.py`), with which datatrove splits text and with which the
thresholds of FineWeb were found: marks are taken off both ends one by one, then what is left is cut at ellipses, at
hyphens, commas and signs between letters. Left out are its exceptions for chat ("im", "dont", ":-)").

``codes`` are the code points of a run without white space, ``first`` and ``last`` (exclusive) a part of it.
"""
# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# numba compiles these functions from their arguments' types; annotations would say nothing to it.

from __future__ import annotations

import numpy as np

from lamina.data.clean.analysis_kernels.classes import AFTER, BEFORE, ICON, LETTER, LOWER, QUOTE, UPPER, WORD
from lamina.kit.numba_cache import lean

_ABBREVIATIONS = (
    "Adm. Apr. Aug. Bros. Calif. Co. Corp. D.C. Dec. Dr. E.g. Feb. Gen. Gov. I.e. Inc. Jan. Jr. Jul. Jun. Ltd. Mar."
    " Messrs. Mr. Mrs. Ms. Mt. N.Y. Nov. Oct. Ph.D. Prof. Rep. Rev. Sen. Sep. Sept. St. a.m. co. e.g. i.e. p.m. v.s."
    " vs."
)
_UNITS = "km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K"


def _packed(words: str) -> np.ndarray:
    """Up to eight ASCII characters as one number each."""
    return np.array(sorted(int.from_bytes(w.encode(), "big") for w in words.split()), np.uint64)


_KNOWN, _UNIT, _CANNOT = _packed(_ABBREVIATIONS), _packed(_UNITS), _packed("Cannot cannot")
_DOT, _DASH, _PLUS, _SLASH, _COLON, _AT = 46, 45, 43, 47, 58, 64


@lean
def _in(table, codes, first, last):
    """Whether the part is one of the packed words."""
    if last - first > 8:
        return False
    key = np.uint64(0)
    for k in range(first, last):
        if codes[k] > 127:
            return False
        key = (key << np.uint64(8)) | np.uint64(codes[k])
    low, high = 0, len(table)
    while low < high:
        middle = (low + high) >> 1
        if table[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low < len(table) and table[low] == key


@lean
def _is_digit(code):
    return 48 <= code <= 57


@lean
def _is_apostrophe(code):
    return code == 39 or code == 0x2019


@lean
def _contraction(codes, first, last, table):
    """Where "don't", "they'll" or "cannot" is cut in two; -1 where the part is none of these."""
    size = last - first
    if size == 6 and _in(_CANNOT, codes, first, last):
        return first + 3
    cut = -1
    if size > 3 and _is_apostrophe(codes[last - 2]):
        end = codes[last - 1]
        if end == 116 and codes[last - 3] == 110:  # n't
            cut = last - 3
        elif end == 100 or end == 109 or end == 115:  # 'd, 'm, 's
            cut = last - 2
    elif size > 3 and _is_apostrophe(codes[last - 3]):
        a, b = codes[last - 2], codes[last - 1]
        if (a == 108 and b == 108) or ((a == 118 or a == 114) and b == 101):  # 'll, 've, 're
            cut = last - 3
    elif size == 3 and _is_apostrophe(codes[first + 1]) and (codes[last - 1] == 109 or codes[last - 1] == 100):
        cut = first + 1  # I'm, I'd
    for k in range(first, cut):
        if not table[codes[k]] & LETTER:
            return -1
    return cut


@lean
def _abbreviation(codes, first, last):
    """Whether the part ends in a full stop that belongs to it."""
    if codes[last - 1] != _DOT:
        return False
    if last - first == 2:
        return 97 <= codes[first] <= 122
    return _in(_KNOWN, codes, first, last)


@lean
def prefix(codes, first, last, table):
    """Characters to take off the front, 0 for none."""
    code = codes[first]
    if table[code] & BEFORE:
        return 1
    if code == _PLUS:
        return 0 if first + 1 < last and _is_digit(codes[first + 1]) else 1
    if code == _DOT:
        k = first
        while k < last and codes[k] == _DOT:
            k += 1
        return k - first if k - first > 1 else 0
    return 0


@lean
def suffix(codes, first, last, table):
    """Characters to take off the end, 0 for none."""
    code = codes[last - 1]
    if code == _DOT:
        return _dots(codes, first, last, table)
    if table[code] & AFTER:
        return 1
    before = codes[last - 2] if last - first > 1 else 0
    if (code == 115 or code == 83) and _is_apostrophe(before):
        return 2
    if _is_digit(before) and (code == _PLUS or code == 37 or (table[code] & BEFORE and not table[code] & AFTER)):
        return 1 if code != 167 and code != 61 else 0  # a currency sign, a per cent sign
    if 65 <= code <= 122:
        k = last
        while k > first and (65 <= codes[k - 1] <= 90 or 97 <= codes[k - 1] <= 122):
            k -= 1
        if k > first and k < last and _is_digit(codes[k - 1]) and _in(_UNIT, codes, k, last):
            return last - k
    return 0


@lean
def _dots(codes, first, last, table):
    k = last
    while k > first and codes[k - 1] == _DOT:
        k -= 1
    if last - k > 1:
        return last - k
    if k == first:
        return 0
    before = codes[k - 1]
    bits = table[before]
    if _is_digit(before) or bits & (LOWER | QUOTE) or (bits & AFTER and not bits & ICON and before < 0x2013):
        return 1
    if before in (37, 0xB2, _DASH, _PLUS):
        return 1
    return 1 if bits & UPPER and k - first > 1 and table[codes[k - 2]] & UPPER else 0


@lean
def infix(codes, k, first, last, table):
    """Characters of the mark inside a word at ``k``, at which it is cut; 0 for none."""
    code = codes[k]
    bits = table[code]
    if bits & ICON or code == 0x2026:
        return 1
    if bits & LETTER or _is_digit(code):
        return 0
    if code == _DOT and k + 1 < last and codes[k + 1] == _DOT:
        n = k
        while n < last and codes[n] == _DOT:
            n += 1
        return n - k
    if k == first or k + 1 >= last:
        return 0
    left, right = codes[k - 1], codes[k + 1]
    if code in (_PLUS, _DASH, 42, 94) and _is_digit(left) and (_is_digit(right) or right == _DASH):
        return 1
    before, after = table[left], table[right]
    if code == _DOT:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == 44:
        return 1 if before & LETTER and after & LETTER else 0
    if not (before & LETTER or _is_digit(left)):
        return 0
    if code in (_COLON, _SLASH) or 60 <= code <= 62:
        return 1 if after & LETTER else 0
    return _hyphen(codes, k, last, table)


@lean
def _hyphen(codes, k, last, table):
    code = codes[k]
    if code != _DASH and code != 0x2013 and code != 0x2014 and code != 126:
        return 0
    most = 3 if code == _DASH else 2 if code == 0x2014 else 1
    n = k + 1
    while n < last and codes[n] == code:
        n += 1
    return n - k if n - k <= most and n < last and table[codes[n]] & LETTER else 0


@lean
def is_address(codes, first, last, table):
    """Whether the part is a URL, an e-mail address or a host name with a path, which is never cut."""
    k = first
    for n in range(first, last - 3):
        if codes[n] == _COLON and codes[n + 1] == _SLASH and codes[n + 2] == _SLASH:
            k = n + 3 if n - first > 1 else first
            break
    for n in range(last - 1, k, -1):
        if codes[n] == _AT:
            k = n + 1
            break
    label, dots, lower = k, 0, False  # of the host name so far
    while k < last:
        code = codes[k]
        if code == _DOT:
            if k == label or codes[k - 1] == _DASH or codes[k - 1] == 95:
                return False
            dots += 1
            label, lower = k + 1, True
        elif table[code] & LETTER or _is_digit(code) or ((code == _DASH or code == 95) and k > label):
            lower = lower and (table[code] & LOWER) != 0
        else:
            break
        k += 1
    if dots == 0 or not lower or k - label < 2:
        return False
    if k < last and codes[k] == _COLON:
        digits = k + 1
        while digits < last and _is_digit(codes[digits]):
            digits += 1
        k = digits if 2 <= digits - k - 1 <= 5 else k
    return k == last or codes[k] == _SLASH or codes[k] == 63 or codes[k] == 35


@lean
def _is_whole(codes, first, last, table):
    """Whether nothing inside the part can be cut."""
    every = np.uint16(0xFFFF)
    for k in range(first, last):
        every &= table[codes[k]]
    return every & WORD or _abbreviation(codes, first, last) or is_address(codes, first, last, table)


@lean
def cut(codes, size, table, ends, scratch):
    """The words of a run of ``size`` characters: fills ``ends`` with where each ends; returns how many.

    ``scratch``: room for ``size`` numbers.
    """
    first, last, words, tails = 0, size, 0, 0
    halves = -1
    while first < last:
        halves = _contraction(codes, first, last, table)
        if halves > 0 or _abbreviation(codes, first, last):
            break
        front = prefix(codes, first, last, table)
        back = suffix(codes, first + front, last, table) if first + front < last else 0
        if front == 0 and back == 0:
            break
        if front > 0:
            first += front
            ends[words] = first
            words += 1
        if back > 0:
            scratch[tails] = last
            tails += 1
            last -= back
    if first < last:
        if halves > first:
            ends[words] = halves
            ends[words + 1] = last
            words += 2
        elif _is_whole(codes, first, last, table):
            ends[words] = last
            words += 1
        else:
            words = _cut_inside(codes, first, last, table, ends, words)
    for n in range(tails - 1, -1, -1):
        ends[words] = scratch[n]
        words += 1
    return words


@lean
def _cut_inside(codes, first, last, table, ends, words):
    begin, k = first, first
    while k < last:
        size = infix(codes, k, first, last, table)
        if size > 0 and k > begin:
            ends[words] = k
            ends[words + 1] = k + size
            words += 2
            begin = k + size
        k += max(size, 1)
    if begin < last:
        ends[words] = last
        words += 1
    return words
