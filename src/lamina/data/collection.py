"""Collection: each source read once, into a published folder of Parquet that a killed run finds again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, Inbox, SourceFile
from lamina.data.ledger import entries
from lamina.data.parts import PartWriter, ledger_writer
from lamina.kit.config import bind, resolved
from lamina.kit.durable import is_published, publish
from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex, document_id, text_hash
from lamina.kit.progress import Progress
from lamina.kit.registry import SOURCES

_LABEL = "00 collect"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInput:
    """A source of the stack file with its location resolved: ``files`` on this machine, ``origin`` in words."""

    name: str
    use: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[SourceFile, ...] = ()
    origin: str = ""
    license: str | None = None  # SPDX, for documents that name none
    language: str | None = None  # BCP 47, for documents that name none


@dataclass
class ReadingReport:
    """``contracts.corpus.Report``: what was read, and what was not and why."""

    names: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> None:
        """``name`` was read; rows of it may have been left out all the same (see ``unread``)."""
        self.names.add(name)

    def unread(self, name: str, reason: str) -> None:
        """``name`` could not be read; the first reason stands."""
        self.reasons.setdefault(name, reason)


def check_sources(sources: tuple[SourceInput, ...]) -> None:
    """Names are unique, components known, parameters right. Raises ``ConfigError``."""
    if not sources:
        raise ConfigError("there is no source to read", where="data.sources")
    names: set[str] = set()
    for source in sources:
        where = f"data.sources '{source.name}'"
        if source.name in names:
            raise ConfigError("two sources have this name", where=where, hint="give one of them another 'name'")
        names.add(source.name)
        bind(SOURCES.get(source.use).function, source.parameters, where=where)


def collect(source: SourceInput, work: Path, progress: Progress) -> Path:
    """The folder with the source's documents.parquet, ledger.parquet and reading.json; made unless it stands."""
    folder = work / "collected" / f"{_slug(source.name)}-{_key(source)}"
    if is_published(folder):
        progress.say(f"{source.name}: collected before")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    component = SOURCES.get(source.use)
    parameters = bind(component.function, source.parameters, where=f"data.sources '{source.name}'")
    report = ReadingReport()
    collected = datetime.now(UTC)
    inbox = Inbox(source=source.name, files=source.files, origin=source.origin, collected=collected, report=report)
    ids = _Ids()
    with publish(folder) as staging, progress.task(f"collect {source.name}", total=None, unit="documents") as task:
        with PartWriter(staging / "documents.parquet", DOCUMENTS) as out, ledger_writer(staging) as ledger:
            for batch in component.function(inbox, **parameters):
                whole = _complete(batch, source, collected, out.rows)
                unique = ids.settle(whole, ledger)
                out.write(unique)
                task.advance(unique.num_rows)
        facts = {
            "documents": out.rows + ids.repeated,
            "read": sorted(report.names - report.reasons.keys()),
            "unread": dict(sorted(report.reasons.items())),
            "collected": collected.isoformat(),
        }
        (staging / "reading.json").write_bytes(orjson.dumps(facts))
    return folder


class _Ids:
    """Sees to it that an id is given once: a repeat with the same text goes, one with another text gets its own id."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._marks: dict[str, str] = {}
        self.repeated = 0

    def settle(self, batch: pa.RecordBatch, ledger: PartWriter) -> pa.RecordBatch:
        """The batch with unique ids; what had to be done is written down."""
        import polars as pl

        names: list[str] = batch.column("id").to_pylist()
        marks: list[str] = batch.column("text_hash").to_pylist()
        if len(set(names)) == len(names) and self._seen.isdisjoint(names):
            self._seen.update(names)
            self._marks.update(zip(names, marks, strict=True))
            return batch
        ids: list[str] = []
        kept: list[bool] = []
        notes: list[dict[str, str]] = []
        for name, mark in zip(names, marks, strict=True):  # one by one: a repeat is known by the rows before it
            id = name if self._marks.get(name, mark) == mark else document_id(name, mark)
            again = id in self._seen
            if again or id != name:
                action, reason = ("duplicate", "same id and text") if again else ("edit", f"id {name} was taken")
                notes.append(
                    {"id": id, "source": batch.column("source")[0].as_py(), "action": action, "reason": reason}
                )
            self._seen.add(id)
            self._marks.setdefault(id, mark)
            ids.append(id)
            kept.append(not again)
            self.repeated += again
        ledger.write(entries(pl.DataFrame(notes), step=_LABEL))
        place = batch.schema.get_field_index("id")
        return batch.set_column(place, DOCUMENTS.field("id"), pa.array(ids, pa.string())).filter(pa.array(kept))


def _complete(batch: pa.RecordBatch, source: SourceInput, collected: datetime, begin: int) -> pa.RecordBatch:
    """Every column of ``DOCUMENTS``: what the source knows, what the stack file says, ids and hashes where missing."""
    import pyarrow.compute as pc

    rows = batch.num_rows
    given = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns = {f.name: given[f.name].cast(f.type) if f.name in given else pa.nulls(rows, f.type) for f in DOCUMENTS}
    extra = [name for name in given if name not in columns]
    if extra:
        columns["meta"] = _with_extra(columns["meta"], batch.select(extra))
    columns["source"] = pa.array([source.name] * rows, pa.string())
    columns["collected"] = pc.fill_null(columns["collected"], pa.scalar(collected, DOCUMENTS.field("collected").type))
    for name, value in (("license", source.license), ("language", source.language)):
        if value is not None:
            columns[name] = pc.fill_null(columns[name], value)
    # blake3 has no batch call
    texts = columns["text"].to_pylist()
    columns["text_hash"] = pa.array([text_hash(text or "") for text in texts], pa.string())
    if columns["id"].null_count:
        keys = zip(columns["id"].to_pylist(), columns["url"].to_pylist(), texts, strict=True)
        ids = [i or document_id(source.name, f"{u or ''}\n{t or begin + n}") for n, (i, u, t) in enumerate(keys)]
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


def _key(source: SourceInput) -> str:
    """Changes when what would be read changes: component, parameters, files by size and time."""
    files = []
    for file in source.files:
        try:
            stat = file.path.stat()
            files.append([file.name, stat.st_size, stat.st_mtime_ns])
        except OSError:
            files.append([file.name, None, None])
    version = SOURCES.get(source.use).version
    told = [source.name, source.use, version, source.origin, source.license, source.language]
    return blake3_hex(orjson.dumps([told, resolved(dict(source.parameters)), files]))[:16]


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:40] or "source"
