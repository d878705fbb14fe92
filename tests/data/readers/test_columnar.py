from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import FilePart
from lamina.data.readers import columnar
from lamina.data.readers.columnar import arrow_rows, parquet_rows
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail


@pytest.fixture(scope="module")
def jail() -> Iterator[Jail]:
    with Jail(workers=1, memory_mb=512, seconds=30) as jail:
        yield jail


class Bad(list[tuple[str, str]]):
    def __call__(self, where: str, reason: str) -> None:
        self.append((where, reason))


TABLE = pa.table({"text": [f"text {n}" for n in range(2500)], "n": range(2500)})


def test_parts_of_a_parquet_file_give_the_rows_of_the_whole(tmp_path: Path, jail: Jail) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, row_group_size=700)
    whole = list(parquet_rows(path, jail, Bad()))
    assert [r.key for r in whole] == [str(n) for n in range(2500)]
    assert [r.value["n"] for r in whole] == list(range(2500))
    parts = [
        FilePart(begin=0, end=1, first=0),
        FilePart(begin=1, end=3, first=700),
        FilePart(begin=3, end=9, first=2100),
    ]
    assert [record for part in parts for record in parquet_rows(path, jail, Bad(), part)] == whole


def test_rows_come_in_pieces_whatever_is_asked_in_between(
    tmp_path: Path, jail: Jail, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    big = pa.table({"text": ["x" * 20_000 + str(n) for n in range(900)]})
    for path in (first, second):
        pq.write_table(big, path, row_group_size=500)
    pairs = list(zip(parquet_rows(first, jail, Bad()), parquet_rows(second, jail, Bad()), strict=True))
    assert len(pairs) == 900
    assert all(one == other and one.value["text"].endswith(f"x{one.key}") for one, other in pairs)


def test_arrow_files_streams_and_what_is_none(tmp_path: Path, jail: Jail) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b"]).dictionary_encode(),
            "when": pa.array([1714557600_000000001, None], pa.timestamp("ns", "UTC")),
            "old": pa.array([b"text", b"also"], pa.binary()),
            "picture": pa.array([b"\x89PNG\xff", None], pa.binary()),
        }
    )
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    with pa.ipc.new_stream(tmp_path / "b.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=1)
    for name in ("a.arrow", "b.arrow"):
        first, second = (record.value for record in arrow_rows(tmp_path / name, jail))
        assert first == {"text": "a", "when": datetime(2024, 5, 1, 10, tzinfo=UTC), "old": "text"}
        assert second["when"] is None
    for data, reason in (
        (b"", "Arrow"),
        (b"ARROW1", "Arrow"),
        (b"FEA1xxxx", "version 1"),
        (b"text, and more of it", "Arrow"),
    ):
        (tmp_path / "c.arrow").write_bytes(data)
        with pytest.raises(DocumentError, match=reason):
            list(arrow_rows(tmp_path / "c.arrow", jail))


def test_a_stream_that_is_cut_short_keeps_what_was_before(tmp_path: Path, jail: Jail) -> None:
    with pa.ipc.new_stream(tmp_path / "a.arrow", TABLE.schema) as stream:
        stream.write_table(TABLE, max_chunksize=100)
    data = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(data[: len(data) // 2])
    kept: list[Any] = []
    with pytest.raises(DocumentError, match="damaged"):
        deque(map(kept.append, arrow_rows(tmp_path / "a.arrow", jail)), maxlen=0)
    assert 500 < len(kept) < 2500


def test_a_row_group_that_takes_too_much_memory_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema, use_dictionary=False, write_statistics=False, compression="zstd") as writer:
        writer.write_table(pa.table({"text": ["first"]}, schema))
        writer.write_table(pa.table({"text": ["x" * (250 << 20)]}, schema))
        writer.write_table(pa.table({"text": ["last"]}, schema))
    assert path.stat().st_size < 1 << 20
    bad = Bad()
    with Jail(workers=1, memory_mb=640, seconds=30) as jail:
        found = [(r.key, r.value["text"]) for r in parquet_rows(path, jail, bad)]
    assert found == [("0", "first"), ("2", "last")]
    ((where, reason),) = bad
    assert where.startswith("row group 1")
    assert "more than 640 MiB of memory" in reason


def test_too_many_row_groups_and_no_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jail: Jail) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=100)
    monkeypatch.setattr(columnar, "_GROUPS", 10)
    with pytest.raises(DocumentError, match="row groups"):
        columnar.groups({"path": str(tmp_path / "a.parquet")}, None)
    for data in (b"", b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1"):
        (tmp_path / "b.parquet").write_bytes(data)
        with pytest.raises(DocumentError, match="no readable Parquet"):
            list(parquet_rows(tmp_path / "b.parquet", jail, Bad()))
