"""Books: EPUB, PDF with a text layer, plain text, and chapters as JSON. A document is a chapter where there are any."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers import records as reading
from lamina.data.sources.rows import batches, decode, first, read_bytes
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES

_CHAPTER = re.compile(
    r"^[ \t]*((?:chapter|part|book|letter|act|canto|kapitel|chapitre|capítulo)"
    r"[ \t]+(?:[ivxlcdm]+|\d+|[a-z]+)\b[^\n]{0,80})$",
    re.IGNORECASE | re.MULTILINE,
)
_START = re.compile(r"^\*{3}\s*START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*$", re.IGNORECASE | re.MULTILINE)
_END = re.compile(r"^(?:\*{3}\s*END OF (?:THE|THIS) PROJECT|End of (?:the )?Project) Gutenberg[^\n]*$", re.I | re.M)
_FIELD = re.compile(r"^(Title|Author|Language):\s*(.+)$", re.MULTILINE)
_SHORTEST = 400  # characters of a chapter; shorter ones are headings of a table of contents


@SOURCES("books", version=1)
def books(
    inbox: Inbox,
    *,
    title: str | None = None,
    author: str | None = None,
    limit: int | None = None,
    memory_mb: int = 1024,
    seconds: float = 60.0,
) -> Iterator[pa.RecordBatch]:
    """``title`` and ``author``: where the file names none; a file's parser gets ``memory_mb`` and ``seconds``."""
    with Jail(workers=1, memory_mb=memory_mb, seconds=seconds) as jail:
        yield from batches(inbox, first(_rows(inbox, jail, title, author), limit))


def _rows(inbox: Inbox, jail: Jail, title: str | None, author: str | None) -> Iterator[dict[str, Any]]:
    for file in inbox.files:
        try:
            book = _book(file, jail)
        except (DocumentError, OSError) as error:
            inbox.report.unread(file.name, str(error))
            continue
        inbox.report.read(file.name)
        if book.get("without_text"):
            where = f"{file.name}, {book['without_text']} of {book['pages']} pages"
            inbox.report.unread(where, "have no text layer (scanned?)")
        name = book.get("title") or title
        for place, chapter in enumerate(book["chapters"]):
            several = len(book["chapters"]) > 1 or bool(chapter.get("single"))
            yield {
                "key": f"{file.name}#{chapter['key']}" if len(book["chapters"]) > 1 else file.name,
                "text": chapter["text"],
                "title": _named(name, chapter.get("title")) if several else name or chapter.get("title"),
                "author": book.get("author") or author,
                "language": book.get("language"),
                "license": book.get("license") if _is_spdx(book.get("license")) else None,
                "group_id": name or file.name.rsplit("/", 1)[0],
                "position": chapter.get("position", place),
                "meta": {"rights": book["license"]} if book.get("license") else None,
            }


def _named(book: str | None, chapter: str | None) -> str | None:
    return f"{book}: {chapter}" if book and chapter and chapter != book else chapter or book


def _is_spdx(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9.+-]{3,40}", text) is not None


def _book(file: SourceFile, jail: Jail) -> dict[str, Any]:
    suffix = file.path.suffix.lower()
    if suffix == ".epub":
        return dict(jail.call("lamina.data.readers.epub:read", {}, read_bytes(file)))
    if suffix == ".pdf":
        found = dict(jail.call("lamina.data.readers.pdf:read", {}, read_bytes(file)))
        return found | {"chapters": chapters(found.pop("text"))}
    if suffix == ".json":
        return _json(file)
    if suffix in (".txt", ".text", ".md", ""):
        return plain(decode(read_bytes(file)))
    raise DocumentError(f"files of the kind '{suffix}' are not books that this source reads")


def _json(file: SourceFile) -> dict[str, Any]:
    """One chapter, or a list of them: ``{"chapter"?, "title"?, "text"}``."""
    found = []
    for place, (key, record) in enumerate(reading.json_document(read_bytes(file), "")):
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise DocumentError("holds no chapter: an object with 'text' is expected")
        number = str(record.get("chapter", ""))
        heading = record.get("title") if isinstance(record.get("title"), str) else None
        position = int(number) if number.isdigit() else place
        found.append({"key": key, "title": heading, "text": record["text"], "position": position, "single": True})
    return {"chapters": found}


def plain(text: str) -> dict[str, Any]:
    """A plain text without Project Gutenberg's header and footer, cut into chapters."""
    start, end = _START.search(text), _END.search(text)
    about = {key.lower(): value.strip() for key, value in _FIELD.findall(text[: start.start()] if start else "")}
    body = text[start.end() if start else 0 : end.start() if end else len(text)]
    if not body.strip():
        raise DocumentError("is empty")
    return {"title": about.get("title"), "author": about.get("author"), "chapters": chapters(body)}


def chapters(text: str) -> list[dict[str, Any]]:
    """The text cut at its chapter headings; one piece where it has fewer than two chapters."""
    marks = list(_CHAPTER.finditer(text))
    pieces: list[tuple[str, str]] = []
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() : following.start() if following else len(text)].strip()
        if len(body) >= _SHORTEST:
            pieces.append((" ".join(mark[1].split()), body))
    if len(pieces) < 2:
        return [{"key": "0", "title": None, "text": text.strip()}]
    opening = text[: marks[0].start()].strip()
    whole = [("", opening)] if len(opening) >= _SHORTEST else []
    return [{"key": str(n), "title": t or None, "text": b} for n, (t, b) in enumerate([*whole, *pieces])]
