"""Collection: each source read in units, by worker processes, into folders of Parquet that a killed run finds again.

In the work folder, for each source:

    collected/<name>-<key>/plan.json          when it was collected, and its units (see ``data.cuts``)
    collected/<name>-<key>/000000/            a unit that was read: documents.parquet, reading.json
    collected/<name>-<key>/000000.work/       what a source keeps for itself to go on after a kill (``Inbox.work``)
    collected/<name>-<key>/settled/000000/    in its place, where ids of it were given before (see ``data.repeats``)
    collected/<name>-<key>/whole/             all units are there: reading.json
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from lamina.contracts.corpus import SourceFile
from lamina.data.cuts import Unit, cut
from lamina.data.executors import Executor
from lamina.data.intake import Watch, facts_of, merged, read_here
from lamina.data.repeats import settle
from lamina.kit.config import bind, resolved
from lamina.kit.durable import atomic_write, is_published, publish, remove
from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress
from lamina.kit.registry import SOURCES

_FORMAT = 1  # of the folders


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A source that was read. ``units``: folders with documents.parquet, some with ledger.parquet; ``key``: a name for
    what they hold; ``reading``: the numbers and names of what was read, and was not, and why."""

    key: str
    units: tuple[Path, ...]
    reading: Mapping[str, Any]


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


def collect(source: SourceInput, work: Path, progress: Progress, executor: Executor) -> Collected:
    """The source's documents, read now unless an earlier run did."""
    folder = work / "collected" / f"{_slug(source.name)}-{_key(source)}"
    whole = folder / "whole"
    if is_published(whole):
        progress.say(f"{source.name}: collected before")
        return _collected(folder)
    plan = _planned(source, folder, executor)
    units = [Unit.of(told) for told in plan["units"]]
    told = resolved(source) | {"license": source.license, "language": source.language}
    about = {"source": {k: v for k, v in told.items() if k != "files"}, "collected": plan["collected"]}
    payloads = [about | unit | {"folder": str(folder / f"{n:06d}")} for n, unit in enumerate(plan["units"])]
    if len(units) == 1:
        with _shown(source, progress) as watch:
            read_here(payloads[0], watch)
    else:
        _read_all(source, payloads, progress, executor)
    done = [Path(payload["folder"]) for payload in payloads]
    settled = settle(done, folder / "settled", executor)
    reading = merged(zip(units, map(facts_of, done), strict=True))
    names = [str(place.relative_to(folder)) for place in settled]
    with publish(whole) as staging:
        facts = reading | {"collected": plan["collected"], "units": names}
        (staging / "reading.json").write_bytes(orjson.dumps(facts))
    for place in done:  # of a unit that was published the moment before a kill
        remove(place.with_name(f"{place.name}.work"))
    return _collected(folder)


def _planned(source: SourceInput, folder: Path, executor: Executor) -> dict[str, Any]:
    """What an earlier run of this source set out to do, or what this one does."""
    place = folder / "plan.json"
    if not place.exists():
        units = cut(source.use, source.parameters, source.files, executor)
        plan = {"collected": _now().isoformat(), "units": [unit.told() for unit in units]}
        atomic_write(place, orjson.dumps(plan))
    found: dict[str, Any] = orjson.loads(place.read_bytes())
    return found


def _read_all(source: SourceInput, payloads: list[dict[str, Any]], progress: Progress, executor: Executor) -> None:
    left = [p for p in payloads if not is_published(Path(p["folder"]))]
    total = sum(p["size"] for p in payloads) / 1e6
    begun = total - sum(p["size"] for p in left) / 1e6
    documents = 0
    with progress.task(f"collect {source.name}", total=total, unit="MB", done=begun) as task:
        for facts in executor.map("lamina.data.intake:read", left):
            documents += facts["documents"]
            task.advance(facts["size"] / 1e6, documents=documents)


@contextmanager
def _shown(source: SourceInput, progress: Progress) -> Iterator[Watch]:
    """A task for a unit that is read in this process: of files where there are many, else of documents."""
    left = {file.name for file in source.files}
    several = len(left) > 1
    total, unit = (len(left), "files") if several else (None, "documents")
    with progress.task(f"collect {source.name}", total=total, unit=unit) as task:
        documents = 0

        def watch(name: str, rows: int) -> None:
            nonlocal documents
            documents += rows
            if not several:
                task.advance(rows)
            elif rows or name in left:
                task.advance(name in left, documents=documents)
            left.discard(name)

        yield watch


def _collected(folder: Path) -> Collected:
    facts = facts_of(folder / "whole")
    key = blake3_hex((folder / "plan.json").read_bytes())[:16]
    return Collected(key=f"{folder.name}-{key}", units=tuple(folder / name for name in facts["units"]), reading=facts)


def _now() -> datetime:
    return datetime.now(UTC)


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
    told = [_FORMAT, source.name, source.use, version, source.origin, source.license, source.language]
    return blake3_hex(orjson.dumps([told, resolved(dict(source.parameters)), files]))[:16]


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:40] or "source"
