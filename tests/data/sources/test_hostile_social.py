"""Exports made to harm, or broken on the way: each ends in the right rows and the right reasons, in bounded memory."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.data.readers.streams import kind

POST = {"id": "1", "author": "ann", "text": "Fine."}


def archive(members: dict[str, Any] | list[tuple[str, Any]], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as out:
        for name, content in members.items() if isinstance(members, dict) else members:
            out.writestr(name, content if isinstance(content, bytes | str) else orjson.dumps(content))
    return buffer.getvalue()


def slack(**days: Any) -> dict[str, Any]:
    listed = {"users.json": [{"id": "U1", "name": "ann"}], "channels.json": [{"id": "C1", "name": "general"}]}
    return listed | {f"general/{day.replace('_', '-')[1:]}.json": value for day, value in days.items()}


def said(ts: Any, text: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": "U1", "text": text, "ts": ts} | more


def bomb() -> bytes:
    return archive({"a.json": b"0" * (300 << 20), "b.json": orjson.dumps([POST])})


def overlapping() -> bytes:
    """Two names for the same bytes, as in "A better zip bomb"."""
    data = bytearray(archive({"a.json": b"[" + b" " * 500 + b"]", "b.json": b"[]"}))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    return bytes(data)


def linked() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        link = tarfile.TarInfo("outbox.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
        about = tarfile.TarInfo("posts.json")
        about.size = len(orjson.dumps([POST]))
        out.addfile(about, io.BytesIO(orjson.dumps([POST])))
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(archive({"a.json": [POST]}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + place] |= 1
    return bytes(data)


@dataclass(frozen=True)
class Case:
    name: str
    content: Callable[[], Any]
    texts: list[str] = field(default_factory=list)
    reason: str = ""


CASES = [
    Case("zip bomb.zip", bomb, [], "past the cap"),
    Case("overlap.zip", overlapping, [], "overlaps"),
    Case("up.zip", lambda: archive({"../../etc/cron.json": [POST], "a.json": [POST]}), [], "unsafe name"),
    Case("root.zip", lambda: archive({"/etc/cron.json": [POST]}), [], "unsafe name"),
    Case("windows.tar", lambda: b"PK" + archive({"..\\..\\a.json": [POST]})[2:], [], "unsafe name"),
    Case("twice.zip", lambda: archive([("a.json", [POST]), ("a.json", [POST])]), [], "two entries"),
    Case("links.tar.gz", linked, ["Fine."]),
    Case("locked.zip", encrypted, [], "encrypted"),
    Case("cut.zip", lambda: archive({"a.json": [POST] * 500})[:-200], [], "cannot be unpacked"),
    Case("no zip.zip", lambda: b"PK\x03\x04 and then nothing", [], "cannot be unpacked"),
    Case("empty.zip", lambda: archive({}), [], "holds no files"),
    Case("pictures.zip", lambda: archive({"a.png": b"\x89PNG", "b.exe": b"MZ"}), [], "holds no files"),
    Case("nested.zip", lambda: archive({"inner.zip": archive({"a.json": [POST]})}), [], "holds no files"),
    Case("one bad.zip", lambda: archive({"a.json": b"{", "b.json": [POST]}), ["Fine."], "is not JSON"),
    Case("no users.zip", lambda: archive({**slack(_2024_01_01=[said("1.2", "Fine.")]), "users.json": b""}), ["Fine."]),
    Case(
        "users wrong.zip",
        lambda: archive({**slack(_2024_01_01=[said("1", "Fine.")]), "users.json": {"a": 1}}),
        ["Fine."],
        "holds no list",
    ),
    Case("empty channel.zip", lambda: archive(slack(_2024_01_01=[])), []),
    Case(
        "bad day.zip",
        lambda: archive(slack(_2024_01_01=b"[{", _2024_01_02=[said("2", "Fine.")])),
        ["Fine."],
        "is not JSON",
    ),
    Case(
        "odd messages.zip",
        lambda: archive(
            slack(
                _2024_01_01=[
                    None,
                    3,
                    "x",
                    [],
                    {},
                    said(None, "a"),
                    said("1", None),
                    said("2", {"a": 1}),
                    said([], "b"),
                    said("9", "Fine.", thread_ts={"x": 1}, subtype=["x"]),
                ]
            )
        ),
        [],
    ),
    Case(
        "circle.zip",
        lambda: archive(slack(_2024_01_01=[said("1", "One.", thread_ts="2"), said("2", "Two.", thread_ts="1")])),
        ["One.", "Two."],
    ),
    Case("same.json", lambda: b'[{"id": "1", "text": "Bad.", "text": "Fine.", "author": "a"}]', ["Fine."]),
    Case("nan.json", lambda: b'[{"id": "1", "text": "a", "score": NaN}]', [], "is not JSON"),
    Case("deep.json", lambda: b"[" * 100_000 + b"]" * 100_000, [], "is not JSON"),
    Case("deep2.json", lambda: b'[{"text": "Fine.", "x": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}]", ["Fine."]),
    Case("huge numbers.json", lambda: b'[{"text": "Fine.", "ts": -1e400}]', None, "is not JSON"),
    Case("large numbers.json", lambda: b'[{"id": 99999999999999999999999, "text": "Fine.", "date": 1e307}]', ["Fine."]),
    Case("utf16.json", lambda: '[{"text": "F\u00efne."}]'.encode("utf-16"), ["F\u00efne."]),
    Case(
        "latin.json", lambda: '[{"text": "\u00e4\u00f6\u00fc\u00e4\u00f6\u00fc"}]'.encode("latin-1"), [], "is not UTF-8"
    ),
    Case("halves.json", lambda: b'[{"text": "Fine. \\ud800", "author": "\\udfff"}]', None, ""),
    Case("nulls.json", lambda: b"[\0" * 40, [], "is binary"),
    Case("a program.js", lambda: b"fetch('https://example.org/')", [], "is a program"),
    Case(
        "result.json",
        lambda: {
            "chats": {
                "list": [
                    None,
                    3,
                    {"messages": 7},
                    {"messages": [None, {"type": "message"}, {"id": {}, "text": [[], {}, 3, None], "from": 7}]},
                    {"id": 1, "messages": [{"id": 1, "text": "Fine.", "from": "a"}]},
                ]
            }
        },
        ["Fine."],
    ),
    Case(
        "channel.json",
        lambda: {
            "guild": None,
            "channel": [],
            "messages": [None, {"content": 3}, {"content": "Fine.", "author": [], "mentions": {}, "reference": 3}],
        },
        ["Fine."],
    ),
    Case("messages.json", lambda: {"guild": {}, "channel": {}, "messages": "none"}, []),
    Case(
        "tweets.js",
        lambda: (
            b"window.YTD.tweets.part0 = "
            + orjson.dumps(
                [
                    {"tweet": 3},
                    {"tweet": {"full_text": "Fine.", "entities": {"urls": [3, {}], "user_mentions": {}}}},
                    None,
                    "x",
                ]
            )
        ),
        None,
    ),
    Case(
        "outbox.json",
        lambda: {"orderedItems": [3, None, {"object": {"content": "Fine.", "to": 3, "tag": [3, {"type": "Mention"}]}}]},
        None,
    ),
    Case(
        "comments.jsonl",
        lambda: (
            b'{"body": "a", "created_utc": 1, "parent_id": ["t1_"], "id": 3}\n'
            b'{"body": "Fine.", "created_utc": {}, "parent_id": "t1_x", "id": null, "link_id": 7}\n'
        ),
        None,
    ),
    Case(
        "dump_comments.zst",
        lambda: zstandard.compress(b'{"body": "Fine.", "created_utc": 1, "id": "b"}\n' * 2)[:-4],
        [],
        "cut short",
    ),
    Case("bomb_comments.zst", lambda: zstandard.compress(b" " * (400 << 20)), [], "200 times"),
    Case("own.csv", lambda: 'id,permalink,subreddit,body\n1,x,lamps,"open', [], "is malformed"),
    Case("Chat.txt", lambda: "99/99/99, 99:99 - Ann: Fine.\n1/1/24, 9:00 - \n1/1/24, 9:00 - Ann:\n", ["Fine."]),
    Case("Lines.txt", lambda: "1/1/24, 9:00 - Ann: " + ": " * 200_000, None),
    Case("repo.car", lambda: b"\xff" * 500, [], "cut short"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_exports(collect: Any, case: Case, tmp_path: Path) -> None:
    content = case.content()
    data = content if isinstance(content, bytes | str) else orjson.dumps(content)
    began = time.perf_counter()
    found = collect("social", {case.name: data, "good.json": orjson.dumps([POST | {"text": "Neighbour."}])})
    assert "Neighbour." in found.texts(), "what is bad costs itself alone"
    mine = [text for text in found.texts() if text != "Neighbour."]
    if case.texts is not None:
        assert mine == case.texts
    if case.reason:
        assert any(case.reason in reason for reason in found.reasons.values()), found.reasons
    if not mine and case.texts:
        pytest.fail("nothing was read")
    assert mine or found.reasons or case.name == "empty channel.zip" or case.name == "messages.json"
    assert time.perf_counter() - began < 20  # seconds, on a machine that does other things too


def test_what_was_read_before_a_cut_and_the_other_half_of_a_pair_are_kept(collect: Any) -> None:
    lines = b"".join(orjson.dumps(POST | {"id": str(n), "text": f"Number {n}."}) + b"\n" for n in range(3000))
    found = collect("social", {"posts.jsonl.gz": gzip.compress(lines)[:-9]})
    assert len(found.rows) > 2000
    assert "cut short" in found.reasons["posts.jsonl.gz"]
    comments = zstandard.compress(b'{"body": "Fine.", "created_utc": 1, "id": "b", "link_id": "t3_a"}\n' * 2)
    posts = b'{"id": "a", "name": "t3_a", "title": "Lamps", "selftext": "", "created_utc": 1}\n'
    pair = {"lamps_comments.zst": comments[:-4], "lamps_submissions.zst": zstandard.compress(posts)}
    found = collect("social", pair)
    assert found.texts() == ["Lamps"]
    assert "cut short" in found.reasons["lamps, file lamps_comments.zst"]


def test_nothing_is_written_outside(collect: Any, tmp_path: Path) -> None:
    before = {path for path in tmp_path.parent.rglob("*") if "cron" in path.name}
    collect("social", {"up.zip": archive({"../cron.json": [POST], "x/../../cron2.json": [POST]})})
    assert {path for path in tmp_path.parent.rglob("*") if "cron" in path.name} == before


def test_a_bomb_takes_little_memory(collect: Any) -> None:
    data = bomb()
    tracemalloc.start()
    collect("social", {"bomb.zip": data})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 << 20


WORDS = (
    "id text content body selftext author user from from_id by type created_utc created_at ts thread_ts parent_id tweet"
    " full_text object record uri messages chats list guild channel mentions entities urls tag to reply subtype langs"
    " facets title permalink subreddit time kids orderedItems name"
)
NAMES = st.sampled_from(WORDS.split())
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=6)),
    max_leaves=20,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(VALUES, st.sampled_from(["a.json", "b.jsonl", "slack.zip", "result.json", "x.zip"]))
def test_any_json_under_the_names_of_exports(collect: Any, value: Any, name: str) -> None:
    import json

    data: Any = json.dumps(value).encode()  # NaN and numbers past 64 bits too
    if kind(name) == ".zip":
        names = (
            "general/2024-01-01.json",
            "users.json",
            "channels.json",
            "data/tweets.js",
            "messages/c1/messages.json",
        )
        some = names[:3] if name == "slack.zip" else names[3:]
        data = archive({each: b"x = " + data if each.endswith(".js") else data for each in some})
    found = collect("social", {name: data})
    assert found.rows or found.reasons or found.names
