"""The ledger: one row for each decision on a document, so that it can be asked why something is there, or is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, LEDGER
from lamina.data.clean.frames import DETAIL, to_batch, to_frame
from lamina.data.edits import described
from lamina.data.parts import read_parts

if TYPE_CHECKING:
    import polars as pl

_GONE = ["drop", "duplicate"]  # actions that take a document away
_WATCHED = tuple(name for name in DOCUMENTS.names if name not in ("id", "text_hash", "split"))


def changes(before: pl.DataFrame, after: pl.DataFrame, step: str) -> pa.RecordBatch:
    """What a step did to the columns of a document: ``impute`` where it filled one, ``edit`` where it changed one.

    An edit of the text tells the characters before and after, the spans that changed (``data.edits``), and what the
    transform itself had to say.
    """
    import polars as pl

    found: list[pl.DataFrame] = []
    for name in _WATCHED:
        if name not in after.columns or before[name].equals(after[name]):
            continue
        pair = pl.DataFrame(
            {
                "id": before["id"],
                "source": before["source"],
                "old": before[name],
                "new": after[name],
                "told": after[DETAIL] if DETAIL in after.columns else pl.Series([None] * after.height, dtype=pl.String),
            }
        ).filter(pl.col("old").ne_missing(pl.col("new")))
        filled = pl.col("old").is_null()
        value = pl.lit(None, dtype=pl.String) if name == "text" else pl.col("new").cast(pl.String).str.head(200)
        found.append(
            pair.select(
                "id",
                "source",
                step=pl.lit(step),
                action=pl.when(filled).then(pl.lit("impute")).otherwise(pl.lit("edit")),
                reason=pl.lit(name),
                value=value,
                threshold=pl.lit(None, dtype=pl.String),
                detail=_text_details(pair["old"], pair["new"], pair["told"])
                if name == "text"
                else pl.lit(None, dtype=pl.String),
            )
        )
    return entries(pl.concat(found) if found else pl.DataFrame())


def _text_details(old: pl.Series, new: pl.Series, told: pl.Series) -> pl.Series:
    """Lengths, the spans that changed, and what the transform itself had to say. Edited texts only come here."""
    import polars as pl

    details: list[str] = []
    for before, after, words in zip(old, new, told, strict=True):  # matching two texts has no batch form
        detail = described(before or "", after or "")
        details.append(orjson.dumps(detail | ({"found": orjson.loads(words)} if words else {})).decode())
    return pl.Series("detail", details, dtype=pl.String)


def entries(frame: pl.DataFrame, **constants: str | None) -> pa.RecordBatch:
    """Ledger rows from a frame with some of the ledger's columns; ``constants`` fill others, the rest is null."""
    import polars as pl

    columns: list[pl.Expr] = []
    for name in LEDGER.names:
        if name in constants:
            columns.append(pl.lit(constants[name], dtype=pl.String).alias(name))
        elif name in frame.columns:
            columns.append(pl.col(name).cast(pl.String))
        else:
            columns.append(pl.lit(None, dtype=pl.String).alias(name))
    if not frame.width:
        frame = pl.DataFrame(schema={"id": pl.String})
        return to_batch(frame.select(pl.lit(None, dtype=pl.String).alias(n) for n in LEDGER.names).clear(), LEDGER)
    return to_batch(frame.select(columns), LEDGER)


def counted(ledger: Path) -> pl.DataFrame:
    """How many ``rows`` of a ledger tell the same: source, step, action, and the reason where documents went."""
    import polars as pl

    keys = ["source", "step", "action", "reason"]
    kinds = dict.fromkeys(keys, pl.String) | {"rows": pl.Int64}
    counts = pl.DataFrame(schema=kinds)
    for batch in read_parts([ledger], keys):  # a batch at a time: a ledger may be larger than memory
        why = pl.when(pl.col("action").is_in(_GONE)).then(pl.col("reason"))
        here = to_frame(batch).with_columns(reason=why).group_by(keys).agg(rows=pl.len().cast(pl.Int64))
        counts = pl.concat([counts, here]).group_by(keys).agg(pl.col("rows").sum())
    return counts


def dropped(ledger: pl.DataFrame) -> Mapping[str, Mapping[str, int]]:
    """For each source the documents dropped, by reason; ``ledger`` as ``counted`` gives it."""
    import polars as pl

    table = (
        ledger.filter(pl.col("action").is_in(_GONE))
        .with_columns(reason=pl.coalesce("reason", "step"))
        .group_by("source", "reason")
        .agg(len=pl.col("rows").sum())
        .sort("source", "len", "reason", descending=[False, True, False])
    )
    counts: dict[str, dict[str, int]] = {}
    for source, reason, count in table.iter_rows():
        counts.setdefault(source, {})[reason] = count
    return counts


def by_action(ledger: pl.DataFrame) -> dict[str, Any]:
    """Rows of the ledger by step and action; ``ledger`` as ``counted`` gives it."""
    import polars as pl

    table = ledger.group_by("step", "action").agg(pl.col("rows").sum()).sort("step", "action")
    steps: dict[str, dict[str, int]] = {}
    for step, action, count in table.iter_rows():
        steps.setdefault(step, {})[action] = count
    return steps
