from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lamina.contracts.corpus import DOCUMENTS, Inbox, SourceFile
from lamina.data.sources.files import files
from lamina.kit.errors import ConfigError


@dataclass
class Said:
    """A report that remembers."""

    names: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> None:
        self.names.append(name)

    def unread(self, name: str, reason: str) -> None:
        self.reasons.setdefault(name, reason)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """``read({"a.txt": b"..."}, **parameters)`` -> rows, report."""

    def run(given: Mapping[str, bytes], **parameters: Any) -> tuple[list[dict[str, Any]], Said]:
        said, listed = Said(), []
        for name, data in given.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            listed.append(SourceFile(name=name, path=path))
        inbox = Inbox(
            source="mine", files=tuple(listed), origin="docs", collected=datetime(2026, 1, 2, tzinfo=UTC), report=said
        )
        rows: list[dict[str, Any]] = []
        for batch in files(inbox, **parameters):
            assert batch.schema == DOCUMENTS
            rows += batch.to_pylist()
        return rows, said

    return run


def lines(*records: Any) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


def parquet(table: pa.Table, path: Path, **options: Any) -> bytes:
    pq.write_table(table, path, **options)
    return path.read_bytes()


def test_a_text_file_is_a_document_that_keeps_its_id_when_its_text_changes(read: Any) -> None:
    (before,), said = read({"notes/a.txt": "Grüße\n".encode()})
    (after,), _ = read({"notes/a.txt": b"other"})
    assert before["text"] == "Grüße\n"
    assert before["url"] == "docs/notes/a.txt"
    assert before["id"] == after["id"]
    assert before["text_hash"] != after["text_hash"]
    assert said.names == ["notes/a.txt"]
    assert not said.reasons


def test_markdown_tells_its_title_and_its_front_matter(read: Any) -> None:
    front = (
        b'---\ntitle: "The Whale"\nauthor: Ann\ndate: 2024-05-01T12:00:00+02:00\nlicense: CC0-1.0\n---\n# Other\nText.'
    )
    fenced = b"```sh\n# a comment\n```\n\n# Real title #\n\nText."
    (whale, code), _ = read({"a.md": front, "b.md": fenced})
    assert (whale["title"], whale["author"], whale["license"]) == ("The Whale", "Ann", "CC0-1.0")
    assert whale["created"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert "title:" not in whale["text"]
    assert code["title"] == "Real title"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.txt", b"", "is empty"),
        ("blank.md", b" \n\t\n", "is empty"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is binary"),
        ("latin.txt", "à é è ü ".encode("latin-1") * 9, "is not UTF-8"),
        ("thing.xyz", b"text", "of the kind '.xyz'"),
        ("book.pdf", b"%PDF-1.4", "books"),
        ("page.html", b"<p>x", "web"),
        ("a.json", b'{"text": ', "is not JSON"),
        ("deep.json", b"[" * 100_000, "is not JSON"),
        ("none.jsonl", b"\n\n", "holds no document"),
        ("wide.jsonl", '{"text": "a"}'.encode("utf-16"), "UTF-16"),
        ("a.csv", b"", "no header"),
        ("a.parquet", b"PAR1 and then nothing", "no readable Parquet"),
        ("a.txt.gz", b"plain", "damaged"),
    ],
)
def test_what_cannot_be_read_is_listed_and_the_rest_goes_on(read: Any, name: str, data: bytes, reason: str) -> None:
    rows, said = read({name: data, "z.txt": b"good"})
    assert [r["text"] for r in rows] == ["good"]
    assert reason in said.reasons[name]
    assert "z.txt" in said.names


def test_a_missing_file_is_listed(tmp_path: Path) -> None:
    said = Said()
    gone = SourceFile(name="gone.txt", path=tmp_path / "gone.txt")
    inbox = Inbox(source="s", files=(gone,), origin="", collected=datetime.now(UTC), report=said)
    assert list(files(inbox)) == []
    assert "No such file" in said.reasons["gone.txt"]


def test_marks_and_encodings(read: Any) -> None:
    good = {"bom.txt": "\ufeffhé".encode(), "le.txt": "hé".encode("utf-16"), "be.txt": b"\xfe\xff\0h\0\xe9"}
    rows, said = read(good)
    assert [r["text"] for r in rows] == ["hé"] * 3
    assert not said.reasons


