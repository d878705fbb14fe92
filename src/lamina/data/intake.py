"""Intake: one unit of a source is read, in a worker process or in this one, and published as whole documents."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, Inbox
from lamina.data.cuts import Unit
from lamina.data.parts import PartWriter
from lamina.data.rows import LISTED
from lamina.kit import jail
from lamina.kit.config import bind
from lamina.kit.durable import is_published, publish, remove
from lamina.kit.identity import document_id, text_hash
from lamina.kit.registry import SOURCES

_MORE = re.compile(r".*, ([\d,]+) more", re.DOTALL)  # how ``rows.Notes`` counts what it does not list
Watch = Callable[[str, int], None]  # (name of a file that is being read, or "", documents that were written)


@dataclass
class ReadingReport:
    """``contracts.corpus.Report``: what was read, and what was not and why."""

    names: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)
    watch: Watch | None = None

    def read(self, name: str) -> None:
        """``name`` was read; rows of it may have been left out all the same (see ``unread``)."""
        if self.watch is not None:
            self.watch(name, 0)
        self.names.add(name)

    def unread(self, name: str, reason: str) -> None:
        """``name`` could not be read; the first reason stands."""
        if self.watch is not None:
            self.watch(name, 0)
        stands = self.reasons.setdefault(name, reason)
        if stands != reason and _MORE.fullmatch(name):  # as many of another sort
            self.reasons[name] = f"{stands}; {reason}"


def read(payload: Mapping[str, Any]) -> dict[str, int]:
    """Read a unit into ``folder``, unless it stands: documents.parquet, reading.json. In a worker process.

    payload: ``folder``, ``source`` (name, use, parameters, origin, license, language), ``collected`` (ISO 8601), and
    the unit's ``files`` and ``size``.
    """
    jail.keep(payload["source"]["name"])
    return read_here(payload, None)


def read_here(payload: Mapping[str, Any], watch: Watch | None) -> dict[str, int]:
    """As ``read``, in this process; ``watch`` is told how it goes."""
    folder = Path(payload["folder"])
    if not is_published(folder):
        work = folder.with_name(f"{folder.name}.work")
        _read(payload, folder, work, watch)
        remove(work)
    return {"size": payload["size"], "documents": facts_of(folder)["documents"]}


def facts_of(folder: Path) -> dict[str, Any]:
    """A published unit's (or source's) reading.json."""
    facts: dict[str, Any] = orjson.loads((folder / "reading.json").read_bytes())
    return facts


def _read(payload: Mapping[str, Any], folder: Path, work: Path, watch: Watch | None) -> None:
    source, unit = payload["source"], Unit.of(payload)
    function = SOURCES.get(source["use"]).function
    parameters = bind(function, source["parameters"], where=f"data.sources '{source['name']}'")
    report = ReadingReport(watch=watch)
    collected = datetime.fromisoformat(payload["collected"])
    inbox = Inbox(
        source=source["name"],
        files=unit.files,
        origin=source["origin"],
        collected=collected,
        report=report,
        work=work,
    )
    with publish(folder) as staging:
        with PartWriter(staging / "documents.parquet", DOCUMENTS) as out:
            for batch in function(inbox, **parameters):
                out.write(_complete(batch, source, collected, out.rows))
                if watch is not None:
                    watch("", batch.num_rows)
        facts = {"documents": out.rows, "read": sorted(report.names), "unread": report.reasons}
        (staging / "reading.json").write_bytes(orjson.dumps(facts))


def _complete(batch: pa.RecordBatch, source: Mapping[str, Any], collected: datetime, begin: int) -> pa.RecordBatch:
    """Every column of ``DOCUMENTS``: what the source knows, what the stack file says, ids and hashes where missing."""
    import pyarrow.compute as pc

    rows = batch.num_rows
    given = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns = {f.name: given[f.name].cast(f.type) if f.name in given else pa.nulls(rows, f.type) for f in DOCUMENTS}
    extra = [name for name in given if name not in columns]
    if extra:
        columns["meta"] = _with_extra(columns["meta"], batch.select(extra))
    columns["source"] = pa.array([source["name"]] * rows, pa.string())
    columns["collected"] = pc.fill_null(columns["collected"], pa.scalar(collected, DOCUMENTS.field("collected").type))
    for name in ("license", "language"):
        if source[name] is not None:
            columns[name] = pc.fill_null(columns[name], source[name])
    # blake3 has no batch call
    texts = columns["text"].to_pylist()
    columns["text_hash"] = pa.array([text_hash(text or "") for text in texts], pa.string())
    if columns["id"].null_count:
        keys = zip(columns["id"].to_pylist(), columns["url"].to_pylist(), texts, strict=True)
        ids = [i or document_id(source["name"], f"{u or ''}\n{t or begin + n}") for n, (i, u, t) in enumerate(keys)]
        columns["id"] = pa.array(ids, pa.string())
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=DOCUMENTS)


def _with_extra(meta: pa.Array, extra: pa.RecordBatch) -> pa.Array:
    """Columns that a document does not have go into its meta, by row: JSON objects differ from row to row."""
    merged: list[str] = []
    for text, row in zip(meta.to_pylist(), extra.to_pylist(), strict=True):
        standing = orjson.loads(text) if text else {}
        kept = {k: v for k, v in row.items() if v is not None}
        merged.append(orjson.dumps(kept | standing, default=str).decode())
    return pa.array(merged, pa.string())


def merged(units: Iterable[tuple[Unit, Mapping[str, Any]]]) -> dict[str, Any]:
    """The reading of a whole source from those of its units, in their order: ``documents``, ``read``, ``unread``.

    What is said of a file that was cut is said once: the first complaints of a sort stand, the others are counted.
    """
    documents = 0
    report = ReadingReport()
    cut: dict[str, _Cut] = {}
    for unit, facts in units:
        documents += facts["documents"]
        report.names.update(facts["read"])
        if unit.files and unit.files[0].part is not None:
            cut.setdefault(unit.files[0].name, _Cut()).add(unit.files[0].name, facts, report)
            continue
        for name, reason in facts["unread"].items():
            report.unread(name, reason)
    for name, told in cut.items():
        told.close(name, report)
    unread = dict(sorted(report.reasons.items()))
    return {"documents": documents, "read": sorted(report.names - report.reasons.keys()), "unread": unread}


@dataclass
class _Cut:
    """What the parts of one file say of it."""

    documents: int = 0
    listed: Counter[str] = field(default_factory=Counter)
    more: Counter[str] = field(default_factory=Counter)

    def add(self, file: str, facts: Mapping[str, Any], report: ReadingReport) -> None:
        self.documents += facts["documents"]
        for name, reason in facts["unread"].items():
            if not name.startswith(f"{file}, "):
                report.unread(name, reason)
            elif counted := _MORE.fullmatch(name):
                self.more[reason] += int(counted[1].replace(",", ""))
            else:
                sort = re.split("[:;]", reason, maxsplit=1)[0]
                self.listed[sort] += 1
                if self.listed[sort] <= LISTED:
                    report.unread(name, reason)
                else:
                    self.more[sort] += 1

    def close(self, file: str, report: ReadingReport) -> None:
        for sort, times in self.more.items():
            report.unread(f"{file}, {times:,} more", sort)
        if not self.documents:
            report.unread(file, "holds no document")
