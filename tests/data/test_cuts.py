"""Which units a source is cut into: by the files alone, about alike in size, at line ends and between row groups."""

from __future__ import annotations

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data import cuts
from lamina.data.cuts import Unit, cut, line_ends
from lamina.data.executors import Local


@pytest.fixture
def units(tmp_path: Path) -> Any:
    """``units({"a.jsonl": b"…"}, use="files", **parameters)``: what a source of these files is cut into."""

    def run(contents: dict[str, bytes | None], use: str = "files", **parameters: Any) -> list[Unit]:
        files = []
        for name, content in contents.items():
            if content is not None:
                (tmp_path / name).write_bytes(content)
            files.append(SourceFile(name=name, path=tmp_path / name))
        found = cut(use, parameters, files, Local(1))
        assert [Unit.of(orjson.loads(orjson.dumps(unit.told()))) for unit in found] == found
        return found

    return run


def ranges(units: list[Unit]) -> list[tuple[int, int, int]]:
    return [(p.begin, p.end, p.first) for unit in units for file in unit.files if (p := file.part)]


def records(count: int, size: int = 4000) -> bytes:
    return b"".join(orjson.dumps({"text": f"{n} " + "word " * (size // 5)}) + b"\n" for n in range(count))


def test_240_records_in_one_file_are_spread(units: Any) -> None:
    data = records(240)
    found = ranges(units({"a.jsonl": data}))
    shares = [data[begin:end].count(b"\n") for begin, end, _ in found]
    assert sum(shares) == 240
    assert len(shares) == 4
    assert set(shares) <= {59, 60, 61}
    assert [first for *_, first in found] == [sum(shares[:n]) for n in range(4)]
    assert [begin for begin, *_ in found] == [0, *(end for _, end, _ in found[:-1])]
    assert found[-1][1] == len(data)


def test_parts_of_a_large_file_are_alike(units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "_COUNTED", 1 << 20)  # lines are counted in several pieces
    data = records(5000)
    found = units({"a.jsonl": data})
    assert len(found) == cuts.SPREAD
    assert max(u.size for u in found) < 1.02 * min(u.size for u in found)
    for begin, end, first in ranges(found):
        assert data[begin - 1 : begin] in (b"", b"\n")
        assert data[end - 1 : end] == b"\n"
        assert data[:begin].count(b"\n") == first


def test_a_unit_has_a_largest_size_whatever_there_is(units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "LARGEST", 300 << 10)
    found = units({"a.jsonl": records(2500)})
    assert len(found) == 33
    assert max(u.size for u in found) < 310 << 10


@pytest.mark.parametrize("last", [b"", b'{"text": "no line end"}'])
def test_a_line_longer_than_parts(tmp_path: Path, last: bytes) -> None:
    path = tmp_path / "a.jsonl"
    lines = [b"short\n", b"x" * 3_000_000 + b"\n", *[b"y" * 99 + b"\n"] * 1000, last]
    path.write_bytes(b"".join(lines))
    ends = line_ends(path, path.stat().st_size, 20)
    assert ends[0] == 0
    assert ends[-1] == path.stat().st_size
    assert all(a < b for a, b in pairwise(ends))
    assert ends[1] == 6 + 3_000_001
    assert len(ends) <= 4


def test_what_is_not_cut(units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 1000)
    lines = records(20)
    whole = {
        "wide.jsonl": lines.decode().encode("utf-16"),
        "one.jsonl": lines.replace(b"\n", b" "),
        "rows.csv": b"text\n" + b"word " * 40_000,
        "gone.jsonl": None,
        "broken.parquet": b"PAR1" * 4000,
    }
    for name, data in whole.items():
        assert [u.files[0].part for u in units({name: data})] == [None], name
    packed = units({"a.jsonl.gz": gzip.compress(lines), "b.jsonl": lines})
    assert [u.files[0].part is None for u in packed][:2] == [True, False]
    assert len(units({"b.jsonl": lines}, limit=3)) == 1
    assert len(units({"b.jsonl": lines, "c.jsonl": lines}, use="mail")) == 1


def test_parquet_is_cut_between_row_groups(units: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 10_000)
    table = pa.table({"text": [f"{n} " + "word " * 200 for n in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10, compression="none", use_dictionary=False)
    found = units({"a.parquet": None})
    parts = ranges(found)
    assert len(parts) > 20
    assert [begin for begin, *_ in parts] == [0, *(end for _, end, _ in parts[:-1])]
    assert parts[-1][1] == 100
    assert all(first == begin * 10 for begin, _, first in parts)
    assert abs(sum(u.size for u in found) - (tmp_path / "a.parquet").stat().st_size) <= len(found)


def test_small_files_are_bundled_in_their_order(units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 10_000)
    monkeypatch.setattr(cuts, "FILES", 7)
    contents: dict[str, bytes | None] = {f"{n:02d}.txt": b"word " * 100 for n in range(30)}
    contents["10.jsonl"] = records(20)
    found = units(dict(sorted(contents.items())))
    names = [file.name for unit in found for file in unit.files]
    assert list(dict.fromkeys(names)) == sorted(contents)
    assert max(len(u.files) for u in found) == 7
    assert all(len(u.files) == 1 for u in found if u.files[0].part)
    heavy = units({f"{n:02d}.docx": b"PK" + b" " * 498 for n in range(30)})
    assert max(len(u.files) for u in heavy) == 2  # a byte of these is more work


def test_what_a_source_fetches_is_one_unit(units: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 100)
    pages: dict[str, bytes | None] = {f"{n}.html": b"<p>" + b"word " * 50 for n in range(9)}
    assert len(units(pages, use="web")) == 9
    assert len(units(pages, use="web", urls=["https://example.org/"])) == 1
    assert len(units({}, use="web", urls=["https://example.org/"])) == 1
    assert len(units({f"{n}.txt": b"word " * 50 for n in range(9)}, use="books")) == 9
