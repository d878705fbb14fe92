"""Books: EPUB, PDF with a text layer, plain text, and chapters as JSON. A document is a chapter where there are any."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import tee
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.chapters import chapters, plain
from lamina.data.readers.encodings import known_encoding, legible
from lamina.data.readers.streams import kind, read_bytes
from lamina.data.rows import batches, followed, in_turn
from lamina.data.sources.unpacked import files_of
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES
from lamina.kit.workers import cores

_SPDX = re.compile(r"(?:CC0|CC-BY|PDDL|ODbL|ODC|GFDL|MIT|BSD|Apache|GPL|LGPL|MPL)(?:-[A-Za-z0-9.]+)*", re.IGNORECASE)
_DEED = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)/(\d\.\d)", re.IGNORECASE)
_WORKERS = min(4, cores())


@SOURCES("books", kind="separable", version=3)
def books(
    inbox: Inbox,
    *,
    title: str | None = None,
    author: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    memory_mb: int = 1024,
    seconds: float = 60.0,
) -> Iterator[pa.RecordBatch]:
    """Books as .epub, .pdf, .txt, .md, .json and .js, plain, packed by gzip or zstd, or in a zip or tar archive.

    ``title`` and ``author``: where the file names none; ``encoding``: of texts that are not UTF-8 and do not say it
    ("windows-1252"); ``limit``: the first so many chapters, in the order of the names; the parser of one EPUB or PDF
    gets ``memory_mb`` MiB and ``seconds``.
    """
    known = known_encoding(encoding)
    inbox = followed(inbox)
    with ExitStack() as stack:
        jail = stack.enter_context(Jail(workers=_WORKERS, memory_mb=memory_mb, seconds=seconds))
        read = partial(_book, jail=jail, encoding=known)
        yield from batches(inbox, _rows(inbox, files_of(inbox, stack), read, title, author), limit)


def _rows(
    inbox: Inbox,
    files: Iterator[SourceFile],
    read: Callable[[SourceFile], dict[str, Any]],
    title: str | None,
    author: str | None,
) -> Iterator[dict[str, Any]]:
    files, again = tee(files)
    for file, book in zip(again, in_turn(read, files, workers=_WORKERS), strict=True):
        if not isinstance(book, dict):
            inbox.report.unread(file.name, str(book))
            continue
        inbox.report.read(file.name)
        for where, reason in book.get("unread", ()):
            inbox.report.unread(f"{file.name}, {where}", reason)
        yield from _chapters(file.name, book, title, author)


def _chapters(file: str, book: dict[str, Any], title: str | None, author: str | None) -> Iterator[dict[str, Any]]:
    name = book.get("title") or title
    found = book["chapters"]
    rights = book.get("license")
    facts = {"rights": rights, "pages": book.get("pages"), "replaced_characters": book.get("replaced") or None}
    for place, chapter in enumerate(found):
        part = len(found) > 1 or chapter.get("part")
        facts |= {"page": chapter.get("page") if part else None, "chapter": chapter["title"] if part else None}
        yield {
            "key": f"{file}#{chapter['key']}" if len(found) > 1 else file,
            "text": chapter["text"],
            "title": _named(name, chapter["title"]) if part else name or chapter["title"],
            "author": book.get("author") or author,
            "created": book.get("created"),
            "language": book.get("language"),
            "license": spdx(rights) or spdx(book.get("deed")),
            "rights": book.get("signals"),
            "group_id": name or (file.rpartition("/")[0] if chapter.get("part") else file),
            "position": chapter.get("position", place),
            "meta": {k: v for k, v in facts.items() if v is not None},
        }


def _named(book: str | None, chapter: str | None) -> str | None:
    return f"{book}: {chapter}" if book and chapter and chapter != book else chapter or book


def spdx(rights: str | None) -> str | None:
    """The SPDX name of a licence that a rights statement is or links to; None for other statements.

    >>> spdx("https://creativecommons.org/licenses/by-sa/4.0/"), spdx("Public domain in the USA.")
    ('CC-BY-SA-4.0', None)
    """
    if not rights:
        return None
    if _SPDX.fullmatch(rights.strip()):
        return rights.strip()
    deed = _DEED.search(rights)
    if deed is None:
        return None
    if deed[1].lower() == "publicdomain":
        return "CC0-1.0" if deed[2].lower() == "zero" else None
    return f"CC-{deed[2].upper()}-{deed[3]}"


def _book(file: SourceFile, *, jail: Jail, encoding: str | None) -> dict[str, Any]:
    suffix = kind(file.name)
    if suffix not in (".epub", ".pdf", ".json", ".js", ".txt", ".text", ".md", ""):
        hint = 'the source "web" reads it' if suffix in (".html", ".htm") else "epub, pdf, txt, md, json"
        raise DocumentError(f"files of the kind '{suffix}' are no books that this source reads", hint=hint)
    data = read_bytes(file.path, file.name)
    if suffix == ".epub":
        return dict(jail.call("lamina.data.readers.epub:read", {}, data))
    if suffix == ".pdf":
        book = dict(jail.call("lamina.data.readers.pdf:read", {}, data))
        (only, *more) = book["chapters"]
        return book if more else book | {"chapters": chapters(only["text"])}
    text, replaced = legible(data, encoding)
    if suffix in (".json", ".js"):
        return _json(reading.data_of_script(text) if suffix == ".js" else text) | {"replaced": replaced}
    return plain(text) | {"replaced": replaced}


def _json(text: str) -> dict[str, Any]:
    """A chapter ``{"chapter"?, "title"?, "text"}``, a list of them, or ``{"title", "author", "chapters": [...]}``."""
    about: dict[str, Any] = {}
    found = reading.records_of(reading.json_value(text), "")
    whole = found[0].value
    if len(found) == 1 and isinstance(whole, dict) and isinstance(whole.get("chapters"), list):
        about = {name: whole.get(name) for name in ("title", "author", "language", "license")}
        found = reading.records_of(whole, "chapters")
    pieces = []
    for place, record in enumerate(found):
        row = reading.mapped(record.value, {})
        if row["text"] is None:
            raise DocumentError(
                "holds no chapter: an object with 'text' is expected", hint=f"it is record {record.key}"
            )
        number = str(row["meta"].get("chapter", ""))
        position = int(number) if number.isdecimal() and len(number) < 10 else place
        heading = row.get("title") if isinstance(row.get("title"), str) else None
        pieces.append({"key": record.key, "title": heading, "text": row["text"], "position": position, "part": True})
    first = reading.mapped(found[0].value, {})
    return {"author": first.get("author"), "language": first.get("language"), **about, "chapters": pieces}
