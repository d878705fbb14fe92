"""Records of CSV and TSV files; a bad row costs itself alone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from lamina.data.readers.encodings import hint_of
from lamina.data.readers.records import MAX_LINE, Bad, Record
from lamina.data.readers.streams import kind, open_bytes, text_encoding
from lamina.kit.errors import DocumentError

MAX_COLUMNS = 10_000
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)


def csv_rows(path: Path, name: str, bad: Bad, encoding: str | None = None) -> Iterator[Record]:
    """The rows of a CSV or TSV file with a header line, called by line number; a row that cannot be goes to ``bad``.

    The delimiter of a .csv is the one of comma, semicolon, tab and bar that its header has most of. ``encoding``: of a
    file that is not UTF-8.
    """
    encoding = _encoding(path, name, encoding)
    csv.field_size_limit(MAX_LINE)  # the library's own limit, 128 KiB, is less than many a document
    with open_bytes(path, name) as binary, io.TextIOWrapper(binary, encoding, "replace", newline="") as stream:
        head = stream.readline(MAX_LINE)
        if not head.strip():
            raise DocumentError("has no header line")
        if len(head) == MAX_LINE:
            raise DocumentError(f"has a header line of more than {MAX_LINE >> 20} MiB")
        first = 2
        told = _SEPARATOR.fullmatch(head)  # how Excel writes it down
        if told:
            head, first = stream.readline(MAX_LINE), 3
        delimiter = told[1] if told else "\t" if kind(name) == ".tsv" else max(_DELIMITERS, key=head.count)
        if head.count(delimiter) >= MAX_COLUMNS:
            raise DocumentError(f"has a header of more than {MAX_COLUMNS:,} columns")
        header = _distinct(next(csv.reader([head], delimiter=delimiter), []))
        reader = csv.reader(_lines(stream), delimiter=delimiter, strict=True)
        while True:
            line = reader.line_num + first
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                bad(f"line {line}", f"is malformed: {error} (is a quotation mark left open?)")
                continue
            if len(row) > len(header):
                bad(f"line {line}", f"has {len(row)} fields; the header has {len(header)}")
            elif row:
                value = dict(zip(header, row, strict=False))
                yield Record(str(line), value, sum(field.count("\ufffd") for field in row))


def _encoding(path: Path, name: str, given: str | None) -> str:
    try:
        return text_encoding(path, name)
    except DocumentError as error:
        if "is not UTF-8" not in error.what:
            raise
        if given is None:
            with open_bytes(path, name) as stream:
                raise DocumentError(error.what, hint=hint_of(stream.read(1 << 16))) from error
        return given


def _distinct(names: list[str]) -> list[str]:
    """Column names without white space around them; one that comes again, or is empty, gets its number.

    >>> _distinct(["a", " a", ""])
    ['a', 'a 2', 'column 3']
    """
    found: dict[str, None] = {}
    for place, name in enumerate(names, 1):
        bare = name.strip() or f"column {place}"
        while bare in found:
            bare = f"{bare} {place}"
        found[bare] = None
    return list(found)


def _lines(stream: TextIO) -> Iterator[str]:
    """Lines of bounded length, so that a file without line ends does not fill the memory."""
    number = 1
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise DocumentError(f"has a line (line {number}) of more than {MAX_LINE >> 20} MiB")
        yield line
