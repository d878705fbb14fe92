"""What each character is, in bits: one table for all code points, built once from Python's Unicode data (40 ms)."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SPACE = 1  # as str.isspace
LETTER = 2  # as str.isalpha
PLAIN = 4  # letters and the marks on them: a run of them is one word under every rule
WORD = 8  # letters, marks, digits, underscore: what \w matches
PUNCTUATION = 16  # category P
SYMBOL = 32  # makes no word by itself: punctuation, controls, $ + < = > ^ ` | ~ ´ ∶
TERMINAL = 64  # ends a sentence (Unicode's Sentence_Terminal, less what ends only abbreviations)
ALONE = 128  # of a script written without spaces: each character counts as a word
LOWER = 256  # lower case, or a letter without case
UPPER = 512  # upper case, or a letter without case
BEFORE = 1024  # split off where it begins a word
AFTER = 2048  # split off where it ends a word
QUOTE = 4096
ICON = 8192  # category So: split off everywhere
COUNTED = 16384  # # . … { : looked at one by one
BULLET = 32768

#: Han, kana, Thai, Lao, Tibetan, Myanmar, Khmer.
_ALONE = (
    *((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007)),
    *((0x3021, 0x3029), (0x3038, 0x303B), (0x3041, 0x309F), (0x30A1, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1B000, 0x1B16F)),
    *((0x20000, 0x323AF),),
)
_TERMINAL = (
    "!.?\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a\u104b"
    "\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8\u1aa9\u1aaa\u1aab\u1b5a\u1b5b"
    "\u1b5e\u1b5f\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047\u2048\u2049\u2e2e\u2e3c\u3002\ua4ff\ua60e\ua60f\ua6f3"
    "\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d\uaa5e\uaa5f\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01"
    "\uff0e\uff1f\uff61"
)
_PUNCT = ",:;!?()[]{}<>_#*&…¿؟¡。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧"
_BULLETS = "-*•‣●▪–·"


@lru_cache(maxsize=1)
def classes() -> NDArray[np.uint16]:
    """The bits of each code point, (0x110000,). Nothing above the third plane has any but variation selectors."""
    table = np.zeros(0x110000, np.uint16)
    by_category = {
        **dict.fromkeys(("Lu", "Lt"), LETTER | PLAIN | WORD | UPPER),
        "Ll": LETTER | PLAIN | WORD | LOWER,
        **dict.fromkeys(("Lo", "Lm"), LETTER | PLAIN | WORD | LOWER | UPPER),
        **dict.fromkeys(("Mn", "Mc"), PLAIN | WORD),
        **dict.fromkeys(("Nd", "Nl", "No"), WORD),
        **dict.fromkeys(("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"), PUNCTUATION | SYMBOL),
        "Sc": BEFORE,
        "So": ICON | BEFORE | AFTER,
        "Cc": SYMBOL,
    }
    category = unicodedata.category
    table[:0x33000] = [by_category.get(category(chr(code)), 0) for code in range(0x33000)]
    table[0xE0100:0xE01F0] |= PLAIN | WORD
    for first, last in _ALONE:
        part = table[first : last + 1]
        part[(part & PLAIN) != 0] |= ALONE  # their digits and marks of punctuation are as anywhere
    spaces = [code for code in range(0x3001) if chr(code).isspace()]
    table[spaces] = SPACE
    _mark(table, _TERMINAL, TERMINAL)
    _mark(table, "$+<=>^`|~´∶", SYMBOL)
    _mark(table, "_", WORD)
    _mark(table, _PUNCT + _QUOTES + "—–", BEFORE | AFTER)
    _mark(table, "§%=", BEFORE)
    _mark(table, _QUOTES, QUOTE)
    _mark(table, "#.…{", COUNTED)
    _mark(table, _BULLETS, BULLET)
    table.setflags(write=False)
    return table


def _mark(table: NDArray[np.uint16], characters: str, bits: int) -> None:
    table[[ord(c) for c in characters]] |= np.uint16(bits)


@lru_cache(maxsize=1)
def lower_case() -> NDArray[np.uint16]:
    """The lower case of each code point below 0x2000 (Latin, Greek, Cyrillic, Armenian), itself where it has none."""
    table = np.arange(0x2000, dtype=np.uint16)
    for code in range(0x2000):
        small = chr(code).lower()
        if len(small) == 1 and ord(small) < 0x2000:
            table[code] = ord(small)
    table.setflags(write=False)
    return table
