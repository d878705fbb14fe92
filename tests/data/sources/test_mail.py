"""Mail as a source: mailboxes, single messages, Maildir folders, and the mails of SpamAssassin's corpus."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lamina.data.sources import mail as source


def message(
    number: int, *, reply: int | None = None, body: str = "", sender: str = "Ann North <ann@example.org>"
) -> str:
    head = f"From: {sender}\nTo: Bob South <bob@example.org>\nSubject: Lamps {number}\nMessage-ID: <{number}@x>\n"
    head += "Date: Wed, 1 May 2024 12:00:00 +0200\n" + (f"References: <{reply}@x>\n" if reply is not None else "")
    return f"{head}\n{body or f'Words of number {number}.'}\n"


def box(*messages: str) -> str:
    return "".join(f"From ann@example.org Wed May  1 12:00:00 2024\n{one}\n" for one in messages)


def test_a_mailbox_keeps_threads_together(collect: Any) -> None:
    found = collect("mail", {"lists/a.mbox": box(message(1), message(2), message(3, reply=1), message(4, reply=1))})
    assert found.texts() == [f"Words of number {n}." for n in (1, 2, 3, 4)]
    groups = [row["group_id"] for row in found.rows]
    assert groups[0] == groups[2] == groups[3] != groups[1]
    assert [row["position"] for row in found.rows] == [0, 0, 1, 2]
    assert found.rows[0]["title"] == "Lamps 1"
    assert found.rows[0]["created"].isoformat() == "2024-05-01T10:00:00+00:00"
    assert len({row["id"] for row in found.rows}) == 4
    assert found.names == ["lists/a.mbox"]
    assert not found.reasons


def test_mail_in_an_archive(collect: Any) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as out:
        for name, text in {"Takeout/All.mbox": box(message(1), message(2)), "md/cur/1:2,S": message(3)}.items():
            about = tarfile.TarInfo(name)
            about.size = len(text.encode())
            out.addfile(about, io.BytesIO(text.encode()))
    found = collect("mail", {"takeout.tgz": packed.getvalue()})
    assert found.texts() == [f"Words of number {n}." for n in (1, 2, 3)]
    assert found.rows[2]["url"] == "npm:box@1/takeout.tgz/md/cur/1:2,S"
    assert not found.reasons


def test_messages_are_known_by_their_headers_whatever_they_are_called(collect: Any) -> None:
    notes = "Date: 2024-05-01\n\nWe met, and this is what was said."
    found = collect("mail", {"a.txt": message(1), "notes.txt": notes, "b.msg.txt": message(2).replace("\n", "\r\n")})
    assert found.texts() == ["Words of number 1.", "Words of number 2."]
    assert set(found.reasons) == {"notes.txt"}


def test_people_become_pseudonyms_also_in_the_text(collect: Any) -> None:
    body = "Dear Bob South (bob@example.org), bob knows. Ann North"
    (row,) = collect("mail", {"a.eml": message(1, body=body)}).rows
    assert row["author"].startswith("person-")
    assert "example.org" not in row["text"]
    assert "South" not in row["text"]
    assert row["text"].endswith(row["author"])
    assert "bob knows" in row["text"]
    (named,) = collect("mail", {"a.eml": message(1, body=body)}, pseudonyms=False).rows
    assert (named["author"], named["text"]) == ("Ann North", body)
    (salted,) = collect("mail", {"a.eml": message(1, body=body)}, salt="other").rows
    assert salted["author"] != row["author"]


def test_quotes_are_kept_where_wanted(collect: Any) -> None:
    body = "Yes.\n\nOn Monday, Bob wrote:\n> Will it?"
    assert collect("mail", {"a.eml": message(1, body=body)}).texts() == ["Yes."]
    assert collect("mail", {"a.eml": message(1, body=body)}, trim=False).texts() == [body]


def test_a_from_within_the_text_opens_no_message(collect: Any) -> None:
    body = "first\nFrom here on 12 lamps burn.\n\n>From 12 on they do not."
    found = collect("mail", {"a.mbox": box(message(1, body=body), message(2))})
    assert len(found.rows) == 2
    assert "From here on 12 lamps burn." in found.rows[0]["text"]
    assert "\nFrom 12 on" in found.rows[0]["text"]


def test_a_maildir_and_what_lies_in_it_beside_messages(collect: Any) -> None:
    found = collect(
        "mail",
        {
            "box/cur/1714557600.M1P2.host:2,S": message(1),
            "box/new/1714557601.M1P2.host": message(2),
            "box/cur/1714557602.M1P2.host:2,ST": message(3),
            "box/tmp/1714557603.M1P2.host": message(4),
            "box/dovecot.index": b"\0\1",
            "Inbox": box(message(5)),
            "a.msg": b"\xd0\xcf\x11\xe0",
            "b.txt": "words",
        },
    )
    assert [row["title"] for row in found.rows] == ["Lamps 1", "Lamps 2", "Lamps 5"]
    assert "trash" in found.reasons["box/cur/1714557602.M1P2.host:2,ST"]
    assert set(found.reasons) == {
        "box/cur/1714557602.M1P2.host:2,ST", "box/tmp/1714557603.M1P2.host", "box/dovecot.index", "a.msg", "b.txt",
    }  # fmt: skip


def test_a_message_of_100_mb_costs_itself_with_memory_flat(
    collect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_MESSAGE", 4 << 20)
    big = tmp_path / "big.mbox"
    with big.open("wb") as file:
        file.write(box(message(1)).encode() + b"From x@x Wed May  1 12:00:00 2024\nSubject: big\n\n")
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\n\n" + box(message(2)).encode())
    tracemalloc.start()
    found = collect("mail", {"big.mbox": big})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row["title"] for row in found.rows] == ["Lamps 1", "Lamps 2"]
    (where,) = found.reasons
    assert where.startswith("big.mbox, message 2 (byte ")
    assert "is 100 MiB" in found.reasons[where]
    assert peak < 24 << 20


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.mbox", b"", "empty"),
        ("b.mbox", b"only words\n\nFrom here on", "does not begin with 'From '"),
        ("c.mbox.gz", b"plain", "damaged"),
        ("d.eml", b"", "empty"),
        ("e.eml", b"\x89PNG\r\n\x1a\n", "a picture"),
        ("f.pst", b"!BDN", "Outlook"),
    ],
)
def test_what_is_no_mail_is_listed_and_the_rest_goes_on(collect: Any, name: str, data: bytes, reason: str) -> None:
    found = collect("mail", {name: data, "z.eml": message(1)})
    assert len(found.rows) == 1
    assert reason in found.reasons[name]


def test_a_message_that_takes_too_much_memory_costs_itself_alone(collect: Any) -> None:
    large = message(2, body="words\n" * (4 << 20))
    found = collect("mail", {"a.mbox": box(message(1), large, message(3))}, memory_mb=192)
    assert [row["title"] for row in found.rows] == ["Lamps 1", "Lamps 3"]
    (where,) = found.reasons
    assert where.startswith("a.mbox, message 2 ")


def test_limit_and_attachments(collect: Any) -> None:
    raw = (
        "From: a@x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nWords\n--b\n"
        "Content-Type: text/calendar\n\nBEGIN\n--b--\n"
    )
    found = collect("mail", {"a.eml": raw, "b.eml": message(1)}, limit=1)
    assert json.loads(found.rows[0]["meta"])["attachments"] == [{"name": None, "type": "text/calendar", "bytes": 5}]
    assert "limit of 1" in found.reasons["b.eml"]


@pytest.mark.material
def test_two_thousand_real_mails(collect: Any, material: Any) -> None:
    folder = material("spam-assassin")
    files = sorted(folder.rglob("easy-ham-*/*.json"))[:2000]
    texts = [json.loads(file.read_bytes())["text"] for file in files]
    found = collect("mail", {f"{n:05d}.eml": text.encode("utf-8", "surrogateescape") for n, text in enumerate(texts)})
    assert len(found.rows) >= 0.98 * len(texts)
    assert sum("\n>" in text for text in found.texts()) < 0.01 * len(texts)
    assert len({row["group_id"] for row in found.rows}) < 0.8 * len(found.rows)
