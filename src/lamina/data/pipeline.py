"""From sources to a corpus folder: collect, clean, find duplicates, split, write, report.

    data/train-*.parquet, data/held_out-*.parquet    documents and their signals
    ledger.parquet                                   one row for each decision
    signals/phase-*.parquet, signals/steps.json      what was measured of every document, dropped ones too
    indexes/duplicates/                              what a later build can be compared with (pass with index = true)
    dropped.parquet                                  beginnings of dropped documents, some of each step and source
    variety.json, clusters.parquet                   how varied it is; the topic of each document
    unread.jsonl                                     what was not read, and why
    report.json, README.md, croissant.json           counts; the dataset card for people and for machines

Documents go through the steps in units (see ``data.units``), on worker processes or a cluster. Every unit is published
in the work folder when it is done; a killed run goes on with those that are not.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from lamina.data.augment.corpus import Augmentation, augment_corpus
from lamina.data.augment.plan import Operation
from lamina.data.card import dataset_card, write_croissant
from lamina.data.clean.frames import facts_of, warnings_of
from lamina.data.clean.recipes import expand
from lamina.data.collection import Collected, SourceInput, check_sources, collect
from lamina.data.corpus_files import CorpusFiles
from lamina.data.executors import Executor, open_executor
from lamina.data.forget_files import scrub
from lamina.data.forgetting import History, forgotten_in, readable
from lamina.data.ledger import counted
from lamina.data.parts import ledger_writer, read_parts
from lamina.data.report import CorpusReport, loss, make_report
from lamina.data.signals import write_signals
from lamina.data.splits import HELD_OUT, TRAIN, split
from lamina.data.spreading import spread
from lamina.data.steps import DEFAULT_STEPS, Phase, Step, plan, run_pass
from lamina.data.units import read_unit, units_of
from lamina.data.variety.measure import write_variety
from lamina.kit.durable import is_published, publish
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DEFAULT_STEPS", "CorpusReport", "SourceInput", "build_corpus"]


def build_corpus(
    staging: Path,
    work: Path,
    *,
    sources: Sequence[SourceInput],
    steps: Sequence[Mapping[str, Any]],
    held_out: float,
    progress: Progress,
    executor: str = "local",
    workers: int | None = None,
    augmentation: Augmentation | None = None,
    history: History | None = None,
) -> CorpusReport:
    """Write the corpus into ``staging``; ``work`` may hold what an earlier, killed run had done.

    ``executor``: "local" (``workers`` processes, one a processor by default) or "ray"; the corpus is the same.
    ``history``: the corpus that was built before, for passes that go on from there, and what is to stay forgotten.

    Raises ``ConfigError`` before any work for a step, parameter, column or source that cannot be; ``InputError`` where
    no document is left.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"{held_out} is no share from 0 to below 1", where="data.held_out")
    check_sources(tuple(sources))
    phases = plan(steps)
    augmentation = augmentation or Augmentation()
    operations = augmentation.operations(work)
    history = history or History()
    with open_executor(executor, workers) as runner:
        collected = [collect(source, work, progress, runner) for source in sources]
        flow = _Flow(work, collected, steps, progress, runner, history)
        for phase in phases:
            flow.clean(phase)
        documents = split(flow.files, held_out)
        shards = CorpusFiles(staging / "data", phases[-1].schema)
        shards.write(flow.files, documents)
        children = flow.augment(shards, documents, held_out, augmentation, operations)
        shards.close()
    readings, unread = _write_readings(staging, sources, collected, flow.folders, history)
    write_signals(staging, phases, flow.measured)
    flow.keep_indexes(staging)
    forgotten = flow.scrub(staging)
    report = make_report(sources, readings, documents, counted(staging / "ledger.parquet"), flow.warnings)
    if not documents.height:
        raise InputError(loss(report, unread), where="corpus", hint="see data.sources and data.steps in the stack file")
    if children:
        report["augmentation"] = children
    report |= {"passes": flow.facts, "forgotten": forgotten}
    (staging / "report.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    columns = {f.name: str(f.type) for f in phases[-1].schema}
    (staging / "README.md").write_text(dataset_card(report, columns, staging / "data"), encoding="utf-8")
    write_croissant(staging, report)
    write_variety(staging, progress=progress)
    return report


def _write_readings(
    staging: Path,
    sources: Sequence[SourceInput],
    collected: Sequence[Collected],
    folders: Sequence[Path],
    history: History,
) -> tuple[list[Mapping[str, Any]], list[dict[str, str]]]:
    """Write what was not read, and the ledger of all units; what each source read, and what it did not."""
    readings = [found.reading for found in collected]
    unread = [
        {"source": source.name, "name": name, "reason": reason}
        for source, reading in zip(sources, readings, strict=True)
        for name, reason in reading["unread"].items()
    ]
    unread = readable(unread, history)
    (staging / "unread.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in unread))
    with ledger_writer(staging) as ledger:
        for batch in read_parts([f / "ledger.parquet" for f in folders]):
            ledger.write(batch)
    return readings, unread


class _Flow:
    """The documents on their way: ``files`` hold them as they stand, ``folders`` all that has a ledger."""

    def __init__(
        self,
        work: Path,
        collected: Sequence[Collected],
        steps: Sequence[Mapping[str, Any]],
        progress: Progress,
        executor: Executor,
        history: History,
    ) -> None:
        read = [unit for found in collected for unit in found.units]
        self.folders = [unit for unit in read if (unit / "ledger.parquet").exists()]
        self.files = [unit / "documents.parquet" for unit in read]
        self.measured: list[list[Path]] = []  # the unit folders of each phase
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {}  # what each pass measured, by its label
        self._kept: dict[str, Path] = {}  # what passes leave for the next build, by name
        self._history = history
        self._work, self._progress, self._executor = work, progress, executor
        self._steps = [dict(step) for step in steps]
        versions = {c.name: c.version for c in STEPS}
        told = [step for _, _, step in expand(self._steps)]
        before = [str(history.earlier), history.tombstones]
        self._key = blake3_hex(orjson.dumps([[found.key for found in collected], told, versions, before]))[:16]
        self._found: list[str | None] = []  # for each unit what the pass before said of it
        self._number = 0

    def clean(self, phase: Phase) -> None:
        """Run a phase's steps over all units, then its pass."""
        folder = self._work / f"cleaned-{self._number}-{self._key}"
        folder.mkdir(parents=True, exist_ok=True)
        units = units_of(self.files)
        found = self._found or [None] * len(units)
        payloads = [
            {"unit": unit, "folder": str(folder / f"{n:06d}"), "steps": self._steps, "phase": self._number, "found": f}
            | {"tombstones": self._history.told()}
            for n, (unit, f) in enumerate(zip(units, found, strict=True))
        ]
        done = self._run("lamina.data.units:clean", payloads, "clean")
        self.folders += done
        self.measured.append(done)
        self.files = [unit / "documents.parquet" for unit in done]
        self._number += 1
        self._found = [] if phase.closing is None else self._see_all(phase.closing)

    def augment(
        self,
        shards: CorpusFiles,
        documents: pl.DataFrame,
        held_out: float,
        augmentation: Augmentation,
        operations: Sequence[Operation],
    ) -> dict[str, Any] | None:
        """Add children of the training documents to the shards; what is to be said of them."""
        if not operations or not documents.height:
            return None
        folder = self._work / f"augmented-{blake3_hex(self._key, augmentation.key(), str(held_out))[:16]}"
        done = augment_corpus(
            shards.files(TRAIN),
            shards.files(HELD_OUT),
            folder,
            self._run,
            documents=documents,
            augmentation=augmentation,
            operations=operations,
        )
        self.folders.append(done)
        shards.add(TRAIN, read_parts([done / "children.parquet"]))
        return dict(orjson.loads((done / "report.json").read_bytes()))

    def keep_indexes(self, staging: Path) -> None:
        """Move what the passes leave for the next build into the corpus."""
        for name, folder in self._kept.items():
            if folder.is_dir():
                shutil.copytree(folder, staging / "indexes" / name)

    def scrub(self, staging: Path) -> int:
        """Take out what earlier phases said of documents that turned out to be forgotten; how many there were."""
        ids = forgotten_in([unit for units in self.measured for unit in units])
        scrub(staging, ids)
        return len(ids)

    def _run(self, function: str, payloads: Sequence[Mapping[str, Any]], name: str) -> list[Path]:
        """``function`` over every unit that is not done; the units' folders."""
        left = [p for p in payloads if not is_published(Path(p["folder"]))]
        total = sum(p["unit"]["rows"] for p in payloads)
        begun = total - sum(p["unit"]["rows"] for p in left)
        with self._progress.task(name, total=total, unit="documents", done=begun) as task:
            for facts in self._executor.map(function, left):
                task.advance(facts["rows"])
        return [Path(p["folder"]) for p in payloads]

    def _see_all(self, step: Step) -> list[str | None]:
        """Let a pass see everything; what it said of the documents of each unit, as files."""
        folder = self._work / f"pass-{self._number}-{self._key}"
        units = units_of(self.files)
        name = step.component.name if step.component else step.label
        place = next(n for n in (name, *(f"{name}-{k}" for k in range(2, 100))) if n not in self._kept)
        earlier = self._history.earlier / "indexes" / place if self._history.earlier else None
        if not is_published(folder):
            work = self._work / f"passing-{self._number}-{self._key}"
            work.mkdir(parents=True, exist_ok=True)
            with publish(folder) as staging:
                table = run_pass(step, _Batches(units, work, name, self._run, earlier))
                (staging / "warnings.json").write_bytes(orjson.dumps(warnings_of(table.schema)))
                (staging / "facts.json").write_bytes(orjson.dumps(facts_of(table.schema)))
                spread(table, units, staging)
                if (work / "keep").is_dir():
                    shutil.move(work / "keep", staging / "keep")
            shutil.rmtree(work, ignore_errors=True)
        self.warnings += orjson.loads((folder / "warnings.json").read_bytes())
        self.facts[step.label] = orjson.loads((folder / "facts.json").read_bytes())
        self._kept[place] = folder / "keep"
        return [str(folder / f"{number:06d}.parquet") for number in range(len(units))]


@dataclass(frozen=True, slots=True)
class _Batches:
    """``contracts.corpus.Batches``."""

    units: Sequence[Mapping[str, Any]]
    work: Path
    name: str
    run: Callable[[str, Sequence[Mapping[str, Any]], str], list[Path]]
    earlier: Path | None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for unit in self.units:
            yield from read_unit(unit)

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        mark = blake3_hex(orjson.dumps([function, payload], default=str))[:16]
        payloads = [
            {"unit": u, "folder": str(self.work / f"{mark}-{n:06d}"), "function": function, "payload": dict(payload)}
            for n, u in enumerate(self.units)
        ]
        return self.run("lamina.data.units:passing", payloads, self.name)
