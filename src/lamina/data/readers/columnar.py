"""Rows of Parquet and Arrow files. They are decoded in the jail, a few megabytes at a time, and come back as Arrow.

The worker opens the file itself (it can read, not write), so that one of any size may be read; a call that goes on
where the last one ended costs no second look, and any other starts at its row group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import FilePart
from lamina.data.readers.records import Bad, Record
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail

_PIECE = 4 << 20  # bytes of columns that come back at a time, about
_ROWS = 1024  # at most, decoded at a time
_GROUP_BYTES = 4 << 30  # a row group may unpack to this
_GROUPS = 1_000_000
_HERE = "lamina.data.readers.columnar"
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)


def parquet_rows(path: Path, jail: Jail, bad: Bad, part: FilePart | None = None) -> Iterator[Record]:
    """The rows of a Parquet file (of the row groups of ``part``), called by their number in the file.

    A row group that cannot be read goes to ``bad``; ``DocumentError`` where the file itself cannot be.
    """
    groups = jail.call(f"{_HERE}:groups", {"path": str(path.resolve())})
    begin, end = (part.begin, part.end) if part else (0, len(groups))
    start = part.first if part else 0
    for group in range(begin, min(end, len(groups))):
        rows, size = groups[group]
        try:
            if size > _GROUP_BYTES:
                raise DocumentError(f"it unpacks to {size >> 20:,} MiB, over the limit")
            yield from _rows(path, jail, group, start)
        except DocumentError as error:
            bad(f"row group {group}{error.where or ''} (from row {start:,})", f"cannot be read: {error.what}")
        start += rows


def arrow_rows(path: Path, jail: Jail) -> Iterator[Record]:
    """The rows of an Arrow file (IPC, also called Feather, or a stream), called by number."""
    count = 0
    try:
        for record in _rows(path, jail, None, 0):
            count += 1
            yield record
    except DocumentError as error:
        raise DocumentError(f"{error.what} (behind row {count:,})" if count else error.what, hint=error.hint) from error


def _rows(path: Path, jail: Jail, group: int | None, start: int) -> Iterator[Record]:
    number = 0
    while True:
        told = {"path": str(path.resolve()), "group": group, "skip": number}
        before = number
        for batch in _unpacked(jail.call(f"{_HERE}:piece", told)):
            for value in _values(batch):
                yield Record(str(start + number), value)
                number += 1
        if number == before:
            return


def _unpacked(piece: bytes) -> Iterator[pa.RecordBatch]:
    """The batches of an answer, checked: who wrote it has read a file from outside."""
    try:
        with pa.ipc.open_stream(piece) as stream:
            for batch in stream:
                batch.validate(full=True)
                yield batch
    except (pa.ArrowException, OSError) as error:
        raise DocumentError(f"cannot be decoded: {_short(error)}") from error


def _values(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        values: list[dict[str, Any]] = batch.to_pylist()
        return values
    except (ValueError, OverflowError) as error:  # a time that Python has not
        raise DocumentError(f"holds a value that is none: {_short(error)}") from error


# What runs in the jail.


def groups(payload: dict[str, Any], data: bytes | None) -> list[list[int]]:
    """Rows and bytes (unpacked) of each row group of the Parquet file ``payload["path"]``."""
    meta = _parquet(payload["path"]).metadata
    if meta.num_row_groups > _GROUPS:
        raise DocumentError(f"says that it has {meta.num_row_groups:,} row groups, over the limit of {_GROUPS:,}")
    about = [meta.row_group(group) for group in range(meta.num_row_groups)]
    return [[group.num_rows, group.total_byte_size] for group in about]


def piece(payload: dict[str, Any], data: bytes | None) -> bytes:
    """Some rows of the file ``path`` behind ``skip`` ones of ``group``, as an Arrow stream; no rows: the end."""
    path, group, skip = payload["path"], payload["group"], payload["skip"]
    if _open.place != (path, group, skip) or _open.batches is None:
        _open.batches = _skipped(_arrow(path) if group is None else _decoded(path, group), skip)
        _open.place = (path, group, skip)
    sink = pa.BufferOutputStream()
    writer: pa.RecordBatchStreamWriter | None = None
    rows = size = 0
    try:
        for batch in _open.batches:
            writer = writer or pa.ipc.new_stream(sink, batch.schema)
            writer.write_batch(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if size >= _PIECE:
                break
    except pa.ArrowMemoryError as error:
        raise MemoryError from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        _open.batches = None
        if not rows:  # else what came before it goes first
            raise DocumentError(_short(error), where=_broken_column(path, group)) from error
    except DocumentError:
        _open.batches = None
        if not rows:
            raise
    (writer or pa.ipc.new_stream(sink, pa.schema([]))).close()
    _open.place = (path, group, skip + rows)
    return bytes(sink.getvalue())


class _Open:
    """What this worker has open: a file, and where it stands in it."""

    path = ""
    file: Any = None
    place: tuple[str, int | None, int] | None = None
    batches: Iterator[pa.RecordBatch] | None = None


_open = _Open()


def _frugal() -> None:
    """One thread, and a memory pool that does not reserve more address space than the jail has."""
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def _parquet(path: str) -> Any:
    import pyarrow.parquet as pq

    if _open.path != path or _open.file is None:
        _frugal()
        try:
            _open.file = pq.ParquetFile(path, page_checksum_verification=True, memory_map=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DocumentError(f"is no readable Parquet file: {_short(error)}") from error
        _open.path = path
    return _open.file


def _decoded(path: str, group: int) -> Iterator[pa.RecordBatch]:
    file = _parquet(path)
    about = file.metadata.row_group(group)
    row = about.total_byte_size / max(1, about.num_rows)
    size = max(1, min(_ROWS, int(_PIECE / max(1.0, row))))
    for batch in file.iter_batches(batch_size=size, row_groups=[group], use_threads=False):
        yield _plain(batch)


def _arrow(path: str) -> Iterator[pa.RecordBatch]:
    """The batches of an IPC file or stream, in slices of bounded length."""
    _frugal()
    try:
        with pa.OSFile(path, "rb") as file:
            head = file.read(8)
            file.seek(0)
            if head[:4] == b"FEA1":
                raise DocumentError("is a Feather file of version 1", hint="write it again with a newer pyarrow")
            if head[:6] == b"ARROW1":
                reader = pa.ipc.open_file(file)
                whole = (reader.get_batch(number) for number in range(reader.num_record_batches))
            else:
                whole = iter(pa.ipc.open_stream(file))
            for batch in whole:
                row = batch.nbytes / max(1, batch.num_rows)
                size = max(1, min(_ROWS, int(_PIECE / max(1.0, row))))
                for begin in range(0, batch.num_rows, size):
                    yield _plain(batch.slice(begin, size))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DocumentError(f"is no readable Arrow file, or damaged: {_short(error)}") from error


def _skipped(batches: Iterator[pa.RecordBatch], skip: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if skip < batch.num_rows:
            yield batch.slice(skip)
        skip = max(0, skip - batch.num_rows)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Times in microseconds, which is what Python has; no pictures and the like; dictionaries written out."""
    fields, columns = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind = field.type
        if any(test(kind) for test in _BYTES):
            try:
                column = column.cast(pa.string())  # text of a writer that did not say so
            except pa.ArrowInvalid:
                continue
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("us", kind.tz), safe=False)
        fields.append(pa.field(field.name, column.type))
        columns.append(column)
    if not columns:
        return pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows)], names=[""])
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _broken_column(path: str, group: int | None) -> str:
    """The first column of the row group that cannot be read, for the report."""
    if group is None:
        return ""
    file = _parquet(path)
    for name in file.schema_arrow.names:
        try:
            for _ in file.iter_batches(batch_size=_ROWS, row_groups=[group], columns=[name], use_threads=False):
                pass
        except (pa.ArrowException, OSError, ValueError):
            return f", column '{name}'"
    return ""


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
