"""Books in plain text: the transcriber's header and footer taken off, cut at their chapter headings."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from lamina.kit.errors import DocumentError

_UNIT = r"(?:one|two|three|four|five|six|seven|eight|nine|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)"
_TEN = r"(?:ten|eleven|twelve|\w{3,5}teen|twenty|thirty|forty|fifty|sixty|tenth|\w{3,5}teenth|twentieth|thirtieth|last)"
_COUNT = rf"(?:[ivxlcdm]+|\d{{1,3}}|(?:the[ \t]+)?(?:{_TEN}(?:[- ]{_UNIT})?|{_UNIT}))"
_NAMED = r"(?:chapter|part|book|letter|volume|act|scene|canto|kapitel|teil|chapitre|livre|capítulo|parte|capitolo)"
_ALONE = r"(?:prologue|epilogue|preface|foreword|introduction|afterword|conclusion|prolog|epilog|vorwort|préface)"
_HEADING = re.compile(
    rf"(?:(?<=\n\n)|\A\n*+)[ \t]*+"
    rf"({_NAMED}[ \t]{{1,20}}{_COUNT}\b[.:—–-]*(?:[ \t][^\n]{{0,100}})?|{_ALONE}\.?)[ \t]{{0,99}}(?=\n|\Z)",
    re.IGNORECASE,
)
_START = re.compile(r"^\*{3}\s*START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*$", re.IGNORECASE | re.MULTILINE)
_END = re.compile(
    r"^(?:\*{3}\s*END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg)[^\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
_CREDIT = re.compile(
    r"\A\s*(?:Produced by|E-text prepared by|This e-?text was|Transcribed)[^\n]*(?:\n[^\n]+)*\n\n", re.I
)
_FIELD = re.compile(r"^(Title|Author|Language):[ \t]*(\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Piece:
    heading: str
    body: str


def plain(text: str) -> dict[str, Any]:
    """``{"title", "author", "language", "chapters": [{"key", "title", "text"}]}`` of a book in plain text.

    A header and footer in the manner of Project Gutenberg are read and taken off.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start, end = _START.search(text), _END.search(text)
    about = {key.lower(): value.strip() for key, value in _FIELD.findall(text[: start.start()] if start else "")}
    body = text[start.end() if start else 0 : end.start() if end and (not start or end.start() > start.end()) else None]
    body = _CREDIT.sub("", body) if start else body
    if not body.strip():
        raise DocumentError("is empty")
    names = {name: about.get(name) for name in ("title", "author", "language")}
    return {**names, "chapters": chapters(body)}


def chapters(text: str) -> list[dict[str, Any]]:
    """The text cut at its chapter headings, which stand between empty lines; one piece where there are fewer than two.

    A heading right before another belongs to it (a part's); the lines of a table of contents are left out.
    """
    marks = list(_HEADING.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    pieces = [
        _Piece(" ".join(m[1].split()), text[m.end() : end].strip("\n")) for m, end in zip(marks, ends, strict=True)
    ]
    pieces = _without_contents(pieces)
    found: list[_Piece] = []
    above = ""
    for piece in pieces:
        heading = f"{above}, {piece.heading}" if above else piece.heading
        above = "" if piece.body.strip() else heading
        if piece.body.strip():
            found.append(_Piece(heading, piece.body))
    if len(found) < 2:
        return [{"key": "0", "title": None, "text": text.strip()}]
    opening = text[: marks[0].start()].strip()
    whole = [_Piece("", opening), *found] if opening else found
    return [{"key": str(n), "title": p.heading or None, "text": p.body.strip()} for n, p in enumerate(whole)]


def _without_contents(pieces: list[_Piece]) -> list[_Piece]:
    """A heading with no text, or hardly any, that comes again later is a line of the table of contents."""
    names = [_name(piece) for piece in pieces]
    later = Counter(names)
    kept = []
    for piece, name in zip(pieces, names, strict=True):
        later[name] -= 1
        if later[name] == 0 or len(piece.body.strip()) > 200:
            kept.append(piece)
    return kept


def _name(piece: _Piece) -> str:
    """What a chapter is called in the table of contents and at its head alike: "chapter iv", say."""
    return " ".join(re.split(r"[.:—–]", piece.heading.lower())[0].split()[:3])
