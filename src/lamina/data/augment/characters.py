"""What each character is, as tables over code points, and texts as flat arrays of code points."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

OTHER, LETTER, MARK, DIGIT, SPACE, BREAK, STOP, SINGLE, JOINER, GLUE, CLOSER = range(11)
_CODES = 0x110000
_LOOKED_UP = 0x20000  # above lie ideographs, then tags and private use
_IDEOGRAPHS = 0x323B0
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_STOPS = ".!?…。！？؟।"
_JOINERS = "'’-‐‑_"
_GLUE = "/\\@#=^$%&+"
_CLOSERS = "\"'”’»)]}*_"
_SINGLE = (  # scripts written without spaces between words: each character counts as a word
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3040, 0x30FF)),
    *((0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9D), (0x1B000, 0x1B16F)),
)
_KINDS = {"L": LETTER, "M": MARK, "N": DIGIT, "Z": SPACE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """One entry a code point: its class, its lower and upper case (where those are one character), its case."""

    classes: NDArray[np.uint8]
    lower: NDArray[np.uint32]
    upper: NDArray[np.uint32]
    case: NDArray[np.uint8]  # 1 lower, 2 upper, 0 neither


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """N texts one after another: ``codes`` (C,), text i from ``ends[i]`` to ``ends[i + 1]``."""

    codes: NDArray[np.uint32]
    ends: NDArray[np.int64]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The tables; a tenth of a second at first use."""
    classes = np.zeros(_CODES, np.uint8)
    lower = np.arange(_CODES, dtype=np.uint32)
    upper = lower.copy()
    case = np.zeros(_CODES, np.uint8)
    for code in range(_LOOKED_UP):
        character = chr(code)
        kind = _KINDS.get(unicodedata.category(character)[0], OTHER)
        classes[code] = kind
        if kind == LETTER:
            small, large = character.lower(), character.upper()
            if small != large:
                case[code] = 1 if small == character else 2
            if len(small) == 1 == len(small.upper()):
                lower[code] = ord(small)
            if len(large) == 1 == len(large.lower()):
                upper[code] = ord(large)
    classes[_LOOKED_UP:_IDEOGRAPHS] = SINGLE
    for first, last in _SINGLE:
        part = classes[first : last + 1]
        part[part == LETTER] = SINGLE
    for characters, kind in ((" \t\u00a0", SPACE), (_BREAKS, BREAK), (_STOPS, STOP), (_JOINERS, JOINER), (_GLUE, GLUE)):
        classes[[ord(c) for c in characters]] = kind
    classes[[ord(c) for c in _CLOSERS if c not in _JOINERS]] = CLOSER
    return Tables(classes=classes, lower=lower, upper=upper, case=case)


def encode(texts: Sequence[str]) -> Texts:
    """The code points of ``texts``."""
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    raw = "".join(texts).encode("utf-32-le", "surrogatepass")
    return Texts(codes=np.frombuffer(raw, np.uint32), ends=ends)


def decode(codes: NDArray[np.uint32], ends: NDArray[np.int64]) -> list[str]:
    """The texts that ``encode`` would have made these from."""
    whole = codes.tobytes().decode("utf-32-le", "surrogatepass")
    places = ends.tolist()
    return [whole[a:b] for a, b in pairwise(places)]
