"""What an edit did to a text: the spans that changed, so that it can be shown, and taken back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

SPANS = 20  # an edit that touched more places names the first ones, and how many there were
SHOWN = 160  # characters of a span that are kept; of longer ones the beginning
_PIECES = 400  # the matching is quadratic: a stretch with more pieces than this is one span
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")


class Span(NamedTuple):
    """``old[begin:end]`` gave way to ``text``."""

    begin: int
    end: int
    text: str


def spans(old: str, new: str) -> list[Span]:
    """The changes from ``old`` to ``new``, in order; applied to ``old`` they give ``new``.

    >>> spans("so  it  was", "so it was")
    [Span(begin=3, end=4, text=''), Span(begin=7, end=8, text='')]
    """
    begin = _common(old, new)
    end = _common(old[begin:][::-1], new[begin:][::-1])
    old_end, new_end = len(old) - end, len(new) - end
    if old_end == begin and new_end == begin:
        return []
    # Changed lines first, then what changed inside them.
    lines = old[begin:old_end].splitlines(keepends=True), new[begin:new_end].splitlines(keepends=True)
    return list(_matched(*lines, begin, inner=True))


def apply(old: str, changes: list[Span]) -> str:
    """``old`` with ``changes`` made."""
    pieces, place = [], 0
    for change in changes:
        pieces += [old[place : change.begin], change.text]
        place = change.end
    return "".join([*pieces, old[place:]])


def described(old: str, new: str) -> dict[str, object]:
    """For the ledger: lengths, and the first changes as [begin, end, what stood there, what stands there now]."""
    changes = spans(old, new)
    shown = [[c.begin, c.end, old[c.begin : c.end][:SHOWN], c.text[:SHOWN]] for c in changes[:SPANS]]
    more = {"more": len(changes) - SPANS} if len(changes) > SPANS else {}
    return {"characters": [len(old), len(new)], "spans": shown, **more}


def _common(a: str, b: str) -> int:
    """Length of the common beginning, by halving: slices are compared at the speed of memory."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _matched(old: list[str], new: list[str], offset: int, *, inner: bool) -> Iterator[Span]:
    if len(old) > 50 * _PIECES or len(new) > 50 * _PIECES or (not inner and max(len(old), len(new)) > _PIECES):
        yield Span(offset, offset + sum(map(len, old)), "".join(new))
        return
    places = [offset]
    for piece in old:
        places.append(places[-1] + len(piece))
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=len(old) > _PIECES).get_opcodes():
        if tag == "equal":
            continue
        was, now = "".join(old[a:b]), "".join(new[c:d])
        if inner and tag == "replace":
            # As many lines as before: line by line. Else the block as a whole.
            pairs = zip(old[a:b], new[c:d], places[a:b], strict=True) if b - a == d - c else [(was, now, places[a])]
            for one, other, place in pairs:
                yield from _matched(_PIECE.findall(one), _PIECE.findall(other), place, inner=False)
        else:
            head = _common(was, now)
            tail = _common(was[head:][::-1], now[head:][::-1])
            yield Span(places[a] + head, places[b] - tail, now[head : len(now) - tail])
