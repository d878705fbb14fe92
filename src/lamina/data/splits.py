"""Train and held-out: whole duplicate clusters fall on one side, by the hash of their name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.clean.frames import to_frame
from lamina.data.parts import read_parts
from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex

if TYPE_CHECKING:
    import polars as pl

TRAIN, HELD_OUT = "train", "held-out"


def assign(documents: pl.DataFrame, held_out: float) -> pl.DataFrame:
    """``id`` and ``split`` for each row of ``documents`` (columns id, parent_id and, if known, duplicate_cluster).

    A cluster is held out when its hash, as a number from 0 to 1, lies below ``held_out``: a document added later moves
    no other. An augmented row goes with its parent. With two documents or more, and a share above 0, each side gets
    at least one.
    """
    import polars as pl

    sides = _sides(_draws(_units(documents)), _draws(documents["id"]), held_out)
    return documents.select("id", split=pl.Series(sides, dtype=pl.Boolean)).with_columns(split=_named("split"))


def split(files: Sequence[Path], held_out: float) -> pl.DataFrame:
    """``split`` (as ``assign`` has it), source, language, license and characters of the documents in Parquet files, in
    their order: 50 bytes a document in memory, whatever their texts.
    """
    import polars as pl

    names = set(pq.read_schema(files[0]).names) if files else set()
    keys = [name for name in ("id", "parent_id", "duplicate_cluster") if name in names]
    facts: list[pl.DataFrame] = []
    draws: list[NDArray[np.float64]] = []
    alone: list[NDArray[np.float64]] = []
    children = False
    for batch in read_parts(files, [*keys, "source", "license", "language", "text"]):
        frame = to_frame(batch)
        children = children or frame["parent_id"].null_count() < frame.height
        clusters = frame["duplicate_cluster"] if "duplicate_cluster" in keys else frame["id"]
        draws.append(_draws(clusters.fill_null(frame["id"])))
        alone.append(_draws(frame["id"]) if "duplicate_cluster" in keys else draws[-1])
        facts.append(
            frame.select(
                pl.col("source", "license").cast(pl.Categorical),
                "language",
                characters=pl.col("text").str.len_chars().cast(pl.Int64),
            )
        )
    kinds = {"source": pl.Categorical, "license": pl.Categorical, "language": pl.String, "characters": pl.Int64}
    found = pl.concat([pl.DataFrame(schema=kinds), *facts])
    if children:  # whose parent stands anywhere
        sides = assign(pl.concat([to_frame(batch) for batch in read_parts(files, keys)]), held_out)["split"]
        return found.with_columns(split=sides.cast(pl.Categorical))
    none = np.zeros(0)
    held = _sides(np.concatenate([none, *draws]), np.concatenate([none, *alone]), held_out)
    return found.with_columns(split=pl.Series(held, dtype=pl.Boolean)).with_columns(
        split=_named("split").cast(pl.Categorical)
    )


def _named(column: str) -> pl.Expr:
    import polars as pl

    return pl.when(column).then(pl.lit(HELD_OUT)).otherwise(pl.lit(TRAIN))


def _draws(names: Iterable[str]) -> NDArray[np.float64]:
    """The hash of each name as a number from 0 to 1."""
    # blake3 has no batch call
    return np.fromiter((int(blake3_hex("split", name)[:13], 16) / 16**13 for name in names), np.float64)


def _sides(clusters: NDArray[np.float64], alone: NDArray[np.float64], held_out: float) -> NDArray[np.bool_]:
    """Which rows are held out, by the draws of their clusters; ``alone``: their own, where there is but one cluster."""
    if not 0 <= held_out < 1:
        raise ConfigError(f"{held_out} is no share from 0 to below 1", where="data.held_out")
    if held_out == 0 or len(clusters) < 2:
        return np.zeros(len(clusters), bool)
    if clusters.min() == clusters.max():
        clusters = alone  # one cluster: better a near neighbour held out than nothing
    held = clusters < held_out
    if not held.any():
        held = clusters == clusters.min()
    elif held.all():
        held = clusters != clusters.max()
    return np.asarray(held)


def _units(documents: pl.DataFrame) -> pl.Series:
    """For each document the name of what it must stay together with."""
    import polars as pl

    own = pl.coalesce("duplicate_cluster", "id") if "duplicate_cluster" in documents.columns else pl.col("id")
    units = documents.select("id", "parent_id", unit=own)
    parents = units.select(parent_id="id", parent_unit="unit").unique("parent_id", keep="first", maintain_order=True)
    joined = units.join(parents, on="parent_id", how="left", maintain_order="left")
    return joined.select(unit=pl.coalesce("parent_unit", "parent_id", "unit"))["unit"]
