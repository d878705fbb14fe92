"""Records of CSV, TSV and Parquet files; a bad row or row group costs itself alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from lamina.data.readers.records import MAX_LINE, Bad, Record
from lamina.data.readers.streams import kind, open_bytes, text_encoding
from lamina.kit.errors import DocumentError

_BATCH = 256  # rows of Parquet that are Python objects at a time
_GROUP_BYTES = 4 << 30  # a row group may unpack to this
_DELIMITERS = ",;\t|"


def csv_rows(path: Path, name: str, bad: Bad) -> Iterator[Record]:
    """The rows of a CSV or TSV file with a header line, called by line number; a row that cannot be goes to ``bad``.

    The delimiter of a .csv is the one of comma, semicolon, tab and bar that its header has most of.
    """
    encoding = text_encoding(path, name)
    csv.field_size_limit(MAX_LINE)  # the library's own limit, 128 KiB, is less than many a document
    with open_bytes(path, name) as binary, io.TextIOWrapper(binary, encoding, "replace", newline="") as stream:
        head = stream.readline(MAX_LINE)
        if not head.strip():
            raise DocumentError("has no header line")
        if len(head) == MAX_LINE:
            raise DocumentError(f"has a header line of more than {MAX_LINE >> 20} MiB")
        delimiter = "\t" if kind(name) == ".tsv" else max(_DELIMITERS, key=head.count)
        header = next(csv.reader([head], delimiter=delimiter))
        reader = csv.reader(_lines(stream), delimiter=delimiter, strict=True)
        while True:
            line = reader.line_num + 2
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


def _lines(stream: TextIO) -> Iterator[str]:
    """Lines of bounded length, so that a file without line ends does not fill the memory."""
    number = 1
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            raise DocumentError(f"has a line (line {number}) of more than {MAX_LINE >> 20} MiB")
        yield line


def parquet_rows(path: Path, bad: Bad) -> Iterator[Record]:
    """The rows of a Parquet file, called by number; a row group that cannot be read goes to ``bad``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DocumentError(f"is no readable Parquet file: {_short(error)}") from error
    with file:
        start = 0
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            try:
                if about.total_byte_size > _GROUP_BYTES:
                    raise DocumentError(f"unpacks to {about.total_byte_size >> 20:,} MiB, over the limit")
                number = start
                for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group]):
                    for value in _whole_microseconds(batch).to_pylist():
                        yield Record(str(number), value)
                        number += 1
            except (pa.ArrowException, OSError, ValueError, OverflowError, DocumentError) as error:
                column = _broken_column(file, group)
                bad(f"row group {group}{column} (from row {start:,})", f"cannot be read: {_short(error)}")
            start += about.num_rows


def _whole_microseconds(batch: Any) -> Any:
    """Python's times have no nanoseconds."""
    import pyarrow as pa

    types = [pa.timestamp("us", f.type.tz) if pa.types.is_timestamp(f.type) else f.type for f in batch.schema]
    columns = [c.cast(t, safe=False) if c.type != t else c for c, t in zip(batch.columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _broken_column(file: Any, group: int) -> str:
    """The first column of the row group that cannot be read, for the report."""
    import pyarrow as pa

    for name in file.schema_arrow.names:
        try:
            file.read_row_group(group, columns=[name])
        except (pa.ArrowException, OSError, ValueError):
            return f", column '{name}'"
    return ""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
