"""Documents that hold items of an evaluation set: a model that learned them would be judged on what it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import Batches
from lamina.data.clean.frames import with_warnings
from lamina.data.duplicates.items import Item, Items, Rule, read_items, words_of_texts
from lamina.data.duplicates.sketch import utf8
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

RESULT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("contamination", pa.float64()),
        pa.field("drop", pa.string()),
        pa.field("detail", pa.string()),
    ]
)


@STEPS("decontaminate", kind="pass", version=1)
def decontaminate(
    batches: Batches,
    *,
    sets: tuple[str, ...],
    rule: Literal["coverage", "ngram"] = "coverage",
    n: int | None = None,
    threshold: float = 0.8,
    answers: Literal["near", "ignore"] = "near",
    window: int = 50,
) -> pa.Table:
    """Drops documents that hold items of ``sets`` (files: JSONL, Parquet, or text with an item a line), with the set,
    the item and the score as evidence; ``contamination`` is the highest score of a document, 0 where nothing was found.

    ``rule = "coverage"``: the item's n-grams (5 words) in one passage, weighted by how few items have them, over those
    of the whole item, reach ``threshold`` for items of 50 words and more; 1, every one of them, up to 20 words; between
    on a line. Where the item has answers, one must stand within ``window`` words of the passage (``answers =
    "ignore"``: it need not). ``rule = "ngram"``: one shared n-gram (13 words) of the question is enough, as for GPT-3
    (Brown et al. 2020). Items of fewer than ``n`` words cannot be looked for; a warning counts them.
    """
    if not 0 < threshold <= 1 or window < 0 or (n is not None and n < 1):
        raise ConfigError(
            f"threshold = {threshold} is above 0, up to 1; n = {n} and window = {window} are whole numbers"
        )
    size = n or {"coverage": 5, "ngram": 13}[rule]
    near = rule == "coverage" and answers == "near"
    told = Rule(name=rule, n=size, threshold=threshold, window=window, near=near)
    items = [item for path in sets for item in read_items(Path(path))]
    units: list[Path] = []
    if items:
        batches.work.mkdir(parents=True, exist_ok=True)
        place = batches.work / "items.json"
        place.write_bytes(orjson.dumps(items))
        units = batches.map("lamina.data.clean.decontaminate:find", {"items": str(place), "rule": asdict(told)})
    found = [pq.read_table(folder / "found.parquet", schema=RESULT) for folder in units]
    table = _once(pa.concat_tables([RESULT.empty_table(), *found]))
    short = Items(items, told).too_short if units else 0
    said = f"{short:,} of {len(items):,} evaluation items have fewer than {size} words and were not looked for"
    return with_warnings(table, [said] if short else [])


def find(batches: Iterable[pa.RecordBatch], folder: Path, payload: Mapping[str, Any]) -> None:
    """Write the verdict on each document of a unit. ``payload``: items (a file), rule."""
    rows = orjson.loads(Path(payload["items"]).read_bytes())
    items = Items([Item(**{**row, "answers": tuple(row["answers"])}) for row in rows], Rule(**payload["rule"]))
    with pq.ParquetWriter(folder / "found.parquet", RESULT, compression="zstd") as out:
        for batch in batches:
            evidence = _evidence(batch, items)
            scores = [evidence[i]["score"] if i in evidence else 0.0 for i in range(batch.num_rows)]
            drop = ["evaluation item" if i in evidence else None for i in range(batch.num_rows)]
            detail = [orjson.dumps(evidence[i]).decode() if i in evidence else None for i in range(batch.num_rows)]
            columns = [batch.column("id").cast(pa.string()), pa.array(scores, pa.float64()), drop, detail]
            out.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, RESULT, strict=True)], RESULT))


def _evidence(batch: pa.RecordBatch, items: Items) -> dict[int, dict[str, Any]]:
    """The best evidence against each row. A loop over suspects: there are few, and each is looked at closely."""
    found: dict[int, dict[str, Any]] = {}
    texts = batch.column("text")
    for row, item in items.suspects(*utf8(texts)).tolist():
        words, _ = words_of_texts([texts[row].as_py() or ""])
        evidence = items.judge(words, item)
        if evidence is not None and (row not in found or evidence["score"] > found[row]["score"]):
            found[row] = evidence
    return found


def _once(table: pa.Table) -> pa.Table:
    """One row for each id: steps join by it, so what shares an id goes or stays together; it stays."""
    import polars as pl

    frame = pl.DataFrame(table)
    if not frame["id"].is_duplicated().any():
        return table
    kept = frame.sort("id", "contamination", nulls_last=True).unique("id", keep="first", maintain_order=True)
    return kept.to_arrow().cast(RESULT)
