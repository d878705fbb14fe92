"""How keys lie, and how print is misread: tables of what stands for what by mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lamina.data.augment.characters import encode

#: The rows of letters with each row's offset in key widths; a space is a key without a letter.
LAYOUTS: dict[str, tuple[tuple[float, str], ...]] = {
    "qwerty": ((0.0, "qwertyuiop"), (0.25, "asdfghjkl"), (0.75, "zxcvbnm")),
    "qwertz": ((-0.5, "          ß"), (0.0, "qwertzuiopü"), (0.25, "asdfghjklöä"), (0.75, "yxcvbnm")),
    "azerty": ((-0.5, " é    è çà"), (0.0, "azertyuiop"), (0.25, "qsdfghjklmù"), (0.75, "wxcvbn")),
    "spanish": ((0.0, "qwertyuiop"), (0.25, "asdfghjklñ"), (0.75, "zxcvbnm")),
}
_REACH = 1.25  # key widths; the six keys around one


def pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Pairs written as "meant>comes", with white space between."""
    found = (pair.split(">") for pair in text.split())
    return tuple((meant, comes) for meant, comes in found)


#: What optical recognition takes for what, after the shapes of letters in print.
_MISREAD = """rn>m m>rn cl>d d>cl vv>w w>vv l>1 l>I I>l 1>l O>0 o>0 0>O e>c c>e h>b b>h n>u u>n li>h h>li S>5 B>8 g>q
    q>g t>f f>t i>j ri>n nn>m in>m ii>u fi>h Z>2 G>6 y>v v>y E>F I>1 a>o s>5 i>l ll>11 T>7 ss>5s D>O Q>O"""
OCR: tuple[tuple[str, str], ...] = pairs(_MISREAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusions:
    """K pairs of what is meant and what comes out, in the order of the first character meant."""

    firsts: NDArray[np.uint32]  # (K,)
    sources: NDArray[np.uint32]  # characters of what is meant, from source_ends[k]
    source_ends: NDArray[np.int64]  # (K + 1,)
    targets: NDArray[np.uint32]
    target_ends: NDArray[np.int64]  # (K + 1,)

    @property
    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """What the kernels take."""
        return self.firsts, self.sources, self.source_ends, self.target_ends


def confusions(pairs: Sequence[tuple[str, str]]) -> Confusions:
    """The table of ``pairs``."""
    ordered = sorted(pairs)
    sources, targets = encode([a for a, _ in ordered]), encode([b for _, b in ordered])
    return Confusions(
        firsts=sources.codes[sources.ends[:-1]],
        sources=sources.codes,
        source_ends=sources.ends,
        targets=targets.codes,
        target_ends=targets.ends,
    )


@lru_cache(maxsize=8)
def neighbours(layout: str) -> tuple[tuple[str, str], ...]:
    """Each letter of a layout with each letter beside it."""
    keys = [
        (letter, offset + column, float(row))
        for row, (offset, letters) in enumerate(LAYOUTS[layout])
        for column, letter in enumerate(letters)
        if letter != " "
    ]
    return tuple(
        (a, b) for a, ax, ay in keys for b, bx, by in keys if a != b and (ax - bx) ** 2 + (ay - by) ** 2 <= _REACH**2
    )
