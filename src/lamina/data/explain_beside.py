"""Two texts side by side: where they differ, word by word, with a few words of what both have round it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NotRequired, TypedDict

DIFFERENCES = 12  # shown; of more there is only their number
_WORDS = 800  # compared of each text: matching takes more than quadratic time at worst
_CONTEXT = 6  # words of what both have, at either end of a stretch
_LONGEST = 240  # characters of a stretch
#: A character of a script that is written without spaces counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")


class Stretch(TypedDict, total=False):
    """``both``: words that both texts have; or what stands in ``this`` text, and in the ``other`` in its place."""

    both: str
    this: str
    other: str


class Beside(TypedDict):
    """Two texts compared, each as far as it was at hand."""

    same: bool  # no word differs
    stretches: list[Stretch]
    more: NotRequired[int]  # differences that are not shown
    compared: NotRequired[str]  # what of the texts was compared, where it is not all


def side_by_side(this: str, other: str, *, cut: bool = False) -> Beside:
    """Where two texts differ in words; white space does not count.

    ``cut``: of one of them only the beginning is at hand, so that a longer end of the other says nothing.

    >>> side_by_side("a whale rose slowly", "a shark  rose slowly")["stretches"]
    [{'both': 'a'}, {'this': 'whale', 'other': 'shark'}, {'both': 'rose slowly'}]
    """
    mine, theirs = list(_WORD.finditer(this)), list(_WORD.finditer(other))
    short = cut or max(len(mine), len(theirs)) > _WORDS
    mine, theirs = mine[:_WORDS], theirs[:_WORDS]
    matcher = SequenceMatcher(None, [w.group() for w in mine], [w.group() for w in theirs], autojunk=False)
    codes = matcher.get_opcodes()
    if short and codes and codes[-1][0] in ("insert", "delete"):
        codes = codes[:-1]
    elif short and codes and codes[-1][0] == "replace":  # the last word may be half of one
        codes = codes if min(codes[-1][2] - codes[-1][1], codes[-1][4] - codes[-1][3]) > 1 else codes[:-1]
    changes = [n for n, code in enumerate(codes) if code[0] != "equal"]
    shown = codes if len(changes) <= DIFFERENCES else codes[: changes[DIFFERENCES - 1] + 2]
    found = Beside(same=not changes, stretches=[])
    for tag, a, b, c, d in shown:
        if tag == "equal":
            found["stretches"].append({"both": _ends(this, mine[a:b])})
        else:
            found["stretches"].append({"this": _cut(this, mine[a:b]), "other": _cut(other, theirs[c:d])})
    if len(changes) > DIFFERENCES:
        found["more"] = len(changes) - DIFFERENCES
    if short:
        found["compared"] = f"the first {min(len(mine), len(theirs)):,} words"
    return found


def in_words(beside: Beside) -> Iterator[str]:
    """Lines for a terminal."""
    if beside["same"]:
        yield "the same words"
    else:
        for stretch in beside["stretches"]:
            yield from (f"{name:<6} {text or '(nothing)'}" for name, text in stretch.items())
    if "more" in beside:
        yield f"and {beside['more']:,} more differences"
    if "compared" in beside:
        yield f"compared: {beside['compared']}"


def _ends(text: str, words: Sequence[re.Match[str]]) -> str:
    """A stretch of words, of a long one its beginning and end."""
    if len(words) <= 2 * _CONTEXT + 1:
        return _cut(text, words)
    left = len(words) - 2 * _CONTEXT
    return f"{_cut(text, words[:_CONTEXT])} … ({left:,} words) … {_cut(text, words[-_CONTEXT:])}"


def _cut(text: str, words: Sequence[re.Match[str]]) -> str:
    if not words:
        return ""
    stretch = " ".join(text[words[0].start() : words[-1].end()].split())
    return stretch if len(stretch) <= _LONGEST else f"{stretch[:_LONGEST]} …"
