"""What a character counts as when texts are compared: a table over Unicode, so that folding is one look-up each.

Case, diacritics, compatibility forms (full width, ligatures) and punctuation do not matter; letters and digits do.
Scripts that are written without spaces count each character as a word.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Values of the table: an end of a word; nothing (a mark, a soft hyphen); else the folded character.
SEPARATOR, NOTHING = 0, 1
#: Bits of the table: a word by itself; a place in ``Folding.many``, where a length and that many characters stand.
ALONE, MANY = 1 << 31, 1 << 30
_END = 0x33480  # behind the last ideograph that Unicode has; nothing above counts as text

_ALONE = (
    (0x0E01, 0x0E5B),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3041, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1B000, 0x1B16F),
    (0x20000, 0x33479),
)
#: Letters in long runs that fold to themselves: filled in without asking.
_PLAIN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x2F7FF), (0x30000, 0x33479))
_JOINERS = frozenset("\u00ad\u200c\u200d\u2060\ufeff")


@dataclass(frozen=True, slots=True)
class Folding:
    """``table`` says of each code point what it counts as; ``many`` holds the folds that are several characters."""

    table: NDArray[np.uint32]
    many: NDArray[np.uint32]


@lru_cache(maxsize=2)
def folding(*, figures: bool = True) -> Folding:
    """The table; without ``figures`` digits count for nothing (page numbers, dates, counters).

    A loop over the 60,000 code points that are not in long plain runs: 0.1 s, once a process.
    """
    table = np.zeros(_END, np.uint32)
    many: list[int] = []
    rest = np.ones(_END, bool)
    rest[0xD800:0xE000] = False  # surrogates
    for first, last in _PLAIN:
        table[first : last + 1] = np.arange(first, last + 1)
        rest[first : last + 1] = False
    for code in np.flatnonzero(rest).tolist():
        table[code] = _fold(code, many, figures)
    for first, last in _ALONE:
        span = table[first : last + 1]
        single = (span > NOTHING) & (span < MANY)
        span[single] |= np.uint32(ALONE)
    return Folding(table, np.array(many, np.uint32))


def _fold(code: int, many: list[int], figures: bool) -> int:
    char = chr(code)
    kind = unicodedata.category(char)
    if kind in ("Mn", "Me") or char in _JOINERS:
        return NOTHING
    if kind == "Cn":
        return SEPARATOR
    if kind in ("Nd", "Nl", "No") and not figures:
        return NOTHING
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    letters = [c for c in folded if unicodedata.category(c) not in ("Mn", "Me")]
    if letters and all(_counts(c) for c in letters):
        if len(letters) == 1:
            return ord(letters[0])
        if not any(_stands_alone(ord(c)) for c in letters):
            many += [len(letters), *(ord(c) for c in letters)]
            return MANY | (len(many) - len(letters) - 1)
    return code if _counts(char) else SEPARATOR


def _counts(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind[0] in "LN" or kind == "Mc"  # spacing marks are the vowels of Indic scripts


def _stands_alone(code: int) -> bool:
    return any(first <= code <= last for first, last in _ALONE)
