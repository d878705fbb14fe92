"""Sentences of a text with their places, so that some can be exchanged and all between them stays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lamina.data.augment.protect import protected_spans

# A stop with closing quotes behind it and white space next; or a line's end. Ideographic stops need no space.
_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[”』」）]*|(?=\s*\n)|\Z")
_ABBREVIATED = re.compile(
    r"(?<![^\s(\"'])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|No|Fig|cf|e\.g|i\.e|approx|Nr|bzw|z\.B|Sra|Dra|M|Mme)\.$"
)
_LOWER = re.compile(r"[ \t]+[a-zß-öø-ÿ]")
_LETTER = re.compile(r"[^\W\d_]")


class Sentence(NamedTuple):
    """``text`` from ``begin`` to ``end`` of its document; ``spans`` in it are protected."""

    begin: int
    end: int
    text: str
    spans: tuple[tuple[int, int], ...]


def sentences(text: str, *, least_words: int = 4) -> list[Sentence]:
    """The sentences worth translating: with letters, of ``least_words`` words or more, not inside a protected block."""
    spans = sorted(protected_spans(text))
    found: list[Sentence] = []
    begin, place = 0, 0
    while begin < len(text):
        if text[begin].isspace():
            begin += 1
            continue
        end = _end(text, begin)
        while place < len(spans) and spans[place][1] <= begin:
            place += 1
        inside = [s for s in spans[place:] if s[0] < end] if place < len(spans) else []
        whole = all(begin <= a and b <= end for a, b in inside)
        piece = text[begin:end]
        if whole and len(piece.split()) >= least_words and _LETTER.search(piece):
            found.append(Sentence(begin, end, piece, tuple((a - begin, b - begin) for a, b in inside)))
        begin = max(end, begin + 1)
    return found


def _end(text: str, begin: int) -> int:
    at = begin
    while True:
        match = _END.search(text, at)
        if match is None:
            return len(text)
        if match[0].startswith(".") and _ABBREVIATED.search(text, max(begin, match.start() - 12), match.start() + 1):
            at = match.end()
            continue
        if _LOWER.match(text, match.end()):  # "the U.S. came": no sentence begins in lower case
            at = match.end() + 1
            continue
        return match.end()


def exchange(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """``text`` with the stretches of ``edits`` (begin, end, new; in order) exchanged."""
    out: list[str] = []
    at = 0
    for begin, end, new in edits:
        out += (text[at:begin], new)
        at = end
    return "".join([*out, text[at:]])
