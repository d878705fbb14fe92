"""Tables of documents on disk: Parquet in row groups of bounded size, written and read a row group at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import LEDGER

ROWS = 1024
BYTES = 16 * 1024 * 1024


class PartWriter:
    """Writes batches of one schema to a Parquet file (zstd); a context manager. An empty table is a file too.

    ``group``: rows of a row group; fewer where texts are long.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, group: int = ROWS) -> None:
        self.rows = 0
        self._group = group
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Add the rows of ``batch``; columns are taken by name."""
        batch = batch.select(self._schema.names).cast(self._schema)
        step = min(ROWS, self._group)
        for begin in range(0, batch.num_rows, step):
            piece = batch.slice(begin, step)
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            self._waiting_bytes += piece.nbytes
            self.rows += piece.num_rows
            if self._waiting_rows >= self._group or self._waiting_bytes >= BYTES:
                self._flush()

    def close(self) -> None:
        """Write what waits and the footer."""
        if self._waiting:
            self._flush()
        self._writer.close()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.close()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._writer.write_table(table, row_group_size=self._group)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0


def read_parts(files: Iterable[Path], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of Parquet files, one batch for each row group."""
    for path in files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=columns).combine_chunks()
                yield from table.to_batches()


def rows_of(files: Iterable[Path]) -> int:
    """Rows in Parquet files, by their footers."""
    return sum(int(pq.read_metadata(file).num_rows) for file in files)


def ledger_writer(folder: Path) -> PartWriter:
    """The ledger of a piece of work: ``folder``/ledger.parquet."""
    return PartWriter(folder / "ledger.parquet", LEDGER)
