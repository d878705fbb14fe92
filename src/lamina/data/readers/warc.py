"""WARC and WET files (ISO 28500): records one by one with their place in the file; what is damaged costs itself alone.

Plain or gzipped (a member for each record, as crawlers write them, or all in one). Where a length is wrong or a member
is damaged, the next record is looked for. Nothing is held but one record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lamina.data.readers.members import Members
from lamina.kit.decompress import body_of
from lamina.kit.errors import DocumentError, FetchError

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]{0,200}\r?\n")
_HEAD = 64 << 10
_START = re.compile(rb"WARC/\d\.\d{1,2}\r?\n")
_NEXT = re.compile(rb"\n(?=WARC/\d\.\d{1,2}\r?\n[A-Za-z-]+:)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record; header names in lower case. ``offset`` and ``length`` are bytes of the file as it lies on disk."""

    headers: Mapping[str, str]
    body: bytes
    offset: int
    length: int

    @property
    def kind(self) -> str:
        """response, resource, conversion, …"""
        return self.headers.get("warc-type", "").lower()

    @property
    def url(self) -> str | None:
        """What was fetched."""
        return self.headers.get("warc-target-uri", "").strip("<> ") or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A stretch of the file that gave no record, from ``offset`` on."""

    offset: int
    reason: str


def records(path: Path, *, packed: bool, max_bytes: int) -> Iterator[Record | Damage]:
    """The records of a file in their order. Bodies of more than ``max_bytes`` are passed over, and said so."""
    with path.open("rb") as raw:
        stream = Members(raw, packed=packed)
        if not stream.more(1) and not stream.damages:
            yield Damage(offset=0, reason="is empty")
        while stream.skip_lines():
            found = _record(stream, max_bytes)
            gone = {offset for offset, _ in stream.damages}
            yield from _told(stream)
            if isinstance(found, Record) or found.offset not in gone:
                yield found
        yield from _told(stream)


def _told(stream: Members) -> Iterator[Damage]:
    while stream.damages:
        offset, reason = stream.damages.pop(0)
        yield Damage(offset=offset, reason=reason)


def payload(record: Record, limit: int) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of an HTTP response in a record, its transfer and content codings undone.

    Raises ``DocumentError`` for what is no HTTP response, or a bomb.
    """
    head, gap, body = record.body.partition(b"\r\n\r\n")
    if not gap:
        head, gap, body = record.body.partition(b"\n\n")
    lines = head.decode("latin-1").splitlines()
    status = re.match(r"HTTP/\d(?:\.\d)? (\d{3})", lines[0] if lines else "")
    if not status:
        raise DocumentError("is no HTTP response")
    headers: dict[str, str] = {}
    for line in lines[1:257]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    coding = headers.get("content-encoding", "").lower()
    coded = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5"}
    if coding and not (
        coding in coded and not body.startswith(coded[coding])
    ):  # some crawlers undo it and leave the word
        try:
            body = body_of([body], coding, limit=limit)
        except FetchError as error:
            raise DocumentError(error.what) from error
    return int(status[1]), headers, body


def _unchunked(body: bytes) -> bytes:
    """A chunked body; one that is none comes back as it was (crawlers undo it and leave the header)."""
    found: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        at = match.end()
        if size == 0:
            return b"".join(found)
        found.append(body[at : at + size])
        at += size
        if body[at : at + 2] == b"\r\n":
            at += 2
        elif body[at : at + 1] == b"\n":
            at += 1
    return b"".join(found) if at and at >= len(body) - 2 else body


def _record(stream: Members, max_bytes: int) -> Record | Damage:
    """The record at the stream's place, or why there is none; the stream is behind it then."""
    offset = stream.offset
    headers = _headers(stream)
    if isinstance(headers, str):
        stream.seek(_NEXT)
        return Damage(offset=offset, reason=headers)
    stated = headers.get("content-length", "")
    if not stated.isdigit() or len(stated) > 15:
        stream.seek(_NEXT)
        return Damage(offset=offset, reason=f"has no length that can be read: {stated[:40]!r}")
    size = int(stated)
    if size > max_bytes:
        stream.seek(_NEXT, within=size)
        return Damage(offset=offset, reason=f"has {size:,} bytes; at most {max_bytes:,} are read")
    stream.more(size + 9)
    held = len(stream.buffer)
    if held < size or not _ends(stream.buffer[size : size + 9]):
        if not (stream.damages and _START.match(stream.buffer)):  # else the rest of a damaged member is gone already
            stream.seek(_NEXT)
        cut = f"is cut short: {held:,} of {size:,} bytes"
        return Damage(offset=offset, reason=cut if held < size else "has a wrong length, or is damaged")
    body = bytes(stream.buffer[:size])
    stream.drop(size)
    stream.skip_lines()
    return Record(headers=headers, body=body, offset=offset, length=max(0, stream.behind - offset))


def _ends(rest: bytes | bytearray) -> bool:
    """Whether a record may end before ``rest``: two line ends, the next record, the end of the file."""
    following = bytes(rest).lstrip(b"\r\n")
    return rest[:4] == b"\r\n\r\n" or b"WARC/".startswith(following[:5])


def _headers(stream: Members) -> dict[str, str] | str:
    """The named fields at the stream's place, which moves behind them; or what is wrong with them."""
    stream.more(_HEAD)
    if not _START.match(stream.buffer):
        return "is no record"
    end = re.search(rb"\r?\n\r?\n", stream.buffer[:_HEAD])
    if not end:
        return f"has a header without an end, or of more than {_HEAD >> 10} KiB"
    lines = bytes(stream.buffer[: end.start()]).decode("utf-8", "replace").splitlines()
    stream.drop(end.end())
    headers: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = value.strip()
    return headers
