"""Which documents a person should label next: those of which a classifier from the labels so far is least sure, and
that are unlike each other; while there are too few labels, some of every source, kept ones and dropped ones by rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.clean.labels import Label
from lamina.data.clean.quality_features import Features, features
from lamina.data.clean.quality_training import FEWEST, RARER, Trained, train
from lamina.data.units import SAMPLE_CHARACTERS

if TYPE_CHECKING:
    import polars as pl

POOL = 10_000  # documents that are looked at, of the kept and of the dropped ones
_NEAR = 6  # so many times the wanted ones are chosen from, the least sure ones


def propose(corpus: Path, labels: Sequence[Label], count: int) -> tuple[list[dict[str, Any]], Trained | None]:
    """Rows for a file of labels ("id", "source", "text", "keep": null, "why"), and the classifier if there is one.

    ``labels`` have texts. The same corpus and labels give the same rows.
    """
    pool = _pool(corpus, labels)
    enough = len(labels) >= FEWEST and min(s := sum(x.keep for x in labels), len(labels) - s) >= RARER
    if not enough:
        return _spread(pool, count), None
    model = train(labels)
    if not pool.height:
        return [], model
    found = features(pool["text"].to_list())
    sure = model.probabilities(found)
    near = np.argsort(np.abs(sure - 0.5), kind="stable")[: _NEAR * count]
    chosen = near[_apart(features([pool["text"][int(row)] for row in near]), count)]
    rows = pool[chosen.tolist()].to_dicts()
    why = [f"probability to keep {sure[row]:.2f}" for row in chosen]
    return [_row(row, f"{words}; {row['why']}") for row, words in zip(rows, why, strict=True)], model


def _pool(corpus: Path, labels: Sequence[Label]) -> pl.DataFrame:
    """Candidates: id, source, text, why (kept, or which rule dropped it); ids are hashes, so the first are a draw."""
    import polars as pl

    kept = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet"))).filter(pl.col("parent_id").is_null())
    first = kept.select("id").sort("id").head(POOL).collect()
    texts = kept.select("id", "source", text=pl.col("text").str.head(SAMPLE_CHARACTERS), why=pl.lit("kept"))
    frames = [texts.filter(pl.col("id").is_in(first["id"].implode())).collect()]
    if (corpus / "dropped.parquet").exists():
        dropped = pl.scan_parquet(corpus / "dropped.parquet").filter(
            pl.col("step").str.contains(" decide ", literal=True)
        )
        rows = dropped.select("id", "source", "text", why=pl.lit("dropped: ") + pl.col("reason")).sort("id").head(POOL)
        frames.append(rows.collect())
    known = pl.Series([x.id for x in labels if x.id], dtype=pl.String)
    told = pl.Series([(x.text or "")[:SAMPLE_CHARACTERS] for x in labels], dtype=pl.String)
    pool = pl.concat(frames).unique("id", keep="first").filter(pl.col("text").is_not_null())
    return pool.filter(~pl.col("id").is_in(known.implode()) & ~pl.col("text").is_in(told.implode())).sort("id")


def _spread(pool: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    """Kept and dropped documents in equal numbers, in turn of every source and every rule."""
    import polars as pl

    ranked = pool.with_columns(
        kept=pl.col("why") == "kept", turn=pl.col("id").rank("ordinal").over("why", "source")
    ).sort("turn", "why", "source")
    sides = [ranked.filter("kept"), ranked.filter(~pl.col("kept"))]
    halves = [count - min(count // 2, sides[1].height), count - min(count // 2, sides[0].height)]
    rows = pl.concat([side.head(half) for side, half in zip(sides, halves, strict=True)]).head(count)
    return [_row(row, row["why"]) for row in rows.sort("id").to_dicts()]


def _apart(found: Features, count: int) -> list[int]:
    """Rows unlike each other, from the first on: each next one is the least like those that are chosen already."""
    likeness = found.likeness()
    chosen = [0] if len(found) else []
    while len(chosen) < min(count, len(found)):
        nearest = likeness[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
    return chosen


def _row(row: dict[str, Any], why: str) -> dict[str, Any]:
    return {"id": row["id"], "source": row["source"], "text": row["text"], "keep": None, "why": why}
