"""WARC and WET records one by one: plain and packed alike, with their places, damage told."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lamina.data.readers.warc import Damage, Record, payload, records
from lamina.kit.errors import DocumentError


def record(kind: str, url: str, body: bytes, *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    head = f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n{more}Content-Length: {size}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


def answer(text: str, headers: str = "Content-Type: text/html", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n\r\n{text}".encode()


PARTS = [
    record("warcinfo", "x", b"software: y\r\n"),
    *(record("response", f"https://example.org/{n}", answer(f"Page {n}. " * (n * 50 + 1))) for n in range(5)),
    record("conversion", "<https://example.org/w>", "Straße".encode()),
]


def read(path: Path, *, packed: bool, most: int = 1 << 20) -> list[Record | Damage]:
    return list(records(path, packed=packed, max_bytes=most))


@pytest.mark.parametrize("form", ["plain", "members", "whole"])
def test_records_with_their_places_as_others_read_them(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a.warc"
    packed = {"plain": b"".join(PARTS), "whole": gzip.compress(b"".join(PARTS))}
    data = packed.get(form) or b"".join(map(gzip.compress, PARTS))
    path.write_bytes(data)
    found = [r for r in read(path, packed=form != "plain") if isinstance(r, Record)]
    assert [r.kind for r in found] == ["warcinfo"] + ["response"] * 5 + ["conversion"]
    assert found[-1].url == "https://example.org/w"
    assert found[-1].body.decode() == "Straße"
    if form != "whole":  # a record begins where its place says that it does
        for one in found:
            piece = data[one.offset : one.offset + one.length]
            assert (piece if form == "plain" else gzip.decompress(piece)).startswith(b"WARC/1.1\r\nWARC-Type: ")
    iterator = pytest.importorskip("fastwarc.warc").ArchiveIterator
    with path.open("rb") as stream:
        theirs = [r.reader.read() for r in iterator(stream, parse_http=False)]
    assert [r.body for r in found] == theirs


def test_wrong_lengths_and_noise_cost_the_records_that_have_them(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    parts = [
        PARTS[1],
        record("response", "https://example.org/long", answer("Long."), length=200),
        PARTS[2],
        record("response", "https://example.org/short", answer("Short. " * 9), length=30),
        PARTS[3],
        b"noise that is no record\r\n\r\n",
        record("response", "https://example.org/minus", b"x", length=-5),
        record("response", "https://example.org/huge", b"x", length=10**14),
        PARTS[4],
    ]
    path.write_bytes(b"".join(parts))
    found = read(path, packed=False)
    assert [r.url for r in found if isinstance(r, Record)] == [f"https://example.org/{n}" for n in range(4)]
    reasons = [r.reason for r in found if isinstance(r, Damage)]
    assert sum("wrong length" in reason for reason in reasons) >= 2
    assert any("no length that can be read" in reason for reason in reasons)
    assert any("at most 1,048,576 are read" in reason for reason in reasons)


def test_a_damaged_member_and_a_cut_end(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    members = [bytearray(gzip.compress(part)) for part in PARTS[1:6]]
    members[1][20:30] = b"\xff" * 10
    path.write_bytes(b"".join(bytes(m) for m in members)[:-12])
    found = read(path, packed=True)
    assert [r.url for r in found if isinstance(r, Record)] == [f"https://example.org/{n}" for n in (0, 2, 3)]
    reasons = " ".join(r.reason for r in found if isinstance(r, Damage))
    assert "is damaged" in reasons
    assert "cut short" in reasons
    (empty,) = read(_written(tmp_path / "empty", b""), packed=False)
    assert isinstance(empty, Damage)


def test_a_bomb_in_a_member_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.readers.members._FREE", 1 << 20)
    bomb = gzip.compress(record("response", "https://example.org/bomb", answer("0" * (30 << 20))))
    path = _written(tmp_path / "a.warc.gz", gzip.compress(PARTS[1]) + bomb + gzip.compress(PARTS[2]))
    found = read(path, packed=True, most=64 << 20)
    assert [r.url for r in found if isinstance(r, Record)] == ["https://example.org/0", "https://example.org/1"]
    assert any("200 times its size" in r.reason for r in found if isinstance(r, Damage))


def test_bodies_are_unpacked(tmp_path: Path) -> None:
    def body(raw: bytes) -> tuple[int, dict[str, str], bytes]:
        path = _written(tmp_path / "a.warc", record("response", "https://example.org/", raw))
        (found,) = read(path, packed=False)
        assert isinstance(found, Record)
        return payload(found, 1 << 20)

    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    assert body(head + gzip.compress(b"Words."))[2] == b"Words."
    assert body(head + b"Words that somebody unpacked.")[2] == b"Words that somebody unpacked."
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nWords\r\n1;x=y\r\n.\r\n0\r\n\r\n"
    assert body(chunked)[2] == b"Words."
    assert body(b"HTTP/1.0 404\n\nx")[0] == 404
    with pytest.raises(DocumentError, match="no HTTP response"):
        body(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(DocumentError):
        body(head + gzip.compress(bytes(9 << 20)))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
