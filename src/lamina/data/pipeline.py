"""From sources to a corpus folder: collect, clean, find duplicates, split, write, report.

    data/train-*.parquet, data/held_out-*.parquet    documents and their signals
    ledger.parquet                                   one row for each decision
    unread.jsonl                                     what was not read, and why
    report.json, README.md                           counts; the dataset card

Every phase is published in the work folder when it is done; a killed run goes on behind the last one that is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.data.card import dataset_card
from lamina.data.clean.frames import to_batch, to_frame
from lamina.data.collection import SourceInput, check_sources, collect
from lamina.data.parts import PartWriter, ledger_writer, read_parts, rows_of
from lamina.data.report import CorpusReport, loss, make_report
from lamina.data.splits import assign
from lamina.data.steps import DEFAULT_STEPS, Phase, Step, apply_pass, plan, run, run_pass
from lamina.kit.durable import is_published, publish
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.identity import blake3_hex, text_hash
from lamina.kit.progress import Progress, Task
from lamina.kit.registry import STEPS
from lamina.kit.workers import resolve

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DEFAULT_STEPS", "CorpusReport", "SourceInput", "build_corpus"]

_FILE_BYTES = 256 * 1024 * 1024  # of columns in memory; a shard of the Parquet files


def build_corpus(
    staging: Path,
    work: Path,
    *,
    sources: Sequence[SourceInput],
    steps: Sequence[Mapping[str, Any]],
    held_out: float,
    progress: Progress,
) -> CorpusReport:
    """Write the corpus into ``staging``; ``work`` may hold what an earlier, killed run had done.

    Raises ``ConfigError`` before any work for a step, parameter, column or source that cannot be; ``InputError`` where
    no document is left.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"{held_out} is no share from 0 to below 1", where="data.held_out")
    check_sources(tuple(sources))
    phases = plan(steps)
    folders = [collect(source, work, progress) for source in sources]
    flow = _Flow(work, folders, steps, progress)
    for phase in phases:
        flow.clean(phase)
    readings = [orjson.loads((f / "reading.json").read_bytes()) for f in folders]
    unread = [
        {"source": source.name, "name": name, "reason": reason}
        for source, reading in zip(sources, readings, strict=True)
        for name, reason in reading["unread"].items()
    ]
    (staging / "unread.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in unread))
    with ledger_writer(staging) as ledger:
        for batch in read_parts([f / "ledger.parquet" for f in flow.folders]):
            ledger.write(batch)
    documents = _split(flow.files, held_out)
    report = make_report(sources, readings, documents, _read_ledger(staging / "ledger.parquet"))
    if not documents.height:
        raise InputError(loss(report, unread), where="corpus", hint="see data.sources and data.steps in the stack file")
    _write(staging / "data", flow.files, phases[-1].schema, documents)
    (staging / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    columns = {f.name: str(f.type) for f in phases[-1].schema}
    (staging / "README.md").write_text(dataset_card(report, columns, staging / "data"), encoding="utf-8")
    return report


@dataclass(frozen=True, slots=True)
class _Found:
    """A pass that has seen everything, and the table that it came back with."""

    step: Step
    table: Path


class _Flow:
    """The documents on their way: ``files`` hold them as they stand, ``folders`` all that has a ledger."""

    def __init__(
        self, work: Path, collected: Sequence[Path], steps: Sequence[Mapping[str, Any]], progress: Progress
    ) -> None:
        self.folders = list(collected)
        self.files = [folder / "documents.parquet" for folder in collected]
        self._work = work
        self._progress = progress
        versions = {c.name: c.version for c in STEPS}
        told = [[folder.name for folder in collected], [dict(step) for step in steps], versions]
        self._key = blake3_hex(orjson.dumps(told))[:16]
        self._found: _Found | None = None
        self._number = 0

    def clean(self, phase: Phase) -> None:
        """Run a phase's steps, then its pass; nothing, where that was done before."""
        self._number += 1
        folder = self._work / f"cleaned-{self._number}-{self._key}"
        if not is_published(folder):
            self._apply(phase, folder)
        self.folders.append(folder)
        self.files = [folder / "documents.parquet"]
        self._found = None if phase.closing is None else self._see_all(phase.closing)

    def _apply(self, phase: Phase, folder: Path) -> None:
        found = None if self._found is None else _read_table(self._found.table)
        total = rows_of(self.files)
        with (
            publish(folder) as staging,
            self._progress.task("clean", total=total, unit="documents") as task,
            PartWriter(staging / "documents.parquet", phase.schema) as out,
            ledger_writer(staging) as ledger,
        ):
            for batch in read_parts(self.files):
                task.advance(batch.num_rows)
                if self._found is not None and found is not None:
                    outcome = apply_pass(self._found.step, batch, found)
                    ledger.write(outcome.ledger)
                    batch = outcome.batch
                for step in phase.steps:
                    outcome = run(step, batch)
                    ledger.write(outcome.ledger)
                    batch = outcome.batch
                out.write(_hashed(batch))

    def _see_all(self, step: Step) -> _Found:
        folder = self._work / f"pass-{self._number}-{self._key}"
        if not is_published(folder):
            name = step.component.name if step.component else step.label
            with publish(folder) as staging, self._progress.task(name, total=None, unit="documents") as task:
                batches = _Batches(self.files, task, self._work / f"passing-{self._number}-{self._key}")
                pq.write_table(run_pass(step, batches), staging / "found.parquet")
            shutil.rmtree(batches.work, ignore_errors=True)
        return _Found(step, folder / "found.parquet")


@dataclass(frozen=True, slots=True)
class _Batches:
    """``contracts.corpus.Batches``: one unit, in this process."""

    files: Sequence[Path]
    task: Task
    work: Path

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in read_parts(self.files):
            self.task.advance(batch.num_rows)
            yield batch

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        folder = self.work / "unit-0"
        if not is_published(folder):
            self.work.mkdir(parents=True, exist_ok=True)
            with publish(folder) as staging:
                resolve(function)(iter(self), staging, dict(payload))
        return [folder]


def _hashed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``text_hash`` of the text as it stands now."""
    hashes = [None if text is None else text_hash(text) for text in batch.column("text").to_pylist()]  # no batch call
    place = batch.schema.get_field_index("text_hash")
    return batch.set_column(place, batch.schema.field(place), pa.array(hashes, pa.string()))


def _split(files: Sequence[Path], held_out: float) -> pl.DataFrame:
    """id, split, source, license, language and characters of every document that is left."""
    import polars as pl

    wanted = ["id", "parent_id", "source", "license", "language"]
    scan = pl.scan_parquet(list(files))
    if "duplicate_cluster" in scan.collect_schema().names():
        wanted.append("duplicate_cluster")
    documents = scan.select(*wanted, characters=pl.col("text").str.len_chars().cast(pl.Int64)).collect()
    return documents.join(assign(documents, held_out), on="id", how="left", maintain_order="left")


def _write(data: Path, files: Sequence[Path], schema: pa.Schema, documents: pl.DataFrame) -> None:
    """``data``/train-*.parquet and held_out-*.parquet."""
    import polars as pl

    data.mkdir()
    sides = documents.select("id", side="split")
    shards = {"train": _ShardWriter(data, "train", schema), "held-out": _ShardWriter(data, "held_out", schema)}
    for batch in read_parts(files):
        frame = to_frame(batch).join(sides, on="id", how="left", maintain_order="left").with_columns(split="side")
        for side, shard in shards.items():
            shard.write(to_batch(frame.filter(pl.col("split") == side).drop("side"), schema))
    for shard in shards.values():
        shard.close()


class _ShardWriter:
    """Files of bounded size, named train-00000-of-00002.parquet once their number is known."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._files: list[Path] = []
        self._current: PartWriter | None = None
        self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if self._current is None or self._bytes >= _FILE_BYTES:
            self._finish()
            self._files.append(self._folder / f"{self._name}-{len(self._files):05d}.unfinished")
            self._current, self._bytes = PartWriter(self._files[-1], self._schema), 0
        self._current.write(batch)
        self._bytes += batch.nbytes

    def close(self) -> None:
        self._finish()
        for number, file in enumerate(self._files):
            file.rename(self._folder / f"{self._name}-{number:05d}-of-{len(self._files):05d}.parquet")

    def _finish(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None


def _read_ledger(path: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(path, columns=["source", "step", "action", "reason"])


def _read_table(path: Path) -> pl.DataFrame:
    import polars as pl

    return pl.read_parquet(path)
