"""Files: text, Markdown, JSON, CSV, Parquet, Arrow, Office documents, notebooks, wiki dumps, and archives of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers.archive import is_folder
from lamina.data.readers.encodings import known_encoding
from lamina.data.rows import Notes, batches, followed, unforeseen
from lamina.data.sources.formats import Formats, archived
from lamina.kit.errors import ConfigError, DocumentError, LaminaError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES

_COLUMNS = ("text", "title", "author", "created", "url", "language", "license", "rights", "group_id", "position", "id")
_DEPTH = 2  # archives within archives


@SOURCES("files", kind="divisible", version=4)
def files(
    inbox: Inbox,
    *,
    records: str = "",
    fields: dict[str, str] | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    memory_mb: int = 1024,
    seconds: float = 60.0,
) -> Iterator[pa.RecordBatch]:
    """Every text file or Office document is a document; of a structured file (JSON, CSV, Parquet …), every record.

    A spreadsheet gives one document a sheet, a wiki's dump one an article, an archive (zip, tar) those of the files in
    it; records that are conversations become their text, with the turns in ``meta``. ``records``: where the records lie
    in JSON ("data.items"; "*" stands for all members); ``fields``: document column = "path in the record" ("id" names
    the record); ``encoding``: of texts, tables and JSON that are not UTF-8 ("windows-1252"); ``limit``: the first so
    many documents, in the order of the names; the parser of one file (or piece of a large one) gets ``memory_mb`` MiB
    and ``seconds``.
    """
    wanted, known = _checked(fields or {}), known_encoding(encoding)
    inbox = followed(inbox)
    with Jail(workers=1, memory_mb=memory_mb, seconds=seconds) as jail:
        formats = Formats(jail, records, wanted, known)
        yield from batches(inbox, (row for file in inbox.files for row in _rows(inbox, formats, file)), limit)


def _checked(fields: Mapping[str, str]) -> Mapping[str, str]:
    for column in fields:
        if column not in _COLUMNS:
            close = difflib.get_close_matches(column, _COLUMNS, n=1)
            hint = (f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(_COLUMNS)
            raise ConfigError(f"a document has no column '{column}'", where="fields", hint=hint)
    return fields


def _rows(inbox: Inbox, formats: Formats, file: SourceFile, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The documents of one file; what it has instead is reported."""
    count = 0
    notes = Notes(inbox, file.name)
    try:
        if is_folder(file.name) and depth < _DEPTH:
            for inner in archived(file, notes):
                count += 1
                if count == 1:
                    inbox.report.read(file.name)
                yield from _rows(inbox, formats, inner, depth + 1)
        else:
            for row in formats.rows(file, notes, depth):
                count += 1
                if count == 1:
                    inbox.report.read(file.name)
                yield row
        if not count and file.part is None:
            inbox.report.unread(file.name, "holds no document")
        elif not count:  # what the other parts hold is not known here
            inbox.report.read(file.name)
    except (DocumentError, OSError) as error:
        before = "files" if is_folder(file.name) else "documents"
        inbox.report.unread(file.name, f"{error}; {count:,} {before} before that were kept" if count else f"{error}")
    except LaminaError:  # not this file's fault
        raise
    except Exception as error:
        inbox.report.unread(file.name, str(unforeseen(error)))
    finally:
        notes.close()
