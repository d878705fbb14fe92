"""Bluesky's repository export: a CAR file of DAG-CBOR blocks, of which the posts of one account are read.

https://ipld.io/specs/transport/car/carv1/, https://atproto.com/specs/repository: the nodes of the search tree name each
record (collection/key) and point to its block. Written for the jail: bytes in, JSON values out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from lamina.kit.errors import DocumentError

_DEEP = 64  # containers in containers
_POST = "app.bsky.feed.post/"
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}


def read(payload: dict[str, Any], data: bytes | None) -> list[dict[str, Any]]:
    """The posts by key, as ``{"uri", "author": {"did"}, "record"}``; ``DocumentError`` for a damaged file."""
    blocks = dict(_blocks(data or b""))
    did = "did:unknown"
    keys: dict[str, bytes] = {}
    for block in blocks.values():
        try:
            value = _Cbor(block).value()
        except DocumentError:
            continue  # a block of another codec
        if not isinstance(value, dict):
            continue
        if isinstance(value.get("did"), str) and "sig" in value:
            did = value["did"]
        if isinstance(value.get("e"), list) and "l" in value:
            keys |= _entries(value["e"])
    posts = []
    for key, cid in sorted(keys.items()):
        if key.startswith(_POST) and cid in blocks:
            record = _Cbor(blocks[cid]).value()
            if isinstance(record, dict):
                posts.append({"uri": f"at://{did}/{key}", "author": {"did": did}, "record": _plain(record)})
    return posts


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(CID, bytes) of each block behind the header."""
    length, at = _varint(data, 0)
    if not 0 < length < 1 << 20 or at + length > len(data):
        raise DocumentError("is no CAR file: it has no header")
    header = _Cbor(data[at : at + length]).value()
    if not isinstance(header, dict) or header.get("version") != 1:
        raise DocumentError("is no CAR file of version 1")
    at += length
    while at < len(data):
        length, start = _varint(data, at)
        end = start + length
        if length == 0 or end > len(data):
            raise DocumentError(f"is cut short at byte {at:,}")
        body = start + _cid(data, start, end)
        yield data[start:body], data[body:end]
        at = end


def _cid(data: bytes, at: int, end: int) -> int:
    """The length of the CID at ``at``."""
    if data[at : at + 2] == b"\x12\x20":
        return 34  # version 0
    place = at
    for _ in range(3):  # version, codec, hash
        _, place = _varint(data, place)
    size, place = _varint(data, place)
    if place + size > end:
        raise DocumentError(f"has a damaged block at byte {at:,}")
    return place + size - at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= 63:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise DocumentError("is cut short, or no CAR file")


def _entries(entries: list[Any]) -> dict[str, bytes]:
    """The records that a node names; keys share beginnings with the key before them in the node."""
    found: dict[str, bytes] = {}
    before = b""
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("k"), bytes) or not isinstance(entry.get("p"), int):
            return found
        before = before[: entry["p"]] + entry["k"]
        if isinstance(entry.get("v"), _Link):
            found[before.decode("utf-8", "replace")] = entry["v"].cid
    return found


class _Link:
    """A pointer to a block."""

    def __init__(self, cid: bytes) -> None:
        self.cid = cid


def _plain(value: Any) -> Any:
    """Without what JSON has no words for: links and bytes."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items() if not isinstance(inner, bytes | _Link)}
    return (
        [_plain(inner) for inner in value if not isinstance(inner, bytes | _Link)] if isinstance(value, list) else value
    )


class _Cbor:
    """DAG-CBOR (RFC 8949 with definite lengths; tag 42 is a link)."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def value(self, depth: int = 0) -> Any:
        if depth > _DEEP:
            raise DocumentError("is nested too deep")
        kind, number, argument = self._head()
        if kind == 0:
            return argument
        if kind == 1:
            return -1 - argument
        if kind == 2:
            return self._take(argument)
        if kind == 3:
            return self._take(argument).decode("utf-8", "replace")
        if kind in (4, 5) and argument > len(self._data):  # each item takes a byte
            raise DocumentError("is damaged: a list is longer than its block")
        if kind == 4:
            return [self.value(depth + 1) for _ in range(argument)]
        if kind == 5:
            pairs = [(self.value(depth + 1), self.value(depth + 1)) for _ in range(argument)]
            return {name: inner for name, inner in pairs if isinstance(name, str)}
        if kind == 6:
            inner = self.value(depth + 1)
            return _Link(inner[1:]) if argument == 42 and isinstance(inner, bytes) else inner
        return self._simple(number, argument)

    def _simple(self, number: int, argument: int) -> Any:
        if number in _FLOATS:
            size = struct.calcsize(_FLOATS[number])
            return struct.unpack(_FLOATS[number], argument.to_bytes(size, "big"))[0]
        if number in (20, 21, 22):
            return {20: False, 21: True, 22: None}[number]
        raise DocumentError("is no DAG-CBOR")

    def _head(self) -> tuple[int, int, int]:
        """(major type, additional information, argument)."""
        first = self._take(1)[0]
        kind, number = first >> 5, first & 0x1F
        if number < 24:
            return kind, number, number
        if number > 27:
            raise DocumentError("is no DAG-CBOR")
        return kind, number, int.from_bytes(self._take(1 << (number - 24)), "big")

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise DocumentError("is cut short")
        self._at += size
        return piece
