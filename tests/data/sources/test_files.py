from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.sources.files import files
from lamina.kit.errors import ConfigError


@pytest.fixture
def read(collect: Any) -> Any:
    """``read({"a.txt": b"..."}, **parameters)`` -> rows, report."""

    def run(given: Mapping[str, bytes], **parameters: Any) -> tuple[list[dict[str, Any]], Any]:
        found = collect("files", given, **parameters)
        return found.rows, found

    return run


def lines(*records: Any) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


def test_a_text_file_is_a_document_that_keeps_its_id_when_its_text_changes(read: Any) -> None:
    (before,), said = read({"notes/a.txt": "Grüße\n".encode()})
    (after,), _ = read({"notes/a.txt": b"other"})
    assert before["text"] == "Grüße\n"
    assert before["url"] == "npm:box@1/notes/a.txt"
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


def test_a_year_is_a_year(read: Any) -> None:
    rows, _ = read({"a.jsonl": lines({"text": "x", "created": 1790}, {"text": "y", "created": "1790"})})
    assert [row["created"] for row in rows] == [datetime(1790, 1, 1, tzinfo=UTC)] * 2


def test_odd_values_do_no_harm(read: Any) -> None:
    odd = {"text": "x", "title": 5, "author": ["A", {"name": "B"}], "language": 3, "license": False, "huge": 10**30}
    rows, said = read(
        {"a.jsonl": lines(odd, {"text": "y", "p": 10**40}), "b.json": b'[{"text": "z", "t": NaN}]'},
        fields={"position": "p"},
    )
    assert (rows[0]["title"], rows[0]["author"], rows[0]["language"]) == ("5", "A, B", None)
    assert rows[1]["position"] is None
    assert "is not JSON" in said.reasons["b.json"]


def test_a_limit_lists_what_it_left_out(read: Any) -> None:
    given = {"a.jsonl": lines({"text": "1"}, {"text": "2"}, {"text": "3"}), "b.txt": b"b", "c.txt": b"c"}
    rows, said = read(given, limit=2)
    assert [r["text"] for r in rows] == ["1", "2"]
    assert said.names == ["a.jsonl"]
    assert set(said.reasons) == {"b.txt", "c.txt"}
    assert "limit of 2 documents" in said.reasons["b.txt"]


def test_batches_are_bounded_by_bytes(tmp_path: Path, collect: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*[{"text": "x" * (6 << 20)}] * 10))
    file = SourceFile(name="a.jsonl", path=path)
    inbox = Inbox(source="s", files=(file,), origin="", collected=datetime.now(UTC), report=collect("files", {}))
    sizes = [batch.num_rows for batch in files(inbox)]
    assert sum(sizes) == 10
    assert max(sizes) < 10


def test_json_that_would_burst_in_memory_is_refused(read: Any) -> None:
    rows, said = read({"a.json": b"[" + b"[]," * (10 << 20) + b"[]]"})
    assert rows == []
    assert "memory" in said.reasons["a.json"]
