from __future__ import annotations

import base64
from typing import Any

import pytest

from lamina.data.readers.mail import message, read
from lamina.kit.errors import DocumentError

HEAD = b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: Hi\r\n"


def mail(*headers: str, body: bytes = b"Words.\r\n", trim: bool = True) -> dict[str, Any]:
    return message(HEAD + "".join(f"{h}\r\n" for h in headers).encode() + b"\r\n" + body, trim=trim)


def part(kind: str, body: bytes, *headers: str) -> bytes:
    return f"Content-Type: {kind}\r\n{''.join(f'{h}{chr(13)}{chr(10)}' for h in headers)}\r\n".encode() + body + b"\r\n"


def multipart(kind: str, *parts: bytes, mark: str = "b") -> tuple[str, bytes]:
    body = b"".join(b"--" + mark.encode() + b"\r\n" + one for one in parts) + b"--" + mark.encode() + b"--\r\n"
    return f'Content-Type: multipart/{kind}; boundary="{mark}"', body


def test_headers_and_thread() -> None:
    found = mail(
        "Message-ID: <c@x>",
        "References: <a@x> <b@x>",
        "In-Reply-To: <b@x>",
        "Date: Wed, 1 May 2024 12:00:00 +0200",
        "Content-Language: de-DE, en",
        "List-Id: The List <list.example.org>",
    )
    assert (found["id"], found["references"]) == ("c@x", ["a@x", "b@x"])
    assert (found["from"], found["subject"], found["language"]) == (["Ann", "ann@example.org"], "Hi", "de-DE")
    assert found["list"] == "The List <list.example.org>"


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?IQ==?=", "Grüße!"),
        ("=?no-such?q?=E9t=E9?=", "été"),
        ("=?utf-8?b?a?= b", "=?utf-8?b?a?= b"),
        ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
    ],
)
def test_encoded_words(raw: str, subject: str) -> None:
    found = message(b"From: a@x\nSubject: " + raw.encode() + b"\n\nwords", trim=True)
    assert found["subject"] == subject


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("utf-8", "Grüße €".encode(), "Grüße €"),
        ("iso-8859-1", "Grüße €".encode("cp1252"), "Grüße €"),
        ("utf-8", "Grüße sind über alle Maße schön".encode("cp1252"), "Grüße sind über alle Maße schön"),
        ("no-such-charset", "Grüße".encode(), "Grüße"),
        ("iso-2022-jp", "日本".encode("iso-2022-jp"), "日本"),
        ("us-ascii", "naïve".encode(), "naïve"),
        ("windows-1252", "naïve".encode(), "naïve"),
    ],
)
def test_character_sets_unknown_and_wrong(charset: str, body: bytes, text: str) -> None:
    found = mail(f"Content-Type: text/plain; charset={charset}", "Content-Transfer-Encoding: 8bit", body=body)
    assert found["text"] == text


def test_plain_text_goes_before_html_and_attachments_are_told() -> None:
    picture = part("image/png", base64.b64encode(b"x" * 30), "Content-Transfer-Encoding: base64",
                   'Content-Disposition: attachment; filename="=?utf-8?q?B=C3=A4r?=.png"')  # fmt: skip
    kind, inner = multipart("alternative", part("text/plain", b"plain"), part("text/html", b"<p>rich"), mark="i")
    kind = kind.removeprefix("Content-Type: ")
    head, body = multipart("mixed", part(kind, inner), picture)
    found = mail(head, body=body)
    assert found["text"] == "plain"
    assert found["attachments"] == [{"name": "Bär.png", "type": "image/png", "bytes": 30}]
    head, body = multipart("alternative", part("text/plain", b"  "), part("text/html", b"<p>rich<p>er"))
    assert mail(head, body=body)["text"] == "rich\n\ner"


def test_html_without_what_it_quotes() -> None:
    body = b'<p>Yes.</p><div class="gmail_quote">On x wrote: <blockquote>Will it?</blockquote></div><script>x</script>'
    assert mail("Content-Type: text/html", body=body)["text"] == "Yes."
    body = b'Yes.<br>Bye<blockquote type="cite">Will it?</blockquote>'
    assert mail("Content-Type: text/html", body=body)["text"] == "Yes.\nBye"


def test_flowed_lines_are_joined() -> None:
    found = mail("Content-Type: text/plain; format=flowed", body=b"one \r\nline\r\n\r\nother\r\n", trim=False)
    assert found["text"] == "one line\n\nother"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n", "a picture"),
        (b"only words, no headers", "none of the headers"),
        (HEAD + b"\r\n  ", "no text"),
        (HEAD + b"\r\n> quoted\r\n", "quoted text"),
        (HEAD + b"Content-Type: multipart/encrypted; boundary=x\r\n\r\n--x\r\n", "encrypted"),
        (HEAD + b"X-Mozilla-Status: 0009\r\n\r\nWords", "deleted"),
    ],
)
def test_what_is_no_message(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        message(raw, trim=True)


def test_parts_within_parts_without_end_cost_one_message() -> None:
    deep = HEAD
    for n in range(3000):
        deep += f'Content-Type: multipart/mixed; boundary="{n}"\r\n\r\n--{n}\r\n'.encode()
    many = HEAD + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\na\r\n" * 5000 + b"--x--"
    good = HEAD + b"\r\nfine"
    found = read({"sizes": [len(deep), len(many), len(good)], "trim": True}, deep + many + good)
    assert "parts" in found[0]["error"]
    assert "parts" in found[1]["error"]
    assert found[2]["text"] == "fine"
