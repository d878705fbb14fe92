"""A corpus without some documents: files that hold none of them are taken over byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.data.card import dataset_card, write_croissant
from lamina.data.duplicates.index import subset
from lamina.data.forget import Gone
from lamina.data.parts import PartWriter
from lamina.kit.durable import read_manifest
from lamina.kit.errors import InputError
from lamina.kit.progress import open_progress

if TYPE_CHECKING:
    import polars as pl

#: Written anew from what is left. Topics are called by words of their documents.
_MADE = ("report.json", "README.md", "croissant.json", "variety.json", "clusters.parquet")
_CERTAIN = 16  # characters from which an id or address is looked for inside other words


def derive(corpus: Path, staging: Path, what: Gone) -> None:
    """Write ``corpus`` without ``what`` goes into ``staging``. Raises ``InputError`` where no document is left."""
    indexes = {path.parent.relative_to(corpus).as_posix() for path in corpus.glob("indexes/*/index.json")}
    marks = _Marks({*what.traces, *what.addresses()})
    for name in sorted(read_manifest(corpus)["files"]):
        folder = name.rpartition("/")[0]
        if name in _MADE or folder in indexes:
            continue
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        _take(corpus / name, staging / name, name, what, marks)
    for folder in sorted(indexes):
        _take_index(corpus / folder, staging / folder, what)
    if not any((staging / "data").glob("*.parquet")):
        raise InputError("no document is left", where=str(corpus))
    _describe(corpus, staging, what)


def _take(old: Path, new: Path, name: str, what: Gone, marks: _Marks) -> None:
    """One file: as it is, or without what goes."""
    if name.endswith(".parquet"):
        left = _without(old, new, what.traces)
    elif name.endswith((".json", ".jsonl")):
        left = marks.without(old, new)
    else:
        left = None
    if left is None:
        take_over(old, new)
    elif not left and name.startswith("data/"):  # nobody wants a shard without rows
        new.unlink()


def take_over(old: Path, new: Path) -> None:
    """The same file under another name: a second name for its bytes, or a copy where the file system has none."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _without(old: Path, new: Path, ids: frozenset[str]) -> int | None:
    """``old`` without the rows of ``ids``, their children and what fell to them; the rows left, None if all are."""
    with pq.ParquetFile(old) as file:
        schema = file.schema_arrow
        keys = [name for name in ("id", "parent_id") if name in schema.names]
        if not keys:
            return None
        groups = range(file.num_row_groups)
        if not any(_hit(file.read_row_group(g, columns=keys), ids).any() for g in groups):
            return None
        with PartWriter(new, schema) as out:
            for group in groups:
                table = file.read_row_group(group).combine_chunks()
                for batch in table.filter(pa.array(~_hit(table, ids))).to_batches():
                    out.write(batch)
        return out.rows


