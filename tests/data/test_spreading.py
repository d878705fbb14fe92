"""What a pass says of documents is found by their ids, whatever the order in which it says it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.parts import PartWriter
from lamina.data.spreading import spread
from lamina.data.units import units_of

SAID = pa.schema([("id", pa.string()), ("score", pa.int64())])


@pytest.fixture
def spread_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``spread_out(ids, table)``: the rows of each unit's file."""
    monkeypatch.setattr("lamina.data.units.LEAST", 16)
    monkeypatch.setattr("lamina.data.parts.ROWS", 16)

    def run(ids: list[str], table: pa.Table) -> tuple[list[list[str]], list[list[dict[str, Any]]]]:
        file = tmp_path / "documents.parquet"
        with PartWriter(file, DOCUMENTS, group=16) as out:
            out.write(pa.RecordBatch.from_pylist([{"id": i, "source": "s"} for i in ids], schema=DOCUMENTS))
        units = units_of([file])
        spread(table, units, tmp_path)
        files = [tmp_path / f"{n:06d}.parquet" for n in range(len(units))]
        ends = [sum(u["rows"] for u in units[: n + 1]) for n in range(len(units))]
        parts = [ids[end - u["rows"] : end] for end, u in zip(ends, units, strict=True)]
        tables = [pq.read_table(f) for f in files]
        assert all(t.schema.equals(table.schema) for t in tables)
        return parts, [t.to_pylist() for t in tables]

    return run


def said(ids: list[str]) -> pa.Table:
    return pa.Table.from_pylist([{"id": i, "score": int(i[1:])} for i in ids], schema=SAID)


def test_each_unit_gets_its_own(spread_out: Any) -> None:
    ids = [f"d{n}" for n in range(100)]
    mixed = random.Random(3).sample([i for i in ids if i != "d40"], 99)
    parts, found = spread_out(ids, said([*mixed, "d900"]))
    assert len(parts) == 7
    for part, rows in zip(parts, found, strict=True):
        assert [(r["id"], r["score"]) for r in rows] == [(i, int(i[1:])) for i in part if i != "d40"]


def test_an_id_that_stands_twice_and_a_pass_that_says_nothing(spread_out: Any) -> None:
    _, found = spread_out(["d1", "d1", *[f"d{n}" for n in range(2, 20)]], said(["d1"]))
    assert [r["id"] for rows in found for r in rows] == ["d1"]
    _, found = spread_out(["d1", "d2"], said([]))
    assert found == [[]]


def test_ids_of_one_hash_are_told_apart(spread_out: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pl.Series, "hash", lambda self, seed: pl.Series([n % 2 for n in range(len(self))], dtype=pl.UInt64)
    )
    ids = [f"d{n}" for n in range(40)]
    parts, found = spread_out(ids, said(ids[::-1]))
    assert [[r["id"] for r in rows] for rows in found] == parts
