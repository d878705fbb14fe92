"""Tables as a source of files: CSV, TSV and Parquet, good and damaged."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.sources.files import files


@pytest.fixture
def read(collect: Any) -> Any:
    """``read({"a.txt": b"..."}, **parameters)`` -> rows, report."""

    def run(given: Mapping[str, bytes], **parameters: Any) -> tuple[list[dict[str, Any]], Any]:
        found = collect("files", given, **parameters)
        return found.rows, found

    return run


def parquet(table: pa.Table, path: Path, **options: Any) -> bytes:
    pq.write_table(table, path, **options)
    return path.read_bytes()


def test_csv_and_tsv(read: Any) -> None:
    rows, said = read(
        {
            "a.csv": b'text,title\n"one, and\nmore",T\n,\n',
            "b.tsv": "text\ttitle\nzwei\tÜ\n".encode("utf-16"),
            "c.csv": b"title;text\nT;x\n",
            "long.csv": b"text\n" + b"x" * 300_000 + b"\n",
        }
    )
    assert [r["text"] for r in rows][:4] == ["one, and\nmore", "", "zwei", "x"]
    assert len(rows[4]["text"]) == 300_000
    assert not said.reasons


def test_an_open_quotation_mark_swallows_nothing_silently(read: Any) -> None:
    rows, said = read({"a.csv": b'text,n\none,1\n"two,2\nthree,3\nfour,4\n'})
    assert [r["text"] for r in rows] == ["one"]
    assert "quotation mark" in said.reasons["a.csv, line 3"]
    _, said = read({"b.csv": b"text,n\none,1,extra\n"})
    assert "3 fields; the header has 2" in said.reasons["b.csv, line 2"]


def test_a_csv_without_line_ends_is_refused_with_memory_flat(tmp_path: Path, collect: Any) -> None:
    for name, start in (("a.csv", b"text\n"), ("b.csv", b"")):
        (tmp_path / name).write_bytes(start + b"x" * (80 << 20))
    listed = tuple(SourceFile(name=name, path=tmp_path / name) for name in ("a.csv", "b.csv"))
    said = collect("files", {})
    inbox = Inbox(source="s", files=listed, origin="", collected=datetime.now(UTC), report=said)
    tracemalloc.start()
    assert list(files(inbox)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "16 MiB" in said.reasons["a.csv"]
    assert "16 MiB" in said.reasons["b.csv"]
    assert peak < 64 << 20


def test_parquet_of_all_sorts(read: Any, tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": ["a", None, "c"],
            "created": pa.array([1, 2, 1714557600_000000001], pa.timestamp("ns")),
            "day": [date(2024, 5, 1)] * 3,
            "picture": [b"\x89PNG"] * 3,
            "who": [None, {"n": "x"}, {"n": ""}],
        }
    )
    rows, said = read({"a.parquet": parquet(table, tmp_path / "t")})
    assert [r["text"] for r in rows] == ["a", "c"]
    assert rows[1]["created"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert json.loads(rows[1]["meta"]) == {"day": "2024-05-01", "who": {"n": ""}}
    assert said.reasons == {"a.parquet, record 1": said.reasons["a.parquet, record 1"]}
    rows, _ = read({"a.parquet": (tmp_path / "t").read_bytes()}, fields={"created": "day"})
    assert rows[0]["created"] == datetime(2024, 5, 1, tzinfo=UTC)


def test_a_damaged_row_group_costs_itself_alone(read: Any, tmp_path: Path) -> None:
    table = pa.table({"text": [f"{n} {'x' * 50}{n**5}" for n in range(300)]})
    options = {"row_group_size": 100, "write_page_checksum": True, "use_dictionary": False, "compression": "none"}
    data = bytearray(parquet(table, tmp_path / "t", **options))
    middle = pq.ParquetFile(tmp_path / "t").metadata.row_group(1).column(0)
    at = middle.data_page_offset + 300
    data[at : at + 50] = b"\xff" * 50
    rows, said = read({"a.parquet": bytes(data), "b.parquet": bytes(data[:-9])})
    assert [r["text"].split()[0] for r in rows] == [str(n) for n in (*range(100), *range(200, 300))]
    assert any(n.startswith("a.parquet, row group 1, column 'text'") for n in said.reasons)
    assert "b.parquet" in said.reasons
