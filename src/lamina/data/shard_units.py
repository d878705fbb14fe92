"""Documents to tokens in units, on worker processes: some consecutive row groups of one Parquet file each.

Which units there are depends on the files alone, so that any number of workers gives the same tokens, and a killed run
goes on with the units that are not done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.tokenizer.encode import Encoder, batches_of
from lamina.kit.durable import is_published, publish
from lamina.kit.tokenizer import open_tokenizer

BYTES = 8 << 20  # of a unit, as its columns are written, uncompressed


@dataclass(frozen=True)
class Part:
    """The tokens of some documents, one after another; document i ends before token ``ends[i]``."""

    tokens: NDArray[np.unsignedinteger[Any]]
    ends: NDArray[np.int64]
    ids: Sequence[str]
    sources: Sequence[str]


def token_units(files: Sequence[Path]) -> list[dict[str, Any]]:
    """``{"file", "begin", "end", "rows"}``: row groups from ``begin`` to ``end``, with about ``BYTES`` or one alone."""
    units: list[dict[str, Any]] = []
    for file in files:
        facts = pq.read_metadata(file)
        begin = rows = size = 0
        for group in range(facts.num_row_groups):
            rows += facts.row_group(group).num_rows
            size += facts.row_group(group).total_byte_size
            if size >= BYTES or group + 1 == facts.num_row_groups:
                units.append({"file": str(file), "begin": begin, "end": group + 1, "rows": rows})
                begin, rows, size = group + 1, 0, 0
    return units


def encode_unit(unit: Mapping[str, Any], encoder: Encoder, edges: tuple[int, int], dtype: str) -> Iterator[Part]:
    """The unit's documents, each between the two ``edges``, about ``encode.BATCH`` bytes at a time."""
    with pq.ParquetFile(unit["file"]) as file:
        for group in range(unit["begin"], unit["end"]):
            table = file.read_row_group(group, columns=["id", "source", "text"]).combine_chunks()
            for batch in table.to_batches():
                begin = 0
                for texts in batches_of(batch.column("text")):
                    ids, ends = encoder.encode(texts, first=edges[0], last=edges[1])
                    names = batch.slice(begin, len(texts))
                    begin += len(texts)
                    yield Part(ids.astype(dtype), ends, *(names.column(n).to_pylist() for n in ("id", "source")))


def tokenize_unit(payload: Mapping[str, Any]) -> None:
    """Write the tokens of ``unit`` into ``folder``; with ``tokenizer`` (its folder), ``edges`` and ``dtype``."""
    folder = Path(payload["folder"])
    if is_published(folder):
        return
    encoder = _encoder(payload["tokenizer"])
    with publish(folder) as staging:
        total = 0
        with (
            (staging / "tokens.bin").open("wb") as tokens,
            (staging / "ends.bin").open("wb") as ends,
            pq.ParquetWriter(staging / "documents.parquet", _NAMES) as names,
        ):
            for part in encode_unit(payload["unit"], encoder, tuple(payload["edges"]), payload["dtype"]):
                tokens.write(part.tokens.tobytes())
                ends.write((part.ends + total).astype("<i8").tobytes())
                names.write_table(pa.table([pa.array(part.ids), pa.array(part.sources)], schema=_NAMES))
                total += len(part.tokens)


def read_unit_tokens(folder: Path, dtype: str) -> Part:
    """What ``tokenize_unit`` wrote."""
    names = pq.read_table(folder / "documents.parquet")
    return Part(
        np.fromfile(folder / "tokens.bin", dtype),
        np.fromfile(folder / "ends.bin", "<i8"),
        names.column("id").to_pylist(),
        names.column("source").to_pylist(),
    )


_NAMES = pa.schema([("id", pa.string()), ("source", pa.string())])


@lru_cache(maxsize=1)
def _encoder(folder: str) -> Encoder:
    """What it remembers serves all units of a worker."""
    return Encoder(open_tokenizer(Path(folder)))
