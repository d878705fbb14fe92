"""Bluesky's repository export: blocks by their ids, keys from the tree's nodes, damage named."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.social import car
from lamina.kit.errors import DocumentError


class Cid(bytes):
    """A link."""


def head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    size = next(n for n in (1, 2, 4, 8) if number < 1 << 8 * n)
    return bytes([kind << 5 | 23 + size.bit_length()]) + number.to_bytes(size, "big")


def cbor(value: Any) -> bytes:
    if isinstance(value, Cid):
        return head(6, 42) + cbor(b"\0" + bytes(value))
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def varint(number: int) -> bytes:
    out = b""
    while number >= 128:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def cid_of(block: bytes) -> Cid:
    return Cid(b"\x01\x71\x12\x20" + hashlib.sha256(block).digest())


def car_file(values: list[Any]) -> bytes:
    blocks = [value if isinstance(value, bytes) else cbor(value) for value in values]
    told = cbor({"roots": [cid_of(blocks[0])], "version": 1})
    out = varint(len(told)) + told
    for block in blocks:
        out += varint(36 + len(block)) + cid_of(block) + block
    return out


def post(text: str, **more: Any) -> dict[str, Any]:
    return {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2024-01-01T00:00:00Z", "langs": ["en"]} | more


def repository() -> bytes:
    uri = "at://did:plc:me/app.bsky.feed.post/3ka"
    reply = {"root": {"uri": uri}, "parent": {"uri": uri, "cid": "b"}}
    first, second, like = post("First."), post("Second.", reply=reply, embed={"blob": Cid(b"x"), "n": 1.5}), {"a": 1}
    keys = [("app.bsky.feed.like/3", like), ("app.bsky.feed.post/3ka", first), ("app.bsky.feed.post/3kb", second)]
    entries, before = [], b""
    for key, value in keys:
        data = key.encode()
        shared = next(
            (n for n, (a, b) in enumerate(zip(before, data, strict=False)) if a != b), min(len(before), len(data))
        )
        entries.append({"p": shared, "k": data[shared:], "v": cid_of(cbor(value)), "t": None})
        before = data
    node = {"l": None, "e": entries}
    commit = {"did": "did:plc:me", "rev": "3k", "sig": b"x", "data": cid_of(cbor(node)), "prev": None, "version": 3}
    return car_file([commit, node, like, first, second])


def test_the_posts_of_a_repository(read: Any) -> None:
    posts = car.read({}, repository())
    assert [p["uri"].rpartition("/")[2] for p in posts] == ["3ka", "3kb"]
    assert posts[1]["record"]["embed"] == {"n": 1.5}
    (row,) = read({"repo.car": repository()}).rows
    assert row["text"] == "First.\n\nSecond."
    assert row["author"].startswith("person-")
    assert row["language"] == "en"


def test_damage_is_told(read: Any) -> None:
    whole = repository()
    found = read({"a.car": whole[:-3], "b.car": b"PNG", "c.car": b"", "d.car": car_file([{"version": 1}])})
    assert "cut short" in found.reasons["a.car"]
    assert "b.car" in found.reasons
    assert "c.car" in found.reasons
    assert not found.rows


def test_nesting_is_bounded() -> None:
    deep = b"\x81" * 100_000 + b"\x01"
    assert car.read({}, car_file([deep])) == []
    long = head(4, 1 << 40)
    assert car.read({}, car_file([long])) == []


@given(st.binary(max_size=300))
def test_any_bytes_end_in_posts_or_a_reason(data: bytes) -> None:
    with suppress(DocumentError):
        assert isinstance(car.read({}, data), list)


@given(st.integers(0, 700), st.integers(0, 255))
def test_any_damage_ends_in_posts_or_a_reason(place: int, byte: int) -> None:
    data = bytearray(repository())
    data[place % len(data)] = byte
    with suppress(DocumentError):
        assert len(car.read({}, bytes(data))) <= 2


@pytest.mark.parametrize(
    "value", [0, 23, 24, 255, 256, 65536, 1 << 40, -1, -500, "ü", [1, [2]], {"a": None}, True, 2.5]
)
def test_values(value: Any) -> None:
    assert car._Cbor(cbor(value)).value() == value
