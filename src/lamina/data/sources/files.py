"""Files: plain text, Markdown, JSON, JSONL, Parquet, CSV and TSV, also packed by gzip or zstd."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.streams import decode, kind, open_bytes, read_bytes
from lamina.data.readers.tables import csv_rows, parquet_rows
from lamina.data.sources.rows import Notes, batches, followed, unforeseen
from lamina.kit.errors import ConfigError, DocumentError, LaminaError
from lamina.kit.registry import SOURCES

_FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(.{0,20000}?)\r?\n\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
_TEXT = (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".log", "")
_MARKDOWN = (".md", ".markdown")
_ELSEWHERE = {
    **dict.fromkeys((".epub", ".pdf"), "books"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "web"),
}
_COLUMNS = ("text", "title", "author", "created", "url", "language", "license", "rights", "group_id", "position", "id")


@SOURCES("files", version=2)
def files(
    inbox: Inbox, *, records: str = "", fields: dict[str, str] | None = None, limit: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Every text file is a document; of a structured file (JSON, JSONL, CSV, TSV, Parquet), every record.

    ``records``: where the records lie in JSON ("data.items"; "*" stands for all members); ``fields``: document column =
    "path in the record" ("id" names the record); ``limit``: the first so many documents, in the order of the names.
    """
    wanted = _checked(fields or {})
    inbox = followed(inbox)
    yield from batches(inbox, _rows(inbox, records, wanted), limit)


def _checked(fields: Mapping[str, str]) -> Mapping[str, str]:
    for column in fields:
        if column not in _COLUMNS:
            close = difflib.get_close_matches(column, _COLUMNS, n=1)
            hint = (f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(_COLUMNS)
            raise ConfigError(f"a document has no column '{column}'", where="fields", hint=hint)
    return fields


def _rows(inbox: Inbox, records: str, fields: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for file in inbox.files:
        count = 0
        notes = Notes(inbox, file.name)
        try:
            for row in _file(file, records, fields, notes):
                count += 1
                if count == 1:
                    inbox.report.read(file.name)
                yield row
            if not count:
                inbox.report.unread(file.name, "holds no document")
        except (DocumentError, OSError) as error:
            inbox.report.unread(
                file.name, f"{error}; {count:,} documents before that were kept" if count else f"{error}"
            )
        except LaminaError:  # not this file's fault
            raise
        except Exception as error:
            inbox.report.unread(file.name, str(unforeseen(error)))
        finally:
            notes.close()


def _file(file: SourceFile, records: str, fields: Mapping[str, str], notes: Notes) -> Iterator[dict[str, Any]]:
    suffix = kind(file.name)
    if suffix in _TEXT:
        yield _text(file, markdown=suffix in _MARKDOWN)
    elif suffix in (".jsonl", ".ndjson"):
        with open_bytes(file.path, file.name) as stream:
            yield from _records(file, reading.json_lines(stream, records, notes), fields, notes)
    elif suffix in (".json", ".js"):
        text, replaced = decode(read_bytes(file.path, file.name))
        data = reading.data_of_script(text) if suffix == ".js" else text
        found = (record._replace(replaced=replaced) for record in reading.records_of(reading.json_value(data), records))
        yield from _records(file, found, fields, notes)
    elif suffix == ".parquet":
        yield from _records(file, parquet_rows(file.path, notes), fields, notes)
    elif suffix in (".csv", ".tsv"):
        yield from _records(file, csv_rows(file.path, file.name, notes), fields, notes)
    else:
        other = _ELSEWHERE.get(suffix)
        hint = f'the source "{other}" reads it' if other else f"known: {', '.join(_TEXT[:-1])}, json, jsonl, csv, tsv"
        raise DocumentError(f"files of the kind '{suffix}' are not read by this source", hint=hint)


def _records(
    file: SourceFile, found: Iterator[reading.Record], fields: Mapping[str, str], notes: Notes
) -> Iterator[dict[str, Any]]:
    wanted = fields.get("text", "text")
    for record in found:
        row = reading.mapped(record.value, fields)
        if row["text"] is None:
            reason = f"has no text at '{wanted}'"
            notes(f"record {record.key}", f"{reason}; it has: {_shown(record.value)}", sort=reason, listed=1)
            continue
        if record.replaced:
            row["meta"]["replaced_characters"] = record.replaced
        name = row.get("id") if "id" in fields else row["meta"].get("id")
        yield row | {"key": f"{file.name}#{name if isinstance(name, str | int) else record.key}"}


def _shown(record: Any) -> str:
    """What a record without text has instead, and what may help."""
    if not isinstance(record, Mapping):
        return f"no fields, it is a {type(record).__name__}"
    shown = ", ".join(map(str, record))[:200] or "nothing"
    if isinstance(record.get("messages"), list) or isinstance(record.get("conversations"), list):
        return f'{shown} (the source "social" reads conversations)'
    place = reading.suggest(record)
    return f'{shown} (records = "{place}"?)' if place else f'{shown} (fields = {{ text = "…" }} names it)'


def _text(file: SourceFile, *, markdown: bool) -> dict[str, Any]:
    text, replaced = decode(read_bytes(file.path, file.name))
    if not text.strip():
        raise DocumentError("is empty")
    row: dict[str, Any] = {"key": file.name, "text": text}
    if replaced:
        row["meta"] = {"replaced_characters": replaced}
    if markdown:
        if front := _FRONT.match(text):
            row |= _front(front[2])
            row["text"] = text[front.end() :].lstrip("\r\n")
            if not row["text"].strip():
                raise DocumentError("has a front matter and no text")
        heading = _HEADING.search(_FENCED.sub("", row["text"]))
        if heading and not row.get("title"):
            row["title"] = heading[1]
    return row


def _front(block: str) -> dict[str, str]:
    """``key: value`` (or ``key = value``) lines of a front matter that are document columns; no YAML is parsed."""
    names = {"title": "title", "author": "author", "date": "created", "lang": "language", "language": "language"}
    names |= {"license": "license", "licence": "license"}
    found = {}
    for line in block.splitlines():
        match = re.match(r"([A-Za-z]+)[ \t]*[:=][ \t]*(\S.*?)[ \t]*$", line)
        column = names.get(match[1].lower()) if match else None
        if match and column:
            found[column] = match[2].strip("\"'")
    return found
