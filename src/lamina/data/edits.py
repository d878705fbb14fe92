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
    for replaced, a, b, c, d in _changed(old, new):
        was, now = "".join(old[a:b]), "".join(new[c:d])
        if inner and replaced:
            # As many lines as before: line by line. Else the block as a whole.
            pairs = zip(old[a:b], new[c:d], places[a:b], strict=True) if b - a == d - c else [(was, now, places[a])]
            for one, other, place in pairs:
                yield from _inside(one, other, place)
        else:
            yield Span(places[a], places[b], now) if not was or not now else _narrow(was, now, places[a])


def _changed(old: list[str], new: list[str]) -> Iterator[tuple[bool, int, int, int, int]]:
    """Stretches ``old[a:b]`` that gave way to ``new[c:d]``, and whether there is something on both sides.

    Where as many pieces stand as before and most of them are the same, they are compared one by one: matching them all
    ways takes a hundred times as long.
    """
    if len(old) == len(new):
        places = [n for n, (was, now) in enumerate(zip(old, new, strict=True)) if was != now]
        if 2 * len(places) <= len(old) or len(old) == 1:
            yield from ((True, n, n + 1, n, n + 1) for n in places)
            return
    found = _in_order(old, new)
    if found is not None:
        yield from found
        return
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=len(old) > _PIECES).get_opcodes():
        if tag != "equal":
            yield tag == "replace", a, b, c, d


def _in_order(old: list[str], new: list[str]) -> list[tuple[bool, int, int, int, int]] | None:
    """The same in one pass, where ``new`` is mostly ``old`` with pieces cut out or white space round them changed.

    Each piece of ``new`` is taken for the next one of ``old`` that reads like it. None where that leaves more than a
    tenth of ``new`` unexplained: then a better matching is worth its time.
    """
    places: dict[str, list[int]] = {}
    for n in range(len(old) - 1, -1, -1):
        places.setdefault(old[n].strip(), []).append(n)
    found: list[tuple[bool, int, int, int, int]] = []
    at, since, strange = 0, 0, 0
    for j, piece in enumerate([*new, None]):
        if piece is None:
            place = len(old)
        else:
            later = places.get(piece.strip(), [])
            while later and later[-1] < at:
                later.pop()
            if not later:
                strange += 1
                continue
            place = later.pop()
        if place > at or j > since:
            found.append((place > at and j > since, at, place, since, j))
        if piece is not None and piece != old[place]:
            found.append((True, place, place + 1, j, j + 1))
        at, since = place + 1, j + 1
    return found if strange <= max(1, len(new) // 10) else None


def _inside(old: str, new: str, place: int) -> Iterator[Span]:
    """What changed in a line, or a block of lines. Most edits are cuts at the ends: no matching is needed."""
    kept = old.find(new) if new else -1
    if kept >= 0:
        ends = ((place, place + kept), (place + kept + len(new), place + len(old)))
        yield from (Span(begin, end, "") for begin, end in ends if begin < end)
        return
    span = _narrow(old, new, place)
    cut = old[span.begin - place : span.end - place]
    if cut and span.text:
        yield from _matched(_PIECE.findall(cut), _PIECE.findall(span.text), span.begin, inner=False)
    elif cut or span.text:
        yield span


def _narrow(old: str, new: str, place: int) -> Span:
    """The stretch of ``old``, which begins at ``place``, between what both have at their beginnings and ends."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    return Span(place + head, place + len(old) - tail, new[head : len(new) - tail])
