"""Any bytes under any name: no source raises, and each file is read or listed."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.kit import jail
from lamina.kit.registry import SOURCES

KINDS = {
    "files": (".txt", ".md", ".rst", ".json", ".js", ".jsonl", ".csv", ".tsv", ".parquet", "", ".xyz", ".jsonl.gz"),
    "social": (".json", ".js", ".jsonl", ".ndjson", ".json.gz", ".jsonl.zst"),
    "books": (".epub", ".pdf", ".txt", ".json", ".txt.gz"),
    "web": (".html", ".htm", ".xhtml", ".html.zst"),
}


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("META-INF/container.xml", '<container><rootfile full-path="a.opf"/></container>')
        book.writestr("a.opf", '<package><item id="a" href="a.html"/><itemref idref="a"/></package>')
        book.writestr("a.html", "<html><body><h1>Title</h1><p>Words</p></body></html>")
    return buffer.getvalue()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", None, ""], "id": [1, 2, 3]}), buffer)
    return buffer.getvalue()


SEEDS = [
    b'{"text": "a", "id": 1}\n{"text": null}\n[]\n"x"\n',
    json.dumps(
        [{"id": "1", "text": "a", "author": "ann", "in_reply_to_id": "1"}, {"messages": [[{"text": 1}]]}]
    ).encode(),
    b'text,title\n"a,b\nc",d\n',
    b"<html lang=en><head><title>T</title></head><body><article><p>Some words.</p></article></body></html>",
    b"---\ntitle: x\n---\n# Head\ntext",
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\ntrailer << /Root 1 0 R >>\nstartxref\n9\n%%EOF",
    "window.x = [{}];".encode("utf-16"),
    _zip(),
    _parquet(),
]
SEEDS += [gzip.compress(SEEDS[0]), zstandard.ZstdCompressor().compress(SEEDS[0])]
#: Records that are JSON and nothing that a source expects.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "id", "messages", "parent", "author", "created", "meta", "x"]), inner
        )
    ),
    max_leaves=8,
)


@st.composite
def damaged(draw: Any) -> bytes:
    """A good file with a piece changed, cut out or doubled."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 20)))
    data[start:end] = draw(st.binary(max_size=12))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


CONTENTS = st.one_of(
    st.binary(max_size=200),
    damaged(),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.lists(VALUES, max_size=4).map(lambda values: b"\n".join(json.dumps(v).encode() for v in values)),
)


@pytest.fixture
def kept_workers() -> Iterator[None]:
    """Jails of this test take over each other's workers, which take half a second to start."""
    jail.keep("any bytes")
    yield
    jail.keep(None)


@pytest.mark.parametrize("use", ["files", "social"])
@pytest.mark.usefixtures("kept_workers")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_listed(collect: Any, use: str, data: Any) -> None:
    _check(collect, use, [data.draw(CONTENTS) for _ in KINDS[use]])


@pytest.mark.parametrize("use", ["books", "web"])
@pytest.mark.usefixtures("kept_workers")
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_read_or_listed_by_jailed_parsers(collect: Any, use: str, data: Any) -> None:
    _check(collect, use, [data.draw(CONTENTS) for _ in range(8) for _ in KINDS[use]])


def _check(collect: Any, use: str, contents: list[bytes]) -> None:
    kinds = KINDS[use]
    given = {f"f{n}{kinds[n % len(kinds)]}": content for n, content in enumerate(contents)}
    found = collect(use, given)
    for name in given:
        assert name in found.names or found.reasons[name]
    assert all("cannot be read (" not in reason for reason in found.reasons.values()), found.reasons
    ids = [row["id"] for row in collect(use, given).rows] if use in ("files", "social") else []
    assert ids == ([row["id"] for row in found.rows] if ids else ids)


def test_what_a_library_raises_unforeseen_is_listed(collect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object, **__: object) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr("lamina.data.readers.prose.legible", burst)
    monkeypatch.setattr("lamina.data.sources.books.legible", burst)
    for use, name in (("files", "a.txt"), ("books", "a.txt")):
        found = collect(use, {name: b"{}"})
        assert "RuntimeError: nobody thought of this" in found.reasons[name]


@pytest.mark.parametrize("use", ["files", "books", "social", "web"])
def test_what_a_limit_leaves_out_is_listed(collect: Any, use: str) -> None:
    words = "The lamp was lit before the evening came, and its keeper slept well. " * 8
    contents: dict[str, tuple[str, str]] = {
        "files": (".txt", words),
        "books": (".txt", words),
        "social": (".json", json.dumps([{"text": words}])),
        "web": (".html", f"<html><body><article><p>{words}</p></article></body></html>"),
    }
    suffix, content = contents[use]
    found = collect(use, {f"{n}{suffix}": content for n in range(5)}, limit=2)
    assert len(found.rows) == 2
    assert [name for name in found.names if name in found.reasons] == []
    assert len(found.reasons) == 3
    assert all("limit of 2 documents" in reason for reason in found.reasons.values())


def test_half_surrogates_do_not_stop_a_batch(collect: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lamina.data.readers.prose.legible", lambda *_: ("a\ud800b", 0))
    (row,) = collect("files", {"a.txt": b"x"}).rows
    assert row["text"] == "a\ufffdb"


def test_a_page_of_50_mb_is_refused_at_once_and_from_outside(tmp_path: Path, collect: Any) -> None:
    big = tmp_path / "big.html"
    with big.open("wb") as file:
        for _ in range(50):
            file.write(b"<p>words and words</p>\n" * (2**20 // 23))
    tracemalloc.start()
    start = time.monotonic()
    found = collect("web", {"big.html": big})
    took, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than the limit of 20 MiB" in found.reasons["big.html"]
    assert took < 5
    assert peak < 20 << 20


@pytest.mark.parametrize(
    ("use", "name"),
    [("files", "a.txt"), ("files", "a.parquet"), ("books", "a.pdf"), ("social", "a.json"), ("web", "a.htm")],
)
def test_a_file_that_is_gone_is_listed(tmp_path: Path, collect: Any, use: str, name: str) -> None:
    report = collect(use, {})
    gone = (SourceFile(name=name, path=tmp_path / name), SourceFile(name=f"folder/{name}", path=tmp_path))
    inbox = Inbox(source="s", files=gone, origin="", collected=datetime.now(UTC), report=report)
    assert list(SOURCES.get(use).function(inbox)) == []
    assert set(report.reasons) == {name, f"folder/{name}"}
    assert all("Error" not in reason for reason in report.reasons.values())


def test_what_is_no_address_is_listed(collect: Any) -> None:
    urls = ("ftp://127.0.0.1/x", "http://127.0.0.1:9999/", "::no address::", "", "http://[::1", "file:///etc/passwd")
    found = collect("web", {}, urls=urls, delay_s=0.0, timeout_s=2.0)
    assert found.rows == []
    assert set(found.reasons) == set(urls)


def test_single_posts_past_the_memory_are_refused(collect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.social.gathering.MAX_LOOSE", 10_000)
    posts = b"\n".join(b'{"id": %d, "text": "words"}' % n for n in range(100))
    threads = b'{"messages": [{"text": "kept"}]}\n'
    found = collect("social", {"a.jsonl": threads + posts})
    assert found.texts()[0] == "kept"
    assert 2 < len(found.rows) < 50, "what was read before is good"
    assert "cut it into several files" in found.reasons["a.jsonl"]
