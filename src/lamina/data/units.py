"""Units of work: stretches of documents that go through steps, or a pass's own function, one after another anywhere.

A unit is some row groups of Parquet files that follow one another. Which units there are depends on the files alone, so
that any number of workers, here or on a cluster, gives the same data, and a killed run goes on with the units that are
not done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.frames import to_batch, to_frame
from lamina.data.forgetting import Forgetting
from lamina.data.marking import run_marked
from lamina.data.parts import BYTES, ROWS, PartWriter, ledger_writer
from lamina.data.steps import Phase, apply_pass, plan
from lamina.kit.durable import is_published, publish
from lamina.kit.identity import text_hash
from lamina.kit.spawn import imports
from lamina.kit.workers import resolve

if TYPE_CHECKING:
    import polars as pl

GROUPS = 4  # full row groups in a unit: 4,096 documents, or 64 MiB
LEAST = 512  # documents: fewer are not worth a unit of their own
SPREAD = 32  # units that documents make, where they are neither too many nor too few for each
SAMPLES = 1000  # dropped documents that are shown, for each step and source
SAMPLE_CHARACTERS = 2000
VERDICT = "decide:"  # what a column of verdicts is called, before the step's label
DROPPED = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("text", pa.string()),
    ]
)


def units_of(files: Sequence[Path]) -> list[dict[str, Any]]:
    """``{"file", "begin", "end", "more", "rows"}``: row groups from ``begin`` to ``end`` of ``file``, then those of
    ``more``, a list of [file, begin, end]. Where there is no document there is one unit, of none.
    """
    groups = [(str(file), *group) for file in files for group in _groups(file)]
    most = min(GROUPS * ROWS, max(LEAST, -(-sum(rows for *_, rows, _ in groups) // SPREAD)))
    units: list[dict[str, Any]] = []
    size = 0
    for file, number, rows, unpacked in groups:
        if not units or units[-1]["rows"] + rows > most or size + unpacked > GROUPS * BYTES:
            units.append({"file": file, "begin": number, "end": number, "more": [], "rows": 0})
            size = 0
        unit = units[-1]
        last = unit["more"][-1] if unit["more"] else None
        if last is None and unit["file"] == file:
            unit["end"] = number + 1
        elif last is not None and last[0] == file:
            last[2] = number + 1
        else:
            unit["more"].append([file, number, number + 1])
        unit["rows"] += rows
        size += unpacked
    return units or [{"file": str(file), "begin": 0, "end": 0, "more": [], "rows": 0} for file in files[:1]]


def _groups(file: Path) -> Iterator[tuple[int, int, int]]:
    """Number, documents and unpacked bytes of each row group."""
    facts = pq.read_metadata(file)
    for number in range(facts.num_row_groups):
        group = facts.row_group(number)
        yield number, group.num_rows, group.total_byte_size


def read_unit(unit: Mapping[str, Any], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The unit's documents, one batch a row group; small ones together."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for path, begin, end in ([unit["file"], unit["begin"], unit["end"]], *unit.get("more", ())):
        with pq.ParquetFile(path) as file:
            for number in range(begin, end):
                group = file.read_row_group(number, columns=columns)
                if waiting and (rows + group.num_rows > ROWS or size + group.nbytes > BYTES):
                    yield from pa.concat_tables(waiting).combine_chunks().to_batches()
                    waiting, rows, size = [], 0, 0
                waiting.append(group)
                rows += group.num_rows
                size += group.nbytes
    if waiting:
        yield from pa.concat_tables(waiting).combine_chunks().to_batches()


@imports("lamina.kit.numba_ready", "lamina.data.clean.analysis_kernels.walk", "lamina.data.duplicates.kernels")
def clean(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a phase's steps over a unit: ``folder`` gets documents, ledger, signals and samples of what was dropped.

    payload: ``unit``, ``folder``, ``steps`` (the stack file's), ``phase`` (its number), ``found`` (the file with what
    the pass before it said of this unit's documents, or null), ``tombstones`` (state folder and digest, or null).
    """
    folder = Path(payload["folder"])
    if not is_published(folder):
        phases = _phases(orjson.dumps(payload["steps"]))
        _clean(payload, phases, folder)
    return {"rows": payload["unit"]["rows"]}


