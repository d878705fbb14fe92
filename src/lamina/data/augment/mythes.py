"""MyThes thesauri (LibreOffice's ``th_*.dat``; Debian's ``mythes-*``) and the same as JSON (npm ``thesaurus``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from lamina.data.augment.lexicon import POS, Entry
from lamina.kit.errors import InputError

_ENCODINGS = {"iso8859-": "iso8859-", "microsoft-cp": "cp"}
_PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r", "s": "n", "v": "v", "a": "a"}
_NOTE = re.compile(r"\s*\(([^)]*)\)\s*$")
_KINDS = re.compile(r"^\(([^)]*)\)$")
_WORD = re.compile(r"[^\W\d_]+(?:[-'’ ][^\W\d_]+)*")
_RELATED = 16
_NO_SYNONYM = ("generic", "related", "similar", "antonym", "oberbegriff", "unterbegriff", "assoziation")


def find_mythes(folder: Path) -> list[Path]:
    """The ``th_*.dat`` files at or below ``folder``, links left out."""
    return sorted(p for p in folder.rglob("th_*.dat") if p.is_file() and not p.is_symlink())


def mythes_language(path: Path) -> str:
    """The language in a file's name: ``th_en_US_v2.dat`` is "en"."""
    match = re.match(r"th_([a-z]{2,3})(?:_|\b)", path.name)
    return match[1] if match else ""


def read_mythes(path: Path, *, phrases: bool = False) -> Iterator[Entry]:
    """The entries of a .dat file: a word and a count on a line, then so many lines ``(part)|synonym|…``."""
    try:
        raw = path.read_bytes()
        name, _, body = raw.partition(b"\n")
        lines = iter(body.decode(_encoding(name.decode("ascii").strip())).splitlines())
        for line in lines:
            word, bar, count = line.rpartition("|")
            if not bar:
                continue
            meanings = [next(lines) for _ in range(int(count))]
            entry = _entry(word.strip(), meanings, phrases)
            if entry:
                yield entry
    except (OSError, LookupError, ValueError, StopIteration, RuntimeError) as error:
        raise InputError(f"this is no MyThes file: {error}", where=str(path)) from error


def read_json(path: Path, *, phrases: bool = False) -> Iterator[Entry]:
    """The entries of ``{"word": ["synonym", …]}``, or of a JavaScript module that exports it."""
    text = path.read_text(encoding="utf-8")
    try:
        table = orjson.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError as error:
        raise InputError(f"this is no thesaurus in JSON: {error}", where=str(path)) from error
    for word, synonyms in table.items():
        kept = [s for s in dict.fromkeys(synonyms) if s != word and _fits(s, phrases)] if _fits(word, phrases) else []
        if kept:
            yield Entry(word=word, synonyms=tuple((s, 0) for s in kept))


def _encoding(name: str) -> str:
    low = name.lower()
    for prefix, other in _ENCODINGS.items():
        if low.startswith(prefix):
            return other + low.removeprefix(prefix)
    return name


def _entry(word: str, meanings: list[str], phrases: bool) -> Entry | None:
    if not _fits(word, phrases):
        return None
    synonyms: dict[str, int] = {}
    related: dict[str, None] = {}
    for meaning in meanings:
        fields = meaning.split("|")
        part = _KINDS.match(fields[0].strip())
        bits = POS.get(_PARTS.get(part[1].strip(". ").lower(), ""), 0) if part else 0
        for field in fields[1:]:
            other, far = _plain(field)
            if other == word or not _fits(other, phrases):
                continue
            if far:
                related[other] = None
            else:
                synonyms[other] = synonyms.get(other, 0) | bits
    for taken in synonyms:
        related.pop(taken, None)
    if not synonyms and not related:
        return None
    return Entry(word=word, synonyms=tuple(synonyms.items()), related=tuple(related)[:_RELATED])


def _plain(field: str) -> tuple[str, bool]:
    """A synonym without its notes, and whether these say that it is none."""
    far = False
    text = field.strip()
    while match := _NOTE.search(text):
        far = far or any(word in match[1].lower() for word in _NO_SYNONYM)
        text = text[: match.start()]
    return ("" if "antonym" in field.lower() else text), far


def _fits(word: str, phrases: bool) -> bool:
    return bool(_WORD.fullmatch(word)) and word == word.lower() and (phrases or " " not in word)
