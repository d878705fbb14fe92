"""Missing fields from the rest of the source: its most frequent value, or the middle of its dates and places.

    [[data.steps]]
    pass = "impute"
    fields = { license = "mode", created = "median" }
    [[data.steps]]
    transform = "take_imputed"

Imputed values stay marked: the column ``imputed_<field>`` holds what was filled in, and is null elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, Batches
from lamina.data.clean.frames import to_frame, with_columns
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

MARK = "imputed_"
Rule = Literal["mode", "median"]
_MODE = ("author", "language", "license", "rights", "title", "group_id")
_MEDIAN = ("created", "position")


@STEPS("impute", kind="pass", version=1)
def impute(
    batches: Batches, *, fields: dict[str, Rule], by: Literal["source", "group_id"] = "source", share: float = 0.5
) -> pa.Table:
    """Adds ``imputed_<field>`` for each of ``fields``, filled where the field is null.

    "mode": the most frequent value of the same source (or ``by`` group), if at least ``share`` of those that have one
    agree on it; "median": the middle one. Nothing is filled from a source where no document has a value.
    """
    _check(fields)
    wanted = list(dict.fromkeys(["id", "source", by, *fields]))
    import polars as pl

    frames = [to_frame(batch.select(wanted)) for batch in batches]
    empty = pl.from_arrow(DOCUMENTS.empty_table().select(wanted))
    assert isinstance(empty, pl.DataFrame)
    documents = pl.concat([empty, *frames], how="vertical_relaxed")
    values = [_value(name, rule, share).over(by).alias(f"_{name}") for name, rule in fields.items()]
    filled = documents.with_columns(values).select(
        "id",
        drop=pl.lit(None, dtype=pl.String),
        detail=pl.lit(None, dtype=pl.String),
        **{MARK + n: pl.when(pl.col(n).is_null()).then(pl.col(f"_{n}")) for n in fields},
    )
    types = {"id": pa.string(), "drop": pa.string(), "detail": pa.string()}
    types |= {MARK + name: DOCUMENTS.field(name).type for name in fields}
    table = filled.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.select(list(types)).cast(pa.schema(list(types.items())))


@STEPS("take_imputed", kind="transform", version=1)
def take_imputed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Puts what ``impute`` found into the fields that are null; the ledger has each."""
    import polars as pl

    names = [n.removeprefix(MARK) for n in batch.schema.names if n.startswith(MARK)]
    if not names:
        raise ConfigError(
            "there is nothing imputed to take", where="take_imputed", hint='put pass = "impute" before it'
        )
    frame = to_frame(batch.select([*names, *(MARK + n for n in names)]))
    filled = frame.select(pl.coalesce(n, MARK + n).alias(n) for n in names)
    return with_columns(batch, filled)


@STEPS("missing_fields", kind="signal", version=1)
def missing_fields(
    batch: pa.RecordBatch, *, fields: tuple[str, ...] = ("title", "author", "created", "license")
) -> pa.RecordBatch:
    """Adds ``missing_<field>`` (bool): the field is null here; later steps may fill it, the flag stays."""
    import polars as pl

    unknown = [name for name in fields if name not in DOCUMENTS.names]
    if unknown:
        raise ConfigError(f"there is no field '{unknown[0]}'", where="missing_fields", hint=", ".join(DOCUMENTS.names))
    frame = to_frame(batch.select(list(fields)))
    return with_columns(batch, frame.select(pl.col(n).is_null().alias(f"missing_{n}") for n in fields))


def _check(fields: dict[str, Rule]) -> None:
    for name, rule in fields.items():
        known = _MODE if rule == "mode" else _MEDIAN
        if name not in known:
            raise ConfigError(f"'{name}' has no {rule}", where="impute.fields", hint=f"{rule} of: {', '.join(known)}")


def _value(name: str, rule: Rule, share: float) -> pl.Expr:
    import polars as pl

    column = pl.col(name)
    if rule == "median":
        known = column.drop_nulls().sort()
        return known.gather(((known.len().cast(pl.Int64) - 1) // 2).clip(0), null_on_oob=True).first()
    best = column.drop_nulls().mode().sort().first()
    return pl.when((column == best).sum() >= share * column.count()).then(best)
