"""An id is given once, whatever the units: as if all documents had been gone through one by one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS, LEDGER
from lamina.data import repeats
from lamina.data.executors import Local
from lamina.data.parts import PartWriter
from lamina.kit.durable import publish
from lamina.kit.identity import document_id

Rows = list[tuple[str, str]]  # id, text_hash


def write(folder: Path, units: list[Rows]) -> list[Path]:
    places = []
    for number, rows in enumerate(units):
        places.append(folder / f"{number:06d}")
        with publish(places[-1]) as staging, PartWriter(staging / "documents.parquet", DOCUMENTS) as out:
            told = [{"id": id, "text": mark, "text_hash": mark, "source": "s"} for id, mark in rows]
            out.write(pa.RecordBatch.from_pylist(told, schema=DOCUMENTS))
    return places


def read(units: list[Path]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    documents: list[Any] = []
    ledger: list[Any] = []
    for unit in units:
        documents += pq.read_table(unit / "documents.parquet").select(["id", "text"]).to_pylist()
        if (unit / "ledger.parquet").exists():
            table = pq.read_table(unit / "ledger.parquet")
            assert table.schema == LEDGER
            ledger += table.to_pylist()
    return [(d["id"], d["text"]) for d in documents], [(e["id"], e["action"], e["reason"]) for e in ledger]


def one_by_one(units: list[Rows]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    first: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    kept, told = [], []
    for id, mark in (row for rows in units for row in rows):
        name = id if first.setdefault(id, mark) == mark else document_id(id, mark)
        again = (id, mark) in seen
        seen.add((id, mark))
        if again:
            told.append((name, "duplicate", "same id and text"))
        elif name != id:
            told.append((name, "edit", f"id {id} was taken"))
        if not again:
            kept.append((name, mark))
    return kept, told


@pytest.mark.parametrize("together", [7, 1 << 20])
def test_as_if_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr(repeats, "TOGETHER", together)
    monkeypatch.setattr("lamina.data.parts.ROWS", 16)
    draw = random.Random(5)
    units = [[(f"d{draw.randrange(120)}", f"t{draw.randrange(3)}") for _ in range(n)] for n in (40, 0, 3, 90)]
    places = write(tmp_path, units)
    settled = repeats.settle(places, tmp_path / "settled", Local(1))
    assert read(settled) == one_by_one(units)
    assert settled[1] == places[1]  # what has no repeat stays as it is
    assert not (tmp_path / "settled" / "found").exists()


def test_nothing_is_written_where_no_id_comes_twice(tmp_path: Path) -> None:
    places = write(tmp_path, [[("a", "1"), ("b", "1")], [("c", "1")]])
    assert repeats.settle(places, tmp_path / "settled", Local(1)) == places
    assert not list((tmp_path / "settled").iterdir())


def test_hashes_that_meet_by_chance_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polars as pl

    monkeypatch.setattr(pl.Series, "hash", lambda self, seed: pl.Series([7] * len(self), dtype=pl.UInt64))
    units = [[("a", "1"), ("b", "2")], [("c", "1"), ("a", "2")]]
    settled = repeats.settle(write(tmp_path, units), tmp_path / "settled", Local(1))
    assert read(settled) == one_by_one(units)
