"""Collection in units: the same documents whoever reads them, however often it is killed, as if read at once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data import cuts
from lamina.data.collection import Collected, SourceInput, collect
from lamina.data.executors import Local
from lamina.kit.progress import open_progress
from lamina.kit.registry import SOURCES

SEEN: list[Path | None] = []
KILLED = [False]


@SOURCES("walk-for-tests")
def walk(inbox: Inbox, *, urls: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
    """Goes from page to page, and writes down how far it came."""
    SEEN.append(inbox.work)
    assert inbox.work is not None
    inbox.work.mkdir(parents=True, exist_ok=True)
    place = inbox.work / "pages"
    done = place.read_text().split() if place.exists() else []
    if KILLED[0]:
        place.write_text("one two")
        raise KeyboardInterrupt
    yield pa.RecordBatch.from_pylist([{"id": name, "text": f"page {name}"} for name in [*done, "three"]])


class Shown:
    """Keeps what a progress display is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float | None, str, float]] = []
        self.moved = 0.0

    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> Any:
        self.told.append((name, total, unit, done))
        self.moved = done
        return self

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def advance(self, n: float = 1, **facts: Any) -> None:
        self.moved += n

    def say(self, text: str) -> None:
        self.told.append((text, None, "", 0))


Run = Callable[..., Collected]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run({"a.jsonl": b"…"}, workers=2)``: a source of these files, collected into a work folder of its own."""
    made = 0

    def go(contents: dict[str, bytes], *, workers: int = 1, use: str = "files", **more: Any) -> Collected:
        nonlocal made
        made += 1
        files = []
        for name, content in contents.items():
            if not (tmp_path / name).exists():
                (tmp_path / name).write_bytes(content)
            files.append(SourceFile(name=name, path=tmp_path / name))
        source = SourceInput(name="s", use=use, files=tuple(files), parameters=more.get("parameters", {}))
        progress = more.get("progress") or open_progress("quiet")
        with Local(workers) as executor:
            return collect(source, more.get("work") or tmp_path / f"work-{made}", progress, executor)

    return go


def documents(found: Collected) -> list[dict[str, Any]]:
    rows = [r for unit in found.units for r in pq.read_table(unit / "documents.parquet").to_pylist()]
    return [{k: v for k, v in row.items() if k != "collected"} for row in rows]


def reading(found: Collected) -> dict[str, Any]:
    return {k: v for k, v in found.reading.items() if k not in ("collected", "units")}


def lines(count: int, size: int = 400) -> list[dict[str, Any]]:
    return [{"id": n, "text": f"{n} " + "word " * (size // 5), "title": f"T{n}"} for n in range(count)]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=16)
    return bytes(sink.getvalue())


def whole(run: Run, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, **more: Any) -> Collected:
    """As one unit, in this process: what every other way must come to."""
    with monkeypatch.context() as patch:
        patch.setattr(cuts, "SMALLEST", 1 << 40)
        patch.setattr(cuts, "LARGEST", 1 << 40)
        found = run(contents, **more)
    assert len(found.units) == 1
    return found


KINDS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "a.jsonl": jsonl,
    "a.parquet": parquet,
    "a.jsonl.gz": lambda rows: gzip.compress(jsonl(rows), mtime=0),
    "a.jsonl.zst": lambda rows: zstandard.compress(jsonl(rows)),
}


@pytest.mark.parametrize("name", KINDS)
def test_any_number_of_workers_reads_the_same(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    rows = lines(240)
    contents = {name: KINDS[name](rows), "b.jsonl": jsonl([{"text": "beside"}]), "c.txt": b"a text " * 1200}
    wanted = whole(run, contents, monkeypatch)
    monkeypatch.setattr(cuts, "SMALLEST", 8192)
    counts = (1, 2, 4) if name == "a.jsonl" else (2,)
    for workers in counts:
        found = run(contents, workers=workers)
        assert len(found.units) > (1 if name.endswith(("gz", "zst")) else 5)
        assert documents(found) == documents(wanted)
        assert reading(found) == reading(wanted)
    assert {d["url"] for d in documents(wanted)} >= {f"{name}#{n}" for n in range(240)}


FAULTS = {
    "none first": b'{"text": "one", "extra": null}\n' * 30 + b'{"text": "late", "extra": {"a": [1]}, "new": 1.5}\n',
    "empty string": b'{"text": "", "id": "empty"}\n',
    "a zero": b'{"text": "zero", "score": 0}\n',
    "no id": b'{"text": "nameless"}\n' * 3,
    "an id again": b'{"id": 7, "text": "seven"}\n{"id": 7, "text": "another seven"}\n{"id": 7, "text": "seven"}\n',
    "not UTF-8": b'{"text": "caf\xe9 ' + b"x" * 200 + b'"}\n{"text": "\xff\xfe\xfd\xfc"}\n',
    "a mark": b'\xef\xbb\xbf{"text": "marked"}\n',
    "not JSON": b'{"text": "cut off\n[1, 2\n',
    "no text": b'{"body": "elsewhere"}\n{"text": null}\n',
    "blank": b"\n  \n",
    "100 MB": b'{"text": "' + b"y" * (100 << 20) + b'"}\n',
    "the end": b'{"text": "last, without a line end"}',
}


def test_nothing_is_lost_silently(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"".join(FAULTS.values())
    given = data.count(b"\n") + 1 - 2  # blank lines are no records
    wanted = whole(run, {"a.jsonl": data}, monkeypatch)
    monkeypatch.setattr(cuts, "SMALLEST", 200)
    monkeypatch.setattr(cuts, "LARGEST", 200)
    found = run({"a.jsonl": data})
    assert len(found.units) > 7
    assert documents(found) == documents(wanted)
    rows, told = documents(found), found.reading["unread"]
    repeated = sum(
        table.num_rows - len(table.filter(pa.compute.equal(table["action"], "edit")))
        for unit in found.units
        if (unit / "ledger.parquet").exists()
        for table in [pq.read_table(unit / "ledger.parquet")]
    )
    counted = [int(n.split(", ")[-1].split()[0]) for n in told if n.endswith(" more")]
    listed = [n for n in told if not n.endswith(" more")]
    assert len(rows) + repeated + len(listed) + sum(counted) == given
    assert found.reading["documents"] == len(rows) + repeated

    texts = {row["text"]: row for row in rows}
    assert json.loads(texts["late"]["meta"]) == {"extra": {"a": [1]}, "new": 1.5}
    assert texts[""]["text_hash"]
    assert json.loads(texts["zero"]["meta"]) == {"score": 0}
    assert len({row["id"] for row in rows if row["text"] == "nameless"}) == 3
    assert {"seven", "another seven", "marked", "last, without a line end"} <= set(texts)
    assert len({row["id"] for row in rows}) == len(rows)
    cafe = next(row for row in rows if row["text"].startswith("caf"))
    assert json.loads(cafe["meta"])["replaced_characters"] == 1
    assert [reason for name, reason in told.items() if "100 MiB" in reason]
    assert any("is not UTF-8" in reason for reason in told.values())
    assert any("is not JSON" in reason for reason in told.values())


def test_a_line_of_the_limit_and_one_more_costs_itself_alone(run: Run) -> None:
    end = 16 << 20
    data = b'{"text": "' + b"x" * (end - 12) + b'"}\n{"text": "next"}\n'
    assert data.index(b"\n") == end
    found = run({"a.jsonl": data})
    assert [row["text"] for row in documents(found)] == ["next"]
    assert list(found.reading["unread"]) == ["a.jsonl, line 1 (byte 0)"]


def test_repeats_are_found_across_parts_and_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = lines(60)
    fields = {"parameters": {"fields": {"id": "id", "text": "text"}}}
    again = [*rows[:20], {**rows[30], "text": "changed"}]
    contents = {"a.jsonl": jsonl(rows + again)}
    wanted = whole(run, contents, monkeypatch, **fields)
    monkeypatch.setattr(cuts, "SMALLEST", 2000)
    found = run(contents, workers=2, **fields)
    assert documents(found) == documents(wanted)
    assert len(documents(found)) == 61
    assert len({row["id"] for row in documents(found)}) == 61
    assert found.reading["documents"] == 81
    told = [r for u in found.units for r in _ledger(u)]
    assert sorted(r["action"] for r in told) == ["duplicate"] * 20 + ["edit"]


def _ledger(unit: Path) -> list[dict[str, Any]]:
    place = unit / "ledger.parquet"
    return pq.read_table(place).to_pylist() if place.exists() else []


def test_the_limit_is_the_first_so_many(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 500)
    contents = {"a.jsonl": jsonl(lines(7)), "b.jsonl": jsonl(lines(60)), "c.txt": b"never opened"}
    found = run(contents, workers=2, parameters={"limit": 12})
    assert [row["url"] for row in documents(found)] == [
        *(f"a.jsonl#{n}" for n in range(7)),
        *(f"b.jsonl#{n}" for n in range(5)),
    ]
    assert "limit of 12 documents" in found.reading["unread"]["c.txt"]
    assert found.reading["read"] == ["a.jsonl", "b.jsonl"]


def test_books_and_saved_pages_are_spread_by_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    books = {f"{n}.txt": b"# One\n\n" + b"words of a book " * 99 + b"%d" % n for n in range(5)} | {"x.bin": b"\0"}
    wanted = whole(run, books, monkeypatch, use="books")
    monkeypatch.setattr(cuts, "SMALLEST", 2000)
    found = run(books, workers=2, use="books")
    assert len(found.units) > 2
    assert documents(found) == documents(wanted)
    assert reading(found) == reading(wanted)


def test_a_source_that_goes_on_by_itself_finds_its_folder_again(run: Run, tmp_path: Path) -> None:
    work = tmp_path / "kept"
    SEEN.clear()
    KILLED[0] = True
    with pytest.raises(KeyboardInterrupt):
        run({}, use="walk-for-tests", work=work, parameters={"urls": ["https://example.org/"]})
    KILLED[0] = False
    found = run({}, use="walk-for-tests", work=work, parameters={"urls": ["https://example.org/"]})
    assert [row["text"] for row in documents(found)] == ["page one", "page two", "page three"]
    assert SEEN[0] == SEEN[1]
    assert SEEN[0] is not None
    assert not SEEN[0].exists(), "what is published needs it no more"


def test_a_live_source_gets_the_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path | None] = []

    def rows(inbox: Inbox, *_: Any) -> Iterator[dict[str, Any]]:
        seen.append(inbox.work)
        yield {"key": "a", "text": "post"}

    monkeypatch.setattr("lamina.data.social.live.live_rows", rows)
    run({}, use="social", parameters={"mastodon": "@team@example.social"})
    assert seen[0] is not None


def test_units_that_were_read_are_not_read_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "SMALLEST", 2000)
    work = tmp_path / "kept"
    contents = {"a.jsonl": jsonl(lines(60))}
    first = run(contents, work=work)
    made = {place: place.stat().st_mtime_ns for unit in first.units for place in unit.iterdir()}
    folder = first.units[0].parent
    (folder / "whole" / "manifest.json").unlink()
    (first.units[3] / "manifest.json").unlink()
    monkeypatch.setattr(cuts, "SMALLEST", 50)  # another version may cut otherwise: the plan that was made stands
    shown = Shown()
    second = run(contents, work=work, progress=shown)
    assert documents(second) == documents(first)
    assert second.key == first.key
    again = [place for place, then in made.items() if place.stat().st_mtime_ns != then]
    assert {place.parent for place in again} == {first.units[3]}
    ((name, total, unit, done),) = shown.told
    assert (name, unit) == ("collect s", "MB")
    assert total is not None
    assert 0 < done < total
    assert shown.moved == pytest.approx(total)
    third = Shown()
    assert run(contents, work=work, progress=third).key == first.key
    assert third.told[0][0] == "s: collected before"


def test_what_the_bar_shows_of_one_unit(run: Run) -> None:
    shown = Shown()
    run({"a.txt": b"words", "b.txt": b"words", "c.bin": b"\0"}, progress=shown)
    assert shown.told == [("collect s", 3, "files", 0.0)]
    assert shown.moved == 3
    alone = Shown()
    run({"a.jsonl": jsonl(lines(7))}, progress=alone)
    assert alone.told == [("collect s", None, "documents", 0.0)]
    assert alone.moved == 7