def passing(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a pass's own ``function`` over a unit into ``folder``."""
    folder = Path(payload["folder"])
    if not is_published(folder):
        with publish(folder) as staging:
            resolve(payload["function"])(read_unit(payload["unit"]), staging, payload["payload"])
    return {"rows": payload["unit"]["rows"]}


@lru_cache(maxsize=4)
def _phases(steps: bytes) -> tuple[Phase, ...]:
    return plan(orjson.loads(steps))


def _clean(payload: Mapping[str, Any], phases: Sequence[Phase], folder: Path) -> None:
    number = payload["phase"]
    phase = phases[number]
    before = phases[number - 1].closing if number else None
    found = None if payload["found"] is None else _table(payload["found"])
    signals = signal_schema(phase)
    with (
        publish(folder) as staging,
        PartWriter(staging / "documents.parquet", phase.schema) as out,
        PartWriter(staging / "signals.parquet", signals) as measured,
        PartWriter(staging / "dropped.parquet", DROPPED) as dropped,
        ledger_writer(staging) as ledger,
    ):
        samples = Samples(dropped)
        forgetting = Forgetting(payload.get("tombstones"))
        for batch in read_unit(payload["unit"]):
            if number == 0:
                batch = forgetting.arriving(batch)
            if before is not None and found is not None:
                outcome = apply_pass(before, batch, found)
                ledger.write(outcome.ledger)
                samples.take(batch, outcome.ledger)
                batch = outcome.batch
            marked = forgetting.leaving(run_marked(phase, batch))
            ledger.write(marked.ledger)
            samples.take(marked.batch, marked.ledger)
            measured.write(_measured(marked.batch, marked.verdicts, signals))
            out.write(hashed(marked.kept()))
        forgetting.write(staging)


class Samples:
    """Writes the beginnings of dropped documents, the first ``SAMPLES`` ids (hashes, so: drawn by chance) of each."""

    def __init__(self, out: PartWriter) -> None:
        self._out = out

    def take(self, batch: pa.RecordBatch, ledger: pa.RecordBatch) -> None:
        """What ``ledger`` says was dropped from ``batch``."""
        import polars as pl

        gone = to_frame(ledger).filter(pl.col("action").is_in(["drop", "duplicate"])).select("id", "step", "reason")
        if not gone.height:
            return
        texts = to_frame(batch.select(["id", "source", "text"]))
        rows = gone.join(texts, on="id", how="inner").with_columns(text=pl.col("text").str.head(SAMPLE_CHARACTERS))
        first = rows.sort("step", "source", "id").group_by("step", "source", maintain_order=True).head(SAMPLES)
        self._out.write(to_batch(first.select(DROPPED.names), DROPPED))


def signal_schema(phase: Phase) -> pa.Schema:
    """Columns of a phase's signals: id, source, sizes, what its steps measured, and one verdict for each Decide; those
    of the first phase tell where a document was read and who wrote it, so that dropped ones can be asked for."""
    fields = [pa.field("id", pa.string()), pa.field("source", pa.string())]
    fields += [pa.field("_characters", pa.int64()), pa.field("_bytes", pa.int64())]
    fields += [f for f in phase.schema if f.name not in DOCUMENTS.names]
    fields += [DOCUMENTS.field(name) for name in ("language", "license")]
    if phase.steps and phase.steps[0].at_once:
        fields += [DOCUMENTS.field(name) for name in ("url", "author")]
    fields += [pa.field(VERDICT + s.label, pa.bool_()) for s in phase.steps if s.kind == "decide"]
    return pa.schema(fields)


def _measured(batch: pa.RecordBatch, verdicts: Mapping[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    import polars as pl

    sizes = to_frame(batch.select(["text"])).select(
        _characters=pl.col("text").str.len_chars().cast(pl.Int64), _bytes=pl.col("text").str.len_bytes().cast(pl.Int64)
    )
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns |= {name: sizes[name].to_arrow() for name in sizes.columns}
    columns |= {VERDICT + label: verdict for label, verdict in verdicts.items()}
    arrays = [columns[f.name].cast(f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def hashed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``text_hash`` of the text as it stands now."""
    hashes = [None if text is None else text_hash(text) for text in batch.column("text").to_pylist()]  # no batch call
    place = batch.schema.get_field_index("text_hash")
    return batch.set_column(place, batch.schema.field(place), pa.array(hashes, pa.string()))


def _table(path: str) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(path)