def _hit(table: pa.Table, ids: frozenset[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    hit = np.zeros(table.num_rows, np.bool_)
    for name in ("id", "parent_id"):
        if name in table.schema.names:
            hit |= np.array([value in ids for value in table.column(name).to_pylist()], np.bool_)
    return hit


class _Marks:
    """Ids and addresses by which JSON is known to speak of somebody."""

    def __init__(self, names: set[str]) -> None:
        self._names = frozenset(names)
        self._long = tuple(name for name in names if len(name) >= _CERTAIN)

    def without(self, old: Path, new: Path) -> int | None:
        """``old`` without what speaks of them; None where nothing does."""
        data = old.read_bytes()
        if not any(name.encode() in data for name in self._names):
            return None
        if old.suffix == ".jsonl":
            rows = [orjson.loads(line) for line in data.splitlines() if line.strip()]
            left = [orjson.dumps(self.pruned(row)) + b"\n" for row in rows if not self._of(row)]
            if len(left) == len(rows) and b"".join(left) == data:
                return None
            new.write_bytes(b"".join(left))
            return len(left)
        value = orjson.loads(data)
        if (less := self.pruned(value)) == value:
            return None
        new.write_bytes(orjson.dumps(less, option=orjson.OPT_INDENT_2))
        return 1

    def pruned(self, value: Any) -> Any:
        """``value`` without members that name one of them, or hold a name directly."""
        if isinstance(value, dict):
            return {k: self.pruned(v) for k, v in value.items() if not self._in(k) and not self._of(v)}
        if isinstance(value, list):
            return [self.pruned(v) for v in value if not self._of(v)]
        return value

    def _of(self, value: Any) -> bool:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        return any(isinstance(v, str) and self._in(v) for v in inner)

    def _in(self, text: str) -> bool:
        return text in self._names or any(name in text for name in self._long)


def _take_index(old: Path, new: Path, what: Gone) -> None:
    """An index of duplicates without the documents that go."""
    kept = np.array([id not in what.traces for id in ids_in(old / "documents.parquet")], np.bool_)
    new.mkdir(parents=True, exist_ok=True)
    if not kept.all():
        subset(old, kept, new)
        return
    for path in sorted(old.iterdir()):
        take_over(path, new / path.name)


def _describe(corpus: Path, staging: Path, what: Gone) -> None:
    """Report and cards of what is left."""
    import polars as pl

    report = orjson.loads((corpus / "report.json").read_bytes())
    ledger = pl.read_parquet(staging / "ledger.parquet", columns=["source", "step", "action", "reason"])
    report = _Marks({*what.traces, *what.addresses()}).pruned(report)
    (staging / "report.json").write_bytes(orjson.dumps(remaining(report, what, ledger), option=orjson.OPT_INDENT_2))
    report = orjson.loads((staging / "report.json").read_bytes())
    files = sorted((staging / "data").glob("*.parquet"))
    columns = {f.name: str(f.type) for f in pq.read_schema(files[0])}
    (staging / "README.md").write_text(dataset_card(report, columns, staging / "data"), encoding="utf-8")
    write_croissant(staging, report)
    if (corpus / "variety.json").exists():
        from lamina.data.variety.measure import write_variety

        write_variety(staging, progress=open_progress("quiet"))


def remaining(report: dict[str, Any], what: Gone, ledger: pl.DataFrame) -> dict[str, Any]:
    """The corpus' report with the counts of what is left."""
    lost, steps = _told(ledger)
    for source, side, license, language, size in what.rows.select(
        "source", "split", "license", "language", "characters"
    ).iter_rows():
        half = "train" if side == "train" else "held_out"
        for counts in (report, report["sources"].get(source, {})):
            for key, number in (("documents", 1), (half, 1), ("characters", size or 0)):
                if key in counts:
                    counts[key] = max(0, counts[key] - number)
        for counts, value in ((report["licenses"], license), (report["languages"], language)):
            name = value or "unknown"
            counts[name] = counts.get(name, 0) - 1
            if counts[name] <= 0:
                counts.pop(name)
    for source, facts in report["sources"].items():
        facts["dropped"] = dict(lost.get(source, {}))
    reasons: dict[str, int] = {}
    for counts in lost.values():
        for reason, count in counts.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return report | {
        "dropped": dict(sorted(reasons.items(), key=lambda item: -item[1])),
        "steps": steps,
        "forgotten": report.get("forgotten", 0) + what.rows.height,
    }


def _told(ledger: pl.DataFrame) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Documents dropped by source and reason, and rows of the ledger by step and action: as the report has them."""
    import polars as pl

    gone = ledger.filter(pl.col("action").is_in(["drop", "duplicate"]))
    by_source = gone.group_by("source", reason=pl.coalesce("reason", "step")).len()
    by_step = ledger.group_by("step", "action").len()
    found: list[dict[str, dict[str, int]]] = [{}, {}]
    order = ([False, True, False], [False, False, False])
    for tables, frame, by, down in zip(
        found, (by_source, by_step), (["source", "len", "reason"], ["step", "action", "len"]), order, strict=True
    ):
        for outer, inner, count in frame.sort(by, descending=down).iter_rows():
            tables.setdefault(outer, {})[inner] = count
    return found[0], found[1]


def scrub(corpus: Path, ids: Sequence[str]) -> None:
    """Take the traces of ``ids`` out of a corpus that is being made: ledger, signals, samples."""
    if not ids:
        return
    for path in (
        corpus / "ledger.parquet",
        *sorted((corpus / "signals").glob("*.parquet")),
        corpus / "dropped.parquet",
    ):
        less = path.with_suffix(".less")
        if path.exists() and _without(path, less, frozenset(ids)) is not None:
            less.replace(path)


def holds(files: Sequence[Path], ids: frozenset[str] | set[str]) -> bool:
    """Whether a Parquet file with a column ``id`` has one of ``ids``."""
    return any(path.exists() and not ids.isdisjoint(ids_in(path)) for path in files)


def ids_in(path: Path) -> list[str]:
    """The column ``id`` of a Parquet file."""
    return list(pq.read_table(path, columns=["id"]).column("id").to_pylist())
