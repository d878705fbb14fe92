from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.impute import impute, missing_fields, take_imputed
from lamina.kit.errors import ConfigError


class Seen(list[pa.RecordBatch]):
    work = Path()

    def map(self, function: str, payload: Any) -> list[Path]:
        return []


def rows(**columns: list[Any]) -> pa.RecordBatch:
    count = len(next(iter(columns.values())))
    given = {"id": [str(i) for i in range(count)], "source": ["s"] * count} | columns
    arrays = [pa.array(given.get(f.name, [None] * count), f.type) for f in DOCUMENTS]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)


def day(n: int) -> datetime:
    return datetime(2020, 1, n, tzinfo=UTC)


def test_the_mode_of_the_source_fills_what_is_missing_there_and_is_marked() -> None:
    batch = rows(source=["a", "a", "a", "b"], license=["MIT", "MIT", None, None])
    found = impute(Seen([batch.slice(0, 2), batch.slice(2)]), fields={"license": "mode"})
    assert found.column("imputed_license").to_pylist() == [None, None, "MIT", None]
    joined = pa.RecordBatch.from_arrays(
        [*batch.columns, found.column("imputed_license").combine_chunks()],
        names=[*batch.schema.names, "imputed_license"],
    )
    assert take_imputed(joined).column("license").to_pylist() == ["MIT", "MIT", "MIT", None]


def test_a_mode_that_few_agree_on_is_none() -> None:
    batch = rows(author=["A", "B", "C", None])
    assert impute(Seen([batch]), fields={"author": "mode"}).column("imputed_author").to_pylist() == [None] * 4
    loose = impute(Seen([batch]), fields={"author": "mode"}, share=0.3)
    assert loose.column("imputed_author").to_pylist()[3] == "A"


def test_the_median_is_a_value_that_occurs() -> None:
    batch = rows(created=[day(9), None, day(1), day(2), day(8)], position=[4, None, 1, 2, 9])
    found = impute(Seen([batch]), fields={"created": "median", "position": "median"})
    assert found.column("imputed_created").to_pylist()[1] == day(2)
    assert found.column("imputed_position").to_pylist() == [None, 2, None, None, None]


def test_no_documents_still_have_columns_and_what_cannot_be_is_refused() -> None:
    assert impute(Seen(), fields={"created": "median"}).schema.names == ["id", "drop", "detail", "imputed_created"]
    with pytest.raises(ConfigError, match="'text' has no mode"):
        impute(Seen(), fields={"text": "mode"})
    with pytest.raises(ConfigError, match="nothing imputed"):
        take_imputed(rows(text=["a"]))


def test_a_flag_stays_when_the_field_is_filled() -> None:
    flagged = missing_fields(rows(title=["T", None]), fields=("title",))
    assert flagged.column("missing_title").to_pylist() == [False, True]
    with pytest.raises(ConfigError, match="'colour'"):
        missing_fields(rows(title=["T"]), fields=("colour",))
