"""Augmenting a corpus that is split: children of its training documents, made in units on workers, cut to the budget.

{work}/held-out.npy     runs of words of what is held out
{work}/settled.json     the operations as they are run: which translator for which language, and why
{work}/unit-000000/     children of one unit of training documents; a killed run goes on with those not there
{work}/children/        what the budget takes: children.parquet, ledger.parquet, report.json
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.augment.apply import Tally
from lamina.data.augment.choose import settle
from lamina.data.augment.plan import (
    MAX_SHARE,
    Operation,
    Placed,
    budget,
    check_share,
    keep_share,
    plan_augment,
)
from lamina.data.augment.samples import sample
from lamina.data.augment.similar import HeldOut
from lamina.data.augment.tags import primary
from lamina.data.parts import PartWriter, ledger_writer, read_parts
from lamina.data.units import units_of
from lamina.kit.durable import atomic_write, is_published, publish
from lamina.kit.identity import blake3_hex

if TYPE_CHECKING:
    import polars as pl

#: Runs a function over every unit that is not done; returns the units' folders.
Run = Callable[[str, Sequence[Mapping[str, Any]], str], list[Path]]
_LANGUAGES = 10  # the commonest ones, for which translators are tried ...
_LEAST = 0.01  # ... where this share of the documents is in them
_SAMPLED = 20_000  # characters on which they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """``[[data.augment]]`` and ``[data.augmentation]``, with the places of what they name (see ``plan_augment``).

    ``own``: where the stack's own model is served. ``thesauri``: a folder in which read thesauri are kept.
    """

    tables: Sequence[Mapping[str, Any]] = ()
    places: Mapping[str, Placed] | None = None
    max_share: float = MAX_SHARE
    seed: int = 0
    own: str = ""
    thesauri: Path | None = None

    def operations(self, work: Path | None = None) -> tuple[Operation, ...]:
        """Checked, with thesauri read. Raises ``ConfigError``."""
        check_share(self.max_share)
        return plan_augment(self.tables, places=self.places, work=self.thesauri or work)

    def key(self) -> str:
        """What decides the children beside the documents."""
        files = {name: place.sha256 for name, place in (self.places or {}).items()}
        told = [[dict(t) for t in self.tables], files, self.max_share, self.seed]
        return blake3_hex(orjson.dumps(told))[:16]


def augment_corpus(
    train: Sequence[Path],
    held_out: Sequence[Path],
    work: Path,
    run: Run,
    *,
    documents: pl.DataFrame,
    augmentation: Augmentation,
    operations: Sequence[Operation],
) -> Path:
    """The folder ``work``/children for the documents in the Parquet files ``train``; none is close to one in those of
    ``held_out``. ``documents``: source, language, split and characters of each document.
    """
    done = work / "children"
    if is_published(done):
        return done
    work.mkdir(parents=True, exist_ok=True)
    characters, reach = reached(documents)
    settled, translators = _settled(train, work, operations, documents, augmentation.own)
    payload = {
        "operations": [o.json() for o in settled],
        "seed": augmentation.seed,
        "keep": keep_share(characters, settled, augmentation.max_share, reach=reach),
        "held_out": _held_out(held_out, work),
    }
    units = [
        {"unit": unit, "folder": str(work / f"unit-{number:06d}"), **payload}
        for number, unit in enumerate(units_of(train))
    ]
    folders = run("lamina.data.augment.apply:augment_unit", units, "augment")
    with publish(done) as staging:
        kept = gather(folders, staging, characters=characters, max_share=augmentation.max_share)
        told = _told(operations, tallied(folders), kept)
        report = {
            "max_share": augmentation.max_share,
            "seed": augmentation.seed,
            "documents": int((documents["split"] == "train").sum()),
            "characters": characters,
            "budget": budget(characters, augmentation.max_share),
            "children": kept["children"],
            "children_characters": kept["characters"],
            "over_budget": kept["over_budget"],
            "operations": told,
            "translators": translators,
        }
        (staging / "report.json").write_bytes(orjson.dumps(report))
    return done


def reached(documents: pl.DataFrame) -> tuple[int, Callable[[Operation], int]]:
    """The characters of all training documents, and how many of them an operation is meant for."""
    import polars as pl

    train = documents.filter(pl.col("split") == "train")
    groups = train.group_by("source", "language").agg(pl.col("characters").sum()).rows(named=True)

    def reach(operation: Operation) -> int:
        return sum(int(group["characters"]) for group in groups if operation.fits(group["source"], group["language"]))

    return int(train["characters"].sum()), reach


def _settled(
    train: Sequence[Path], work: Path, operations: Sequence[Operation], documents: pl.DataFrame, own: str
) -> tuple[list[Operation], list[dict[str, Any]]]:
    """What ``choose.settle`` found, once for all runs of this work: a translator may answer otherwise tomorrow."""
    file = work / "settled.json"
    if not file.is_file():
        settled, told = settle_on(train, operations, languages_of(documents), own)
        atomic_write(file, orjson.dumps({"operations": [o.json() for o in settled], "translators": told}))
    found = orjson.loads(file.read_bytes())
    return [Operation.of(values) for values in found["operations"]], found["translators"]


def settle_on(
    train: Sequence[Path], operations: Sequence[Operation], languages: Sequence[str], own: str
) -> tuple[list[Operation], list[dict[str, Any]]]:
    """``choose.settle`` on texts of the training documents."""

    def samples(operation: Operation, language: str) -> list[str]:
        def fits(row: Mapping[str, Any]) -> bool:
            return operation.fits(row["source"], row["language"]) and primary(row["language"]) == language

        return [row["text"] for row in sample(train, characters=_SAMPLED, fits=fits)]

    return settle(operations, languages=languages, samples=samples, own=own)


def languages_of(documents: pl.DataFrame) -> list[str]:
    """The languages of the training documents, the commonest first, without those that hardly occur."""
    import polars as pl

    known = documents.filter((pl.col("split") == "train") & pl.col("language").is_not_null())
    tag = pl.col("language").str.to_lowercase().str.replace_all("_", "-").str.split("-").list.first()
    table = known.select(tag.alias("language"))["language"].value_counts().sort("count", "language", descending=True)
    rows = table.head(_LANGUAGES).rows()
    return [str(name) for name, count in rows if count >= _LEAST * known.height]


def _held_out(files: Sequence[Path], work: Path) -> str | None:
    """The file of the held-out texts' runs, made once."""
    if not files:
        return None
    place = work / "held-out"
    if not is_published(place):
        with publish(place) as staging:
            HeldOut.of(_texts(files)).save(staging / "runs.npy")
    return str(place / "runs.npy")


