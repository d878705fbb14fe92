"""Texts as they come in from the world, by other tables than training's noise: what the verdict tests under.

Typos here hit keys farther away, misreadings are of other letters, case is lost for a whole text, and paraphrase is by
phrases, not by a thesaurus; else augmentation would be tested on what it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import pyarrow as pa

from lamina.data.augment.keyboards import LAYOUTS, pairs
from lamina.data.augment.noise import inject
from lamina.kit.identity import blake3_hex

CONDITIONS = ("clean", "typos", "OCR errors", "casing", "paraphrase")
_RATE = 0.2  # of the words
_FAR = (1.3, 2.3)  # key widths
_MISREAD = """m>nn h>n p>n r>i s>a k>lc x>z e>o a>u d>ol n>ri o>c w>w. b>lo u>ii t>l f>r c>( y>j v>u l>! i>; g>y
    R>K D>0 P>F M>N H>N C>G W>VV N>H A>4 U>O B>R S>8"""
_PHRASES = """a lot of=plenty of|in order to=to|however=but|for example=for instance|because=since|a number of=several|
    is able to=can|are able to=can|was able to=could|as well as=and also|such as=like|also known as=also called|
    known as=called|located in=found in|is a type of=is a kind of|consists of=is made up of|refers to=means|
    is used to=serves to|used for=meant for|such a=a|at least=no less than|at the same time=meanwhile|
    in addition=besides|most of=the greater part of|in the past=formerly|due to=because of|
    according to=as told by|in general=as a rule|
    usually=most often|often=frequently|very=really|about=around|approximately=roughly|over=more than|
    do not=don't|does not=doesn't|did not=didn't|is not=isn't|are not=aren't|was not=wasn't|were not=weren't|
    cannot=can't|will not=won't|would not=wouldn't|could not=couldn't|it is=it's|that is=that's|i am=I'm|i have=I've|
    you are=you're|they are=they're|we are=we're|don't=do not|doesn't=does not|didn't=did not|isn't=is not|
    can't=cannot|won't=will not|it's=it is|that's=that is|i'm=I am|i've=I have|you're=you are|
    great=wonderful|good=fine|bad=poor|buy=purchase|bought=purchased|get=obtain|want=wish for|think=believe|
    people=persons|big=large|small=little|start=begin|began=started|help=assist|show=demonstrate|
    which is=that is|which are=that are|who is=who's|one of the=among the|part of=a portion of"""


def perturb(texts: Sequence[str], condition: str, *, seed: int, language: str | None = None) -> list[str]:
    """Each text as ``condition`` (of ``CONDITIONS``) would have it; the same for the same seed."""
    if condition == "clean":
        return list(texts)
    if condition == "casing":
        return [_recased(text, number, seed) for number, text in enumerate(texts)]
    if condition == "paraphrase":
        return [paraphrase(text) for text in texts]
    batch = pa.RecordBatch.from_pydict(
        {
            "id": [str(number) for number in range(len(texts))],
            "text": list(texts),
            "language": pa.array([language] * len(texts), pa.string()),
        }
    )
    made = inject(
        batch,
        copies=1,
        seed=seed,
        kinds=("keyboard", "spelling") if condition == "typos" else ("ocr",),
        rate=_RATE,
        typing=_far_keys(),
        reading=pairs(_MISREAD),
        operation=f"verdict {condition}",
    )
    out = list(texts)  # a text in which nothing could slip stays
    for parent, text in zip(made["parent"].to_pylist(), made["text"].to_pylist(), strict=True):
        out[parent] = text
    return out


def paraphrase(text: str) -> str:
    """The text with common English phrases said otherwise."""
    phrases, pattern = _phrases()

    def other(match: re.Match[str]) -> str:
        new = phrases[match[0].lower()]
        return new[0].upper() + new[1:] if match[0][0].isupper() else new

    return pattern.sub(other, text)


def _recased(text: str, number: int, seed: int) -> str:
    change: Callable[[str], str] = (str.upper, str.lower)[int(blake3_hex(str(seed), str(number))[:8], 16) % 2]
    return change(text)


@lru_cache(maxsize=1)
def _phrases() -> tuple[dict[str, str], re.Pattern[str]]:
    found = dict(line.strip().split("=") for line in _PHRASES.split("|"))
    words = sorted(found, key=len, reverse=True)
    return found, re.compile(r"(?<![\w'])(?:" + "|".join(map(re.escape, words)) + r")(?![\w'])", re.I)


@lru_cache(maxsize=1)
def _far_keys() -> tuple[tuple[str, str], ...]:
    keys = [
        (letter, offset + column, float(row))
        for row, (offset, letters) in enumerate(LAYOUTS["qwerty"])
        for column, letter in enumerate(letters)
    ]
    near, far = _FAR
    return tuple(
        (a, b) for a, ax, ay in keys for b, bx, by in keys if near**2 < (ax - bx) ** 2 + (ay - by) ** 2 <= far**2
    )
