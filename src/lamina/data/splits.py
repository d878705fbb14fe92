"""Train and held-out: whole duplicate clusters fall on one side, by the hash of their name."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    if not 0 <= held_out < 1:
        raise ConfigError(f"{held_out} is no share from 0 to below 1", where="data.held_out")
    units = _units(documents)
    if held_out == 0 or units.height < 2:
        return units.select("id", split=pl.lit(TRAIN))
    if units["unit"].n_unique() < 2:
        units = units.with_columns(unit="id")  # one cluster: better a near neighbour held out than nothing
    clusters = units.select(pl.col("unit").unique(maintain_order=True))
    draw = [int(blake3_hex("split", unit)[:13], 16) / 16**13 for unit in clusters["unit"]]  # blake3 has no batch call
    clusters = clusters.with_columns(draw=pl.Series(draw, dtype=pl.Float64)).sort("draw", "unit")
    chosen = (clusters["draw"] < held_out).sum()
    chosen = min(max(int(chosen), 1), clusters.height - 1)
    sides = [HELD_OUT] * chosen + [TRAIN] * (clusters.height - chosen)
    return units.join(clusters.with_columns(split=pl.Series(sides)), on="unit", how="left").select("id", "split")


def _units(documents: pl.DataFrame) -> pl.DataFrame:
    """Each document with the name of what it must stay together with."""
    import polars as pl

    own = pl.coalesce("duplicate_cluster", "id") if "duplicate_cluster" in documents.columns else pl.col("id")
    units = documents.select("id", "parent_id", unit=own)
    parents = units.select(parent_id="id", parent_unit="unit")
    joined = units.join(parents, on="parent_id", how="left", maintain_order="left")
    return joined.select("id", unit=pl.coalesce("parent_unit", "parent_id", "unit"))
