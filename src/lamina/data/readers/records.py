"""Rows of JSON, JSONL, CSV and Parquet files, mapped to document columns."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lamina.kit.errors import DocumentError

MAX_LINE = 16 << 20  # bytes
_PLAIN = (str, int, float, bool, type(None))
Bad = Callable[[str, str], None]  # (where, reason)


def dig(value: Any, path: str) -> Any:
    """What lies at the dotted ``path``; None where it leads nowhere.

    >>> dig({"a": [{"b": 3}]}, "a.0.b")
    3
    """
    for key in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def items(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The records at ``path`` as (key, record); ``*`` stands for all members of a list or object.

    >>> list(items({"x": {"a": 1, "b": 2}}, "x.*"))
    [('a', 1), ('b', 2)]
    """
    head, _, rest = path.partition("*")
    found = dig(value, head.strip("."))
    if "*" not in path:
        if isinstance(found, list):
            yield from ((str(i), item) for i, item in enumerate(found))
        elif found is not None:
            yield "0", found
        return
    members = found.items() if isinstance(found, Mapping) else enumerate(found) if isinstance(found, list) else ()
    for key, member in members:
        inner = rest.strip(".")
        if inner:
            yield from ((f"{key}/{k}", item) for k, item in items(member, inner))
        else:
            yield str(key), member


def mapped(record: Any, fields: Mapping[str, str]) -> dict[str, Any]:
    """The document columns that ``fields`` (column = "path in the record") takes from ``record``; the rest is meta."""
    if not isinstance(record, Mapping):
        return {"text": record if isinstance(record, str) else None}
    row = {column: dig(record, path) for column, path in fields.items()}
    taken = {path.split(".")[0] for path in fields.values()}
    for column in ("text", "title", "author", "created", "url", "language", "license"):
        if column not in row and isinstance(record.get(column), str):
            row[column] = record[column]
            taken.add(column)
    meta = {k: v for k, v in record.items() if k not in taken and isinstance(v, _PLAIN) and v is not None}
    return row | {"meta": meta}


def json_lines(path: Path, bad: Bad) -> Iterator[tuple[str, Any]]:
    """(line number, value) of a JSONL file, plain, .gz or .zst; a broken line goes to ``bad`` and the rest is read."""
    place = 0
    with _open(path) as stream:
        number = 0
        while True:
            number += 1
            line = _line(stream, number, place, bad)
            if line is None:
                return
            here, place = place, place + len(line)
            if not line.strip():
                continue
            try:
                yield str(number), orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except orjson.JSONDecodeError as error:
                bad(f"line {number} (byte {here})", f"is not JSON: {error.msg}")


def _line(stream: Any, number: int, place: int, bad: Bad) -> bytes | None:
    try:
        line: bytes = stream.readline(MAX_LINE)
        if len(line) < MAX_LINE or line.endswith(b"\n"):
            return line or None
        size = len(line)
        while more := stream.readline(MAX_LINE):
            size += len(more)
            if more.endswith(b"\n"):
                break
        bad(f"line {number} (byte {place})", f"is {size / 2**20:.0f} MiB long; the limit is {MAX_LINE >> 20} MiB")
    except (OSError, EOFError) as error:
        bad(f"line {number} (byte {place})", f"the file is truncated or damaged here: {error}")
        return None
    else:
        return b"\n"


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        import zstandard

        return io.BufferedReader(zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(path.open("rb")))
    return path.open("rb")


def json_document(text: bytes, records: str) -> Iterator[tuple[str, Any]]:
    """(key, record) of a JSON file."""
    try:
        value = orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DocumentError(f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    found = list(items(value, records))
    if not found:
        raise DocumentError(f"holds nothing at records = '{records}'")
    yield from found


def table(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(row number, record) of a CSV or TSV file with a header line."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                yield str(reader.line_num), {k: v for k, v in row.items() if k is not None}
        except csv.Error as error:
            raise DocumentError(f"is malformed at line {reader.line_num}: {error}") from error


def parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(row number, record) of a Parquet file, a row group at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                yield str(number), record
                number += 1
    except (pa.ArrowException, OSError) as error:
        raise DocumentError(f"is no readable Parquet file: {str(error)[:200]}") from error
