"""Files: plain text, Markdown, JSON, JSONL, Parquet, CSV and TSV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers import records as reading
from lamina.data.sources.rows import batches, decode, first, read_bytes
from lamina.kit.errors import DocumentError
from lamina.kit.registry import SOURCES

_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
_HEADING = re.compile(r"^#\s+(.+?)\s*#*$", re.MULTILINE)
_TEXT = (".txt", ".md", ".markdown", ".rst", ".text", "")


@SOURCES("files", version=1)
def files(
    inbox: Inbox, *, records: str = "", fields: dict[str, str] | None = None, limit: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Every file a document, or every record of a structured one.

    ``records``: where the records lie in a JSON file ("data.items", "*" for all members); ``fields``: document column =
    "path in the record"; ``limit``: the first so many documents.
    """
    yield from batches(inbox, first(_rows(inbox, records, fields or {}), limit))


def _rows(inbox: Inbox, records: str, fields: dict[str, str]) -> Iterator[dict[str, Any]]:
    for file in inbox.files:
        count = 0
        try:
            for row in _file(inbox, file, records, fields):
                count += 1
                yield row
            if count:
                inbox.report.read(file.name)
            else:
                inbox.report.unread(file.name, "holds no document")
        except (DocumentError, OSError) as error:
            inbox.report.unread(file.name, str(error) + (f"; {count} documents before that were kept" if count else ""))


def _file(inbox: Inbox, file: SourceFile, records: str, fields: dict[str, str]) -> Iterator[dict[str, Any]]:
    name = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    suffix = "." + name.rsplit(".", 1)[1] if "." in name.rsplit("/", 1)[-1] else ""
    if suffix in (".jsonl", ".ndjson"):

        def bad(where: str, reason: str) -> None:
            inbox.report.unread(f"{file.name}, {where}", reason)

        yield from _records(inbox, file, reading.json_lines(file.path, bad), fields)
    elif suffix == ".json":
        yield from _records(inbox, file, reading.json_document(read_bytes(file), records), fields)
    elif suffix == ".parquet":
        yield from _records(inbox, file, reading.parquet(file.path), fields)
    elif suffix in (".csv", ".tsv"):
        yield from _records(inbox, file, reading.table(file.path, "\t" if suffix == ".tsv" else ","), fields)
    elif suffix in _TEXT:
        yield _text(file, markdown=suffix in (".md", ".markdown"))
    else:
        raise DocumentError(f"files of the kind '{suffix}' are not read by this source")


def _records(
    inbox: Inbox, file: SourceFile, found: Iterator[tuple[str, Any]], fields: dict[str, str]
) -> Iterator[dict[str, Any]]:
    wanted = fields.get("text", "text")
    without = 0
    for key, record in found:
        row = reading.mapped(record, fields)
        if not isinstance(row.get("text"), str):
            without += 1
            if without == 1:
                columns = ", ".join(map(str, record)) if isinstance(record, dict) else type(record).__name__
                inbox.report.unread(
                    f"{file.name}, record {key}", f"has no text at '{wanted}'; it has: {columns[:200] or 'nothing'}"
                )
            continue
        yield row | {"key": f"{file.name}#{row.get('id') or key}"}
    if without > 1:
        inbox.report.unread(f"{file.name}, {without - 1} more records", f"have no text at '{wanted}'")


def _text(file: SourceFile, *, markdown: bool) -> dict[str, Any]:
    text = decode(read_bytes(file))
    if not text.strip():
        raise DocumentError("is empty")
    row: dict[str, Any] = {"key": file.name, "text": text}
    if markdown:
        front = _FRONT.match(text)
        if front:
            row |= _front(front[1])
            row["text"] = text[front.end() :]
        heading = _HEADING.search(row["text"])
        if heading and not row.get("title"):
            row["title"] = heading[1]
    return row


def _front(block: str) -> dict[str, str]:
    """``key: value`` lines of a Markdown front matter that are document columns (no YAML is parsed)."""
    names = {"title": "title", "author": "author", "date": "created", "lang": "language", "license": "license"}
    found = {}
    for line in block.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip().lower() in names and value.strip():
            found[names[key.strip().lower()]] = value.strip().strip("\"'")
    return found
