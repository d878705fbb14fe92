"""From the lines of printed pages to running text: headers and footers off, paragraphs and broken words joined."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

#: What a word broken at the end of a line ends with: pdfium marks it so, or it is a hyphen.
BROKEN = "\x02"
_EDGE = 2  # lines at the top and bottom of a page that may be a header or footer
_REPEATED = 0.4  # share of pages on which such a line must stand (left and right pages may differ)
_FEWEST = 3  # pages
_SHORT = 0.75  # of the page's width: a line below it ends its paragraph
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_LEADER = re.compile(r"(?:\.[ \t]?){5,}[ \t]*[\divxlc]{1,6}$", re.IGNORECASE)
_PAGE = re.compile(r"\W{0,3}(?:page\s+)?(\d{1,5})(?:\s*(?:of|/)\s*\d{1,5})?\W{0,3}", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_HEAD, _TAIL = re.compile(r"([^\W\d_]+)(?:[-\u2010\u00ad]|\x02)$"), re.compile(r"([^\W\d_]+)")
_BULLET = re.compile(r"[▶►▸▪■●•◦‣○❖✓➤➢] ?\S")
_ENDING = re.compile(r"[.!?:;…\"”’»)\]]\s*$")


def body_lines(pages: Sequence[str]) -> list[list[str]]:
    """The lines of each page without what runs along the top and bottom of the pages (headers, footers, page numbers).

    >>> body_lines(["Moby Dick\\nCall me\\n1", "Moby Dick\\nIshmael.\\n2", "Moby Dick\\nSome years\\n3"])
    [['Call me'], ['Ishmael.'], ['Some years']]
    """
    split = _unnumbered([_lines(page) for page in pages])
    seen: Counter[str] = Counter()
    for lines in split:
        seen.update({_shape(line) for _, line in _edges(lines)})
    full = sum(bool(lines) for lines in split)
    running = {shape for shape, times in seen.items() if times >= max(_FEWEST, _REPEATED * full)}
    found = []
    for lines in split:
        gone = {place for place, line in _edges(lines) if _shape(line) in running}
        found.append([line for place, line in enumerate(lines) if place not in gone])
    return found


def _lines(page: str) -> list[str]:
    """The lines that say something; those of a table of contents, with dots up to the page number, do not."""
    return [line for raw in page.split("\n") if (line := raw.strip()) and not _LEADER.search(line)]


def _unnumbered(pages: list[list[str]]) -> list[list[str]]:
    """The pages without their numbers: lone numbers at the same edge that count along with at least two pages."""
    for edge in (0, -1):
        found = [_PAGE.fullmatch(lines[edge]) if lines else None for lines in pages]
        counted = Counter(int(number[1]) - place for place, number in enumerate(found) if number)
        offsets = {offset for offset, times in counted.items() if times > 1}
        for place, (lines, number) in enumerate(zip(pages, found, strict=True)):
            if number and int(number[1]) - place in offsets:
                del lines[edge]
    return pages


def _edges(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    for place, line in enumerate(lines):
        if min(place, len(lines) - 1 - place) < _EDGE:
            yield place, line


def _shape(line: str) -> str:
    return _NUMBER.sub("0", line.lower())


def flow(pages: Sequence[Sequence[str]]) -> str:
    """The lines as paragraphs; one that ends with the width of its page goes on, also on the next page, up to a bullet.

    A word that a line end broke is joined, with its hyphen where the text has it so elsewhere or only so.
    """
    known = Counter(word.lower() for lines in pages for line in lines for word in _WORD.findall(line))
    pieces: list[str] = []  # joined at the end: a text that grows line by line would be copied for each
    open_end = False
    for lines in pages:
        width = max((len(line) for line in lines), default=0)
        for line in lines:
            if open_end and not (_BULLET.match(line) and _HEAD.search(pieces[-1]) is None):
                pieces[-1:] = _joint(pieces[-1], line, known)
            else:
                pieces.append(f"\n\n{line}" if pieces else line)
            short = len(line) < _SHORT * width
            open_end = not short or _HEAD.search(line) is not None
            if open_end and len(line) < 0.95 * width and _ENDING.search(line):
                open_end = False
    return "".join(pieces).replace(BROKEN, "-")


def _joint(before: str, line: str, known: Counter[str]) -> tuple[str, str]:
    """Two lines of a paragraph, as they follow each other: with a space, or as one word without the break."""
    head, tail = _HEAD.search(before), _TAIL.match(line)
    if head is None or tail is None:
        return before, f" {line}"
    apart, whole = f"{head[1]}-{tail[1]}".lower(), f"{head[1]}{tail[1]}".lower()
    names = tail[1][0].isupper() and not head[1].isupper()
    keep = names or known[apart] > known[whole]
    return before[:-1] + ("-" if keep else ""), line