def _texts(files: Sequence[Path]) -> Iterator[str]:
    for batch in read_parts(files, ["text"]):
        yield from (text for text in batch.column("text").to_pylist() if text)


def gather(units: Sequence[Path], out: Path, *, characters: int, max_share: float) -> dict[str, Any]:
    """Put the units' children together in ``out``/children.parquet and ledger.parquet, as many as the budget allows.

    ``characters``: of all training documents. Returns children, characters, ``over_budget`` and ``labels``, the
    children and characters of each operation.
    """
    ids: list[str] = []
    sizes: list[int] = []
    for batch in read_parts([unit / "children.parquet" for unit in units], ["id", "text"]):
        ids.extend(batch.column("id").to_pylist())
        sizes.extend(pc.utf8_length(batch.column("text")).to_pylist())
    order = np.argsort(np.array(ids, dtype=str), kind="stable") if ids else np.zeros(0, np.int64)
    total = np.cumsum(np.array(sizes, np.int64)[order])
    taken = int(np.searchsorted(total, budget(characters, max_share), side="right"))
    limit = ids[order[taken - 1]] if taken else ""
    schema = pq.read_schema(units[0] / "children.parquet") if units else DOCUMENTS
    with PartWriter(out / "children.parquet", schema) as children, ledger_writer(out) as ledger:
        for batch in read_parts([unit / "children.parquet" for unit in units]):
            children.write(_until(batch, limit))
        labels: Counter[str] = Counter()
        for batch in read_parts([unit / "ledger.parquet" for unit in units]):
            rows = _until(batch, limit)
            labels.update(step.removeprefix("augment ") for step in rows.column("step").to_pylist())
            ledger.write(rows)
    kept = int(total[taken - 1]) if taken else 0
    return {"children": taken, "characters": kept, "over_budget": len(ids) - taken, "labels": dict(labels)}


def _until(batch: pa.RecordBatch, limit: str) -> pa.RecordBatch:
    """The rows whose id is at most ``limit``."""
    return batch.filter(pc.less_equal(batch.column("id"), limit))


def tallied(units: Sequence[Path]) -> dict[str, Tally]:
    """The units' counts together."""
    tallies: dict[str, Tally] = {}
    for unit in units:
        for label, counts in orjson.loads((unit / "counts.json").read_bytes()).items():
            tallies.setdefault(label, Tally()).add(counts)
    return tallies


def _told(
    operations: Sequence[Operation], tallies: Mapping[str, Tally], kept: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """For the report: what became of each table."""
    return [
        {
            "operation": o.label,
            "use": o.use,
            "copies": o.copies,
            "parameters": dict(o.told),
            **tallies.get(o.label, Tally()).json(),
            "kept": kept["labels"].get(o.label, 0),
        }
        for o in operations
    ]
