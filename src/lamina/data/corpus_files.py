"""The Parquet files of a corpus: ``train-*.parquet`` and ``held_out-*.parquet``, of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from lamina.data.clean.frames import to_batch, to_frame
from lamina.data.parts import PartWriter, read_parts
from lamina.data.splits import HELD_OUT, TRAIN

if TYPE_CHECKING:
    import polars as pl

_FILE_BYTES = 256 * 1024 * 1024  # of columns in memory; a shard of the Parquet files


class CorpusFiles:
    """Writes the documents of both splits into ``folder``; files get their names when all are there."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir()
        self._schema = schema
        self._sides = {TRAIN: _Shards(folder, "train", schema), HELD_OUT: _Shards(folder, "held_out", schema)}

    def write(self, files: Sequence[Path], documents: pl.DataFrame) -> None:
        """The documents of ``files``; ``documents``: the ``split`` of each, in the same order."""
        import polars as pl

        place = 0
        for batch in read_parts(files):
            frame = to_frame(batch).with_columns(
                split=documents["split"][place : place + batch.num_rows].cast(pl.String)
            )
            place += batch.num_rows
            for side, shards in self._sides.items():
                shards.write(to_batch(frame.filter(pl.col("split") == side), self._schema))

    def add(self, side: str, batches: Iterable[pa.RecordBatch]) -> None:
        """More documents of one split, in files of their own once ``files`` was called."""
        for batch in batches:
            self._sides[side].write(batch)

    def files(self, side: str) -> list[Path]:
        """What is written of one split so far, ready to be read."""
        self._sides[side].finish()
        return list(self._sides[side].files)

    def close(self) -> None:
        """Give the files their names: train-00000-of-00002.parquet."""
        for shards in self._sides.values():
            shards.close()


class _Shards:
    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self.files: list[Path] = []
        self._folder, self._name, self._schema = folder, name, schema
        self._current: PartWriter | None = None
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._current is None or self._bytes >= _FILE_BYTES:
            self.finish()
            self.files.append(self._folder / f"{self._name}-{len(self.files):05d}.unfinished")
            self._current, self._bytes = PartWriter(self.files[-1], self._schema), 0
        self._current.write(batch)
        self._bytes += batch.nbytes

    def finish(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def close(self) -> None:
        self.finish()
        for number, file in enumerate(self.files):
            file.rename(self._folder / f"{self._name}-{number:05d}-of-{len(self.files):05d}.parquet")
