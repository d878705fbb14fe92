"""What augmentation would do to a corpus: tried on some of its training documents, nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from lamina.data.augment.apply import Child, Tally, family, last_id
from lamina.data.augment.corpus import Augmentation, languages_of, reached, settle_on
from lamina.data.augment.plan import Operation, budget, keep_share
from lamina.data.augment.samples import sample
from lamina.data.augment.similar import HeldOut
from lamina.data.augment.telling import excerpt, left_out
from lamina.data.augment.trials import HELD_OUT_CHARACTERS
from lamina.kit.errors import InputError

if TYPE_CHECKING:
    import polars as pl

_CHARACTERS = 500_000  # of the documents that are looked at
_DOCUMENTS = 1000
_SHOWN = 2  # children of an operation
_COLUMNS = ("id", "text", "source", "language")


def preview(corpus: Path, augmentation: Augmentation, operations: Sequence[Operation]) -> dict[str, Any]:
    """What ``operations`` would make of a built corpus: counts on a sample and for the whole, the budget, why children
    are left out and sentences stay as they are, texts before and after.

    Children that the corpus has are left aside. Raises ``InputError`` where there is no training document.
    """
    files = {name: sorted((corpus / "data").glob(f"{name}-*.parquet")) for name in ("train", "held_out")}
    documents = _documents(files["train"])
    rows = sample(files["train"], characters=_CHARACTERS, documents=_DOCUMENTS)
    if not rows:
        raise InputError("this corpus has no training document", where=str(corpus))
    characters, reach = reached(documents)
    settled, translators = settle_on(files["train"], operations, languages_of(documents), augmentation.own)
    held_out = HeldOut.of(row["text"] for row in sample(files["held_out"], characters=HELD_OUT_CHARACTERS))
    tallies: dict[str, Tally] = {}
    batch = pa.RecordBatch.from_pydict({n: pa.array([row.get(n) for row in rows], pa.string()) for n in _COLUMNS})
    made = list(family(batch, settled, seed=augmentation.seed, limit=last_id(1.0), held_out=held_out, tallies=tallies))
    keep = keep_share(characters, settled, augmentation.max_share, reach=reach)
    scale = documents.height / len(rows)
    return {
        "sampled": len(rows),
        "documents": documents.height,
        "characters": characters,
        "max_share": augmentation.max_share,
        "budget": budget(characters, augmentation.max_share),
        "keep": keep,
        "seed": augmentation.seed,
        "translators": translators,
        "operations": [
            {"parameters": {k: v for k, v in table.items() if k != "use"}}
            | _told(o, tallies.get(o.label, Tally()), made, rows, scale, keep)
            for o, table in zip(operations, augmentation.tables, strict=True)
        ],
    }


def _documents(files: Sequence[Path]) -> pl.DataFrame:
    """source, language, split and characters of the training documents that are no children."""
    import polars as pl

    scan = pl.scan_parquet(list(files)).filter(pl.col("parent_id").is_null())
    size = pl.col("text").str.len_chars().cast(pl.Int64)
    return scan.select("source", "language", "split", characters=size).collect()


def _told(
    operation: Operation,
    tally: Tally,
    made: Sequence[Child],
    rows: Sequence[Mapping[str, Any]],
    scale: float,
    keep: float,
) -> dict[str, Any]:
    own = [child for child in made if child.operation.label == operation.label]
    shown = [
        excerpt(rows[child.row]["text"], orjson.loads(child.detail).get("edits", ()))
        for child in sorted(own, key=lambda child: child.id)[:_SHOWN]
    ]
    return {
        "operation": operation.label,
        **tally.json(),
        "of_all": round(tally.children * scale),
        "within_budget": round(tally.children * scale * keep),
        "samples": [{"before": before, "after": after} for before, after in shown],
    }


def describe(told: Mapping[str, Any]) -> str:
    """The preview in words, for a terminal."""
    lines = [
        f"{told['sampled']:,} of {told['documents']:,} training documents were looked at, seed {told['seed']}; nothing"
        " was kept",
        f"budget: {told['budget']:,} characters, so that children make up at most {told['max_share']:.0%} of the"
        f" training characters: {told['keep']:.0%} of what could be made",
    ]
    lines += [f"{r['operation']} {r['language']}-{r['pivot']}: {'; '.join(r['reasons'])}" for r in told["translators"]]
    for operation in told["operations"]:
        values = ", ".join(f"{key} = {value}" for key, value in operation["parameters"].items())
        lines += [
            "",
            operation["operation"] + (f" ({values})" if values else ""),
            f"  {operation['children']:,} children; of all documents about {operation['of_all']:,},"
            f" within the budget about {operation['within_budget']:,}",
        ]
        why = left_out(operation)
        lines += [f"  left out: {why}"] if why else []
        for pair in operation["samples"]:
            lines += [f"  - {pair['before']}", f"  + {pair['after']}"]
    return "\n".join(lines)