def test_a_few_broken_characters_are_replaced_and_counted(read: Any) -> None:
    (row,), said = read({"a.txt": b"x" * 500 + b"\xff" + "\ufffd".encode() + b"y" * 500})
    assert row["text"].count("\ufffd") == 2
    assert json.loads(row["meta"])["replaced_characters"] == 1
    assert not said.reasons


def test_a_broken_line_costs_itself_alone(read: Any) -> None:
    rows, said = read({"a.jsonl": lines({"text": "one"}, b'{"text": "tw', {"text": "three"}, b"\xff\xfe\xfd", "four")})
    assert [r["text"] for r in rows] == ["one", "three", "four"]
    assert [n for n in said.reasons if "line 2 (byte 16)" in n]
    assert any("is not UTF-8" in r for r in said.reasons.values())
    assert said.names == ["a.jsonl"]


def test_thousands_of_broken_lines_are_counted_rather_than_listed(read: Any) -> None:
    rows, said = read({"a.jsonl": lines(*[b"{"] * 5000, {"text": "good"})})
    assert [r["text"] for r in rows] == ["good"]
    assert len(said.reasons) < 50
    assert any("4,980 more" in name for name in said.reasons)


def test_a_line_of_17_mib_is_skipped(read: Any) -> None:
    rows, said = read({"a.jsonl": lines({"text": "one"}, {"text": "x" * (17 << 20)}, {"text": "three"}, b"{")})
    assert [r["text"] for r in rows] == ["one", "three"]
    (name, reason), (late, _) = said.reasons.items()
    assert "line 2" in name
    assert "17 MiB" in reason
    assert f"byte {17 << 20:,}"[:7] in late  # places behind it are still right


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_packed_files_are_read_and_cut_ones_keep_what_is_whole(read: Any, pack: Any) -> None:
    suffix = "gz" if pack is gzip.compress else "zst"
    data = pack(lines(*({"text": f"{n} {n**9}"} for n in range(12_000))))
    rows, said = read({f"a.jsonl.{suffix}": data})
    assert len(rows) == 12_000
    assert not said.reasons
    rows, said = read({f"a.jsonl.{suffix}": data[: len(data) // 2], f"t.txt.{suffix}": pack(b"words")})
    assert 0 < len(rows) < 12_000
    assert "cut short" in said.reasons[f"a.jsonl.{suffix}"]
    assert f"{len(rows) - 1:,} documents before that were kept" in said.reasons[f"a.jsonl.{suffix}"]
    assert rows[-1]["text"] == "words"
    broken = data[:200] + bytes(b ^ 0x55 for b in data[200:400]) + data[400:]
    rows, said = read({f"a.jsonl.{suffix}": broken})
    assert said.reasons


def test_columns_that_are_missing_are_said_once(read: Any) -> None:
    rows, said = read({"a.jsonl": lines({"body": "b", "n": 1}, {"body": "c"}, {"text": None}, {"text": "good"})})
    assert [r["text"] for r in rows] == ["good"]
    assert "has no text at 'text'; it has: body, n" in said.reasons["a.jsonl, record 1"]
    assert "has no text at 'text'" in said.reasons["a.jsonl, 2 more"]


def test_nested_json_by_records_and_fields(read: Any) -> None:
    value = {"data": {"items": [{"id": 7, "body": {"de": "Wal", "en": "Whale"}, "by": {"name": "Ann"}}]}}
    rows, _ = read(
        {"a.json": json.dumps(value).encode()}, records="data.items", fields={"text": "body.en", "author": "by.name"}
    )
    assert (rows[0]["text"], rows[0]["author"]) == ("Whale", "Ann")
    (star, other), _ = read({"b.json": b'{"x": {"text": "1"}, "y": {"text": "2"}}'}, records="*")
    assert (star["text"], other["text"]) == ("1", "2")
    assert star["url"].endswith("b.json#x")
    _, said = read({"c.json": b'{"posts": [{"text": "1"}]}'}, records="items")
    assert 'records = "posts"' in said.reasons["c.json"]


def test_a_record_keeps_its_id_wherever_it_stands(read: Any) -> None:
    (_, before), _ = read({"a.jsonl": lines({"id": "x", "text": "1"}, {"id": 0, "text": "2"})})
    (after,), _ = read({"a.jsonl": lines({"id": 0, "text": "other"})})
    assert before["id"] == after["id"]


def test_a_field_of_no_column_is_refused_with_a_suggestion(read: Any) -> None:
    with pytest.raises(ConfigError, match="titel") as caught:
        read({"a.json": b"[]"}, fields={"titel": "t"})
    assert "title" in str(caught.value)


def test_missing_is_null_and_empty_is_a_value(read: Any) -> None:
    first = {"text": "", "title": "", "likes": None, "tags": [], "note": ""}
    later = {"text": "b", "likes": 0, "tags": ["x"], "who": {"name": "A"}}
    rows, _ = read({"a.jsonl": lines(first, later)})
    assert (rows[0]["text"], rows[0]["title"], rows[0]["author"]) == ("", "", None)
    assert json.loads(rows[0]["meta"]) == {"tags": [], "note": ""}
    assert json.loads(rows[1]["meta"]) == {"likes": 0, "tags": ["x"], "who": {"name": "A"}}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-05", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("2024-05-01T10:00:00-05:00", datetime(2024, 5, 1, 15, tzinfo=UTC)),
        ("Wed, 01 May 2024 10:00:00 +0200", datetime(2024, 5, 1, 8, tzinfo=UTC)),
        ("Wed May 01 10:00:00 +0000 2024", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (1714557600, datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("1714557600", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (1714557600000, datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ("last week", None),
        (1e300, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_times_become_utc(read: Any, written: Any, meant: datetime | None) -> None:
    (row,), _ = read({"a.jsonl": lines({"text": "x", "created": written})})
    assert row["created"] == meant
    assert meant or json.loads(row["meta"])["created"] == written  # not understood, and not lost


def test_odd_values_do_no_harm(read: Any) -> None:
    odd = {"text": "x", "title": 5, "author": ["A", {"name": "B"}], "language": 3, "license": False, "huge": 10**30}
    rows, said = read(
        {"a.jsonl": lines(odd, {"text": "y", "p": 10**40}), "b.json": b'[{"text": "z", "t": NaN}]'},
        fields={"position": "p"},
    )
    assert (rows[0]["title"], rows[0]["author"], rows[0]["language"]) == ("5", "A, B", None)
    assert rows[1]["position"] is None
    assert "is not JSON" in said.reasons["b.json"]


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


def test_a_csv_without_line_ends_is_refused_with_memory_flat(tmp_path: Path) -> None:
    for name, start in (("a.csv", b"text\n"), ("b.csv", b"")):
        (tmp_path / name).write_bytes(start + b"x" * (80 << 20))
    listed = tuple(SourceFile(name=name, path=tmp_path / name) for name in ("a.csv", "b.csv"))
    said = Said()
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


def test_a_limit_lists_what_it_left_out(read: Any) -> None:
    given = {"a.jsonl": lines({"text": "1"}, {"text": "2"}, {"text": "3"}), "b.txt": b"b", "c.txt": b"c"}
    rows, said = read(given, limit=2)
    assert [r["text"] for r in rows] == ["1", "2"]
    assert said.names == ["a.jsonl"]
    assert set(said.reasons) == {"b.txt", "c.txt"}
    assert "limit of 2 documents" in said.reasons["b.txt"]


def test_batches_are_bounded_by_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*[{"text": "x" * (6 << 20)}] * 10))
    file = SourceFile(name="a.jsonl", path=path)
    inbox = Inbox(source="s", files=(file,), origin="", collected=datetime.now(UTC), report=Said())
    sizes = [batch.num_rows for batch in files(inbox)]
    assert sum(sizes) == 10
    assert max(sizes) < 10


def test_json_that_would_burst_in_memory_is_refused(read: Any) -> None:
    rows, said = read({"a.json": b"[" + b"[]," * (10 << 20) + b"[]]"})
    assert rows == []
    assert "memory" in said.reasons["a.json"]
