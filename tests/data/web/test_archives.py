"""Web archives and archives of saved pages as sources: a document a page, with its place; the rest is said."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import Any

import orjson

STORY = (
    "The lighthouse at Grane was built in 1871 by Josef Hartung, who had seen two ships go down in one winter. "
    "It burned whale oil for eleven years, and colza oil after that, until the keeper asked for paraffin."
)


def record(kind: str, url: str, body: bytes, more: str = "") -> bytes:
    head = f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


def answer(page: bytes, headers: str = "", status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n{headers}\r\n".encode() + page


def test_pages_of_a_web_archive(crawl: Any, page_of: Any) -> None:
    parts = [
        record("request", "https://a.example/1", b"GET / HTTP/1.1\r\n\r\n"),
        record(
            "response", "https://a.example/1", answer(page_of("One"), "X-Robots-Tag: noai\r\nTDM-Reservation: 1\r\n")
        ),
        record("response", "https://a.example/2", answer(b"", status=404)),
        record("response", "https://a.example/3", answer(b"%PDF-1.7")),
        record("resource", "https://a.example/4", page_of("Four"), "Content-Type: text/html\r\n"),
        record("odd", "https://a.example/5", b"x"),
        record("conversion", "https://b.example/w", STORY.encode(), "WARC-Identified-Content-Language: eng,deu\r\n"),
    ]
    files = {"a.warc.gz": b"".join(map(gzip.compress, parts)), "b.warc": b"".join(parts[1:2]).replace(b"/1", b"/9")}
    found = crawl(files=files)
    assert [row["url"] for row in found.rows] == [
        f"https://{u}" for u in ("a.example/1", "a.example/4", "b.example/w", "a.example/9")
    ]
    assert [row["title"] for row in found.rows] == ["One", "Four", None, "One"]
    assert found.rows[0]["rights"] == "x-robots-tag: noai; tdm-reservation: 1"
    assert (found.rows[2]["language"], found.rows[2]["text"]) == ("en", STORY)
    place = orjson.loads(found.rows[1]["meta"])["warc"]
    assert place["file"] == "a.warc.gz"
    assert gzip.decompress(files["a.warc.gz"][place["offset"] :][: place["length"]]) == parts[4]
    assert found.names == ["a.warc.gz", "b.warc"]
    said = found.said()
    assert "answered 404" in said
    assert "is a PDF file" in said
    assert "unknown kind 'odd'" in said


def test_pages_saved_into_a_zip(crawl: Any, page_of: Any) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        out.writestr("site/a.html", page_of("A"))
        out.writestr("site/style.css", "p{}")
        out.writestr("site/b.warc", record("response", "https://a.example/b", answer(page_of("B"))))
    found = crawl(files={"site.zip": packed.getvalue(), "c.html": page_of("C")})
    assert found.titles() == ["A", "C", "B"]
    assert found.rows[0]["group_id"] == "site.zip/site"
    assert set(found.reasons) == {"site.zip/site/style.css"}


def test_the_sign_of_a_link_to_a_heading_is_no_part_of_the_title(crawl: Any, page_of: Any) -> None:
    marked = page_of("x").replace(b"<h1>x</h1>", b'<h1>The Oil<a class="headerlink" href="#o">\xc2\xb6</a></h1>')
    (row,) = crawl(files={"a.html": marked}).rows
    assert row["title"] == "The Oil"
