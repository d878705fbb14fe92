"""Columns in one form: BCP 47 languages, canonical URLs, SPDX licences, tidy names. Dates are UTC as they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pyarrow as pa

from lamina.data.clean.frames import to_frame, with_columns
from lamina.data.values import canonical_url, language_tag, spdx_license
from lamina.kit.registry import STEPS

Field = Literal["language", "url", "license", "title", "author"]
_FIELDS: tuple[Field, ...] = ("language", "url", "license", "title", "author")


@STEPS("fields", kind="transform", version=1)
def fields(batch: pa.RecordBatch, *, only: tuple[Field, ...] = _FIELDS) -> pa.RecordBatch:
    """Writes ``language``, ``url``, ``license``, ``title`` and ``author`` in one form; the ledger has each change.

    What has no known form stays as it is: nothing is lost.
    """
    frame = to_frame(batch.select(list(only)))
    forms: dict[str, Callable[[str], str]] = {
        "language": language_tag,
        "url": canonical_url,
        "license": spdx_license,
        "title": _tidy,
        "author": _tidy,
    }
    import polars as pl

    # Values repeat: each different one is looked at once.
    columns = []
    for name in only:
        known = frame[name].unique().drop_nulls()
        table = {value: forms[name](value) for value in known}
        columns.append(pl.col(name).replace(table) if table else pl.col(name))
    return with_columns(batch, frame.select(columns))


def _tidy(text: str) -> str:
    return " ".join(text.split())
