"""Sees to it that an id is given once in a source: a repeat with the same text goes, one with another gets its own id.

The first document of an id, in the order of the units, keeps it. All ids are looked at as 64-bit hashes, 8 bytes a
document in a file; only those that meet are read again and compared as they are, some millions of documents at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.frames import to_frame
from lamina.data.executors import Executor
from lamina.data.ledger import entries
from lamina.data.parts import PartWriter, ledger_writer, read_parts, rows_of
from lamina.kit.disk import make_folder, remove
from lamina.kit.durable import is_published, publish
from lamina.kit.identity import document_id

if TYPE_CHECKING:
    import polars as pl

LABEL = "00 collect"
TOGETHER = 4 << 20  # documents whose ids are compared at a time
_DOCUMENTS = "documents.parquet"


def settle(units: Sequence[Path], work: Path, executor: Executor) -> list[Path]:
    """The units' folders; where ids were given again, a folder in ``work`` stands in for the unit, with a ledger."""
    remove(work / "found")
    make_folder(work / "found")
    changed = {unit for hashes in _met(units, work / "found" / "ids.u64") for unit in _compared(units, hashes, work)}
    payloads: list[dict[str, Any]] = [
        {
            "unit": str(units[n]),
            "folder": str(work / units[n].name),
            "changes": sorted(map(str, (work / "found").glob(f"{n:06d}-*.parquet"))),
        }
        for n in sorted(changed)
    ]
    for _ in executor.map("lamina.data.repeats:rewrite", [p for p in payloads if not is_published(Path(p["folder"]))]):
        pass
    remove(work / "found")
    return [work / unit.name if n in changed else unit for n, unit in enumerate(units)]


@dataclass(frozen=True, slots=True)
class _Hashes:
    """Hashes of ids that occur more than once (sorted), and which documents of each unit have them."""

    number: int
    twice: NDArray[np.uint64]
    every: NDArray[np.uint64]
    starts: NDArray[np.int64]

    def rows(self, unit: int) -> NDArray[np.int64]:
        here = np.asarray(self.every[self.starts[unit] : self.starts[unit + 1]])
        place = np.minimum(np.searchsorted(self.twice, here), len(self.twice) - 1)
        return np.flatnonzero(self.twice[place] == here)


def _met(units: Sequence[Path], scratch: Path) -> Iterator[_Hashes]:
    """The hashes that meet, of one share of all hashes after another."""
    starts = np.cumsum([0, *(rows_of([unit / _DOCUMENTS]) for unit in units)])
    total = int(starts[-1])
    if total < 2:
        return
    every = np.memmap(scratch, np.uint64, "w+", shape=(total,))
    place = 0
    for batch in read_parts([unit / _DOCUMENTS for unit in units], ["id"]):
        every[place : place + batch.num_rows] = to_frame(batch)["id"].hash(seed=1).to_numpy()
        place += batch.num_rows
    shares = np.uint64(-(-total // TOGETHER))
    for share in range(int(shares)):
        pieces = (np.asarray(every[begin : begin + TOGETHER]) for begin in range(0, total, TOGETHER))
        mine = np.sort(np.concatenate([piece[piece % shares == share] for piece in pieces]))
        twice = np.unique(mine[1:][mine[1:] == mine[:-1]])
        if len(twice):
            yield _Hashes(share, twice, every, starts)


def _compared(units: Sequence[Path], hashes: _Hashes, work: Path) -> list[int]:
    """Write for each unit which of its documents change: ``row``, ``id`` from now on, ``again`` where it goes."""
    import polars as pl

    frames: list[pl.DataFrame] = []
    for number, unit in enumerate(units):
        rows = hashes.rows(number)
        if len(rows):
            known = pl.concat([to_frame(batch) for batch in read_parts([unit / _DOCUMENTS], ["id", "text_hash"])])
            frames.append(known[rows].with_columns(unit=pl.lit(number), row=pl.Series(rows)))
    alike = pl.concat(frames).with_columns(
        again=pl.int_range(pl.len()).over("id", "text_hash") > 0,
        taken=pl.col("text_hash") != pl.col("text_hash").first().over("id"),
    )
    changes = alike.filter(pl.col("again") | pl.col("taken"))
    names = [
        document_id(id, mark) if taken else id  # blake3 has no batch call
        for id, mark, taken in changes.select("id", "text_hash", "taken").iter_rows()
    ]
    changes = changes.with_columns(id=pl.Series(names, dtype=pl.String), was="id")
    for (number,), part in changes.group_by("unit"):
        place = work / "found" / f"{number:06d}-{hashes.number:04d}.parquet"
        part.select("row", "id", "was", "again").write_parquet(place)
    return changes["unit"].unique().to_list()


def rewrite(payload: Mapping[str, Any]) -> None:
    """Write a unit again with its ``changes``, and what had to be done in the ledger. In a worker process."""
    import polars as pl

    folder = Path(payload["folder"])
    if is_published(folder):
        return
    changes = pl.concat([pl.read_parquet(path) for path in payload["changes"]]).sort("row")
    begin = 0
    with (
        publish(folder) as staging,
        PartWriter(staging / _DOCUMENTS, DOCUMENTS) as out,
        ledger_writer(staging) as ledger,
    ):
        for batch in read_parts([Path(payload["unit"]) / _DOCUMENTS]):
            mine = changes.filter(pl.col("row").is_between(begin, begin + batch.num_rows - 1))
            begin += batch.num_rows
            out.write(_changed(batch, mine, begin - batch.num_rows, ledger) if mine.height else batch)


def _changed(batch: pa.RecordBatch, changes: pl.DataFrame, begin: int, ledger: PartWriter) -> pa.RecordBatch:
    import polars as pl

    rows = (changes["row"] - begin).to_numpy()
    told = changes.select(
        "id",
        source=pl.lit(batch.column("source")[0].as_py()),
        action=pl.when("again").then(pl.lit("duplicate")).otherwise(pl.lit("edit")),
        reason=pl.when("again").then(pl.lit("same id and text")).otherwise(pl.format("id {} was taken", "was")),
    )
    ledger.write(entries(told, step=LABEL))
    ids = to_frame(batch)["id"].scatter(rows, changes["id"])
    stay = np.ones(batch.num_rows, bool)
    stay[rows] = ~changes["again"].to_numpy()
    place = batch.schema.get_field_index("id")
    named = batch.set_column(place, DOCUMENTS.field("id"), ids.to_arrow().cast(pa.string()))
    return named.filter(pa.array(stay))
