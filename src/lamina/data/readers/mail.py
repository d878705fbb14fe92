"""E-mail (RFC 5322, MIME): the text that its author wrote, without quoted replies and signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses
from typing import Any

from lamina.data.readers.markup import local, text_of
from lamina.data.readers.page import to_text
from lamina.data.readers.replies import trimmed
from lamina.data.readers.streams import recognised
from lamina.kit.errors import DocumentError

MAX_DEPTH = 30  # parts within parts
MAX_PARTS = 2_000
_LISTED = 50  # attachments
_MAIL_ONLY = ("iso-2022-jp", "iso-2022-kr", "iso-2022-jp-2", "iso-2022-jp-ext", "utf-7", "hz", "hz-gb-2312")
_OFTEN_WRONG = ("us-ascii", "iso-8859-1", "windows-1252", "latin1")
_ID = re.compile(r"<([^<>\s]{1,500})>")
_CITED = ("gmail_quote", "yahoo_quoted", "moz-cite-prefix", "divrplyfwdmsg", "appendonsend", "gmail_signature")


def read(payload: dict[str, Any], data: bytes | None) -> list[dict[str, Any]]:
    """The messages whose lengths are ``payload["sizes"]``, one behind the other in ``data``; ``trim``: see ``message``.

    Each is ``message``'s answer, or ``{"error": reason}``.
    """
    found: list[dict[str, Any]] = []
    view, start = memoryview(data or b""), 0
    for size in payload["sizes"]:
        raw = bytes(view[start : start + size])
        start += size
        try:
            found.append(message(raw, trim=payload["trim"]))
        except DocumentError as error:
            found.append({"error": str(error)})
        except RecursionError:
            found.append({"error": "has parts within parts, too deeply"})
    return found


def message(raw: bytes, *, trim: bool) -> dict[str, Any]:
    """``{"id", "references", "subject", "from", "people", "date", "language", "list", "text", "attachments"}``.

    ``from`` and ``people``: [name, address]; ``references``: ids of the messages before it, the oldest first;
    ``trim``: without quoted replies, signatures and the footers of lists. ``DocumentError`` where it holds no text.
    """
    if not raw.strip():
        raise DocumentError("is empty")
    if (other := recognised(raw[:64])) is not None:
        raise DocumentError(f"is {other}, not an e-mail")
    parsed = BytesParser().parsebytes(raw)  # the newer policy's header parsers take four times as long, and raise
    if not any(parsed.get_all(name) for name in ("from", "date", "message-id", "subject", "received", "to")):
        raise DocumentError("is no e-mail: it has none of the headers of one")
    if parsed.get_content_type() in ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"):
        raise DocumentError("is encrypted")
    status = _raw(parsed, "x-mozilla-status")
    if re.fullmatch(r"[0-9A-Fa-f]{4}", status) and int(status, 16) & 8:
        raise DocumentError("was deleted; the mail program has not thrown it out yet")
    text, attachments, replaced = _content(parsed)
    whole = text.strip()
    if trim:
        text = trimmed(whole)
        if not text and whole:
            raise DocumentError("holds nothing but quoted text")
    if not text.strip():
        raise DocumentError("holds no text")
    references = [*_ids(parsed, "references"), *_ids(parsed, "in-reply-to")[:1]]
    senders = _people(parsed, "from") or _people(parsed, "sender")
    return {
        "id": next(iter(_ids(parsed, "message-id")), None),
        "references": list(dict.fromkeys(references))[:1000],
        "subject": _header(parsed, "subject"),
        "from": senders[0] if senders else None,
        "people": [*senders, *_people(parsed, "to"), *_people(parsed, "cc"), *_people(parsed, "reply-to")][:100],
        "date": _header(parsed, "date"),
        "language": (_header(parsed, "content-language") or "").split(",")[0].strip() or None,
        "list": _header(parsed, "list-id"),
        "text": text.strip(),
        "attachments": attachments,
        "replaced": replaced,
    }


def _raw(parsed: Message, name: str) -> str:
    """A header as it stands, on one line; "" where there is none."""
    value = next((str(v) for k, v in parsed.raw_items() if k.lower() == name), "")
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(text[:200_000].split())


def _header(parsed: Message, name: str) -> str | None:
    """A header as text; None where there is none."""
    return _words(_raw(parsed, name))[:2000] or None


def _words(text: str) -> str:
    """Encoded words (RFC 2047) decoded; broken ones stay as they are."""
    if "=?" not in text:
        return text
    try:
        pieces = decode_header(text)
    except (HeaderParseError, ValueError):
        return text
    return " ".join("".join(_word(piece, charset) for piece, charset in pieces).split())


def _word(piece: bytes | str, charset: str | None) -> str:
    if isinstance(piece, str):
        return piece
    for told in (charset or "utf-8", "utf-8"):
        with suppress(LookupError, UnicodeDecodeError, ValueError):
            return piece.decode(told)
    return piece.decode("cp1252", "replace")


def _ids(parsed: Message, name: str) -> list[str]:
    return _ID.findall(_raw(parsed, name))


def _people(parsed: Message, name: str) -> list[list[str]]:
    try:
        listed = getaddresses([_raw(parsed, name)[:20_000]])
    except Exception:  # the library raises many kinds over broken ones
        return []
    found = [[_words(person).strip(), address.strip().lower()] for person, address in listed[:100]]
    return [[person, address] for person, address in found if "@" in address or person]


def _content(parsed: Message) -> tuple[str, list[dict[str, Any]], int]:
    """The text, what is attached, and how many characters could not be decoded."""
    pieces: list[str] = []
    attachments: list[dict[str, Any]] = []
    replaced = 0
    for part in _leaves(parsed):
        kind = part.get_content_type()
        whole = part.get_content_maintype() == "multipart"  # says that it has parts, and has none
        if _attached(part) or (kind not in ("text/plain", "text/html") and not whole):
            if len(attachments) < _LISTED:
                attachments.append(_told(part, kind))
            continue
        text, wrong = _decoded(part)
        replaced += wrong
        pieces.append(_from_html(text) if kind == "text/html" else _unflowed(part, text))
    return "\n\n".join(piece.strip("\r\n") for piece in pieces if piece.strip()), attachments, replaced


def _leaves(parsed: Any) -> Iterator[Any]:
    """The parts without parts, of alternatives the best: plain text before HTML, but not plain text that is empty."""
    stack: list[tuple[Any, int]] = [(parsed, 0)]
    count = 0
    while stack:
        part, depth = stack.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_PARTS:
            raise DocumentError(f"has over {MAX_PARTS:,} parts, or over {MAX_DEPTH} within each other")
        inner = part.get_payload() if part.is_multipart() else None
        if not isinstance(inner, list) or part.get_content_maintype() != "multipart":
            yield part
        elif part.get_content_subtype() == "alternative":
            stack += [(chosen, depth + 1) for chosen in _best(inner)]
        else:
            stack += [(one, depth + 1) for one in reversed(inner)]


def _best(parts: list[Any]) -> list[Any]:
    plain = [part for part in parts if part.get_content_type() == "text/plain" and _decoded(part)[0].strip()]
    rich = [part for part in parts if part.is_multipart() or part.get_content_type() == "text/html"]
    return plain[:1] or rich[-1:] or parts[:1]


def _attached(part: Any) -> bool:
    disposition = (_header(part, "content-disposition") or "").lower()
    named = False
    with suppress(Exception):  # what headers of parts hold raises many kinds
        named = part.get_filename() is not None
    return disposition.startswith("attachment") or (named and part.get_content_type() != "text/plain")


def _told(part: Any, kind: str) -> dict[str, Any]:
    name, size = None, 0
    with suppress(Exception):  # as above; what is attached is not read
        name = part.get_filename()
        size = len(part.get_payload(decode=True) or b"")
    return {"name": _words(str(name))[:200] if name else None, "type": kind[:100], "bytes": size}


def _decoded(part: Any) -> tuple[str, int]:
    """Text of a part; where the declared character set is unknown or wrong, what it looks like."""
    if part.is_multipart():
        return "", 0
    body = part.get_payload(decode=True)
    body = body if isinstance(body, bytes) else str(part.get_payload()).encode("utf-8", "surrogateescape")
    charset = None
    with suppress(Exception):  # as above
        charset = part.get_content_charset()
    if charset in _MAIL_ONLY:
        text = body.decode(charset, "replace")
        return text.replace("\0", ""), text.count("\ufffd")
    if charset in _OFTEN_WRONG and not body.isascii():
        with suppress(UnicodeDecodeError):  # what is UTF-8 by its bytes is nothing else
            return body.decode("utf-8").replace("\0", ""), 0
        charset = "cp1252"
    for told in (charset, None):
        with suppress(DocumentError, LookupError):
            text, replaced = to_text(body, told)
            if not replaced or told is None:
                return text.replace("\0", ""), replaced
    text = body.decode("cp1252", "replace")
    return text.replace("\0", ""), text.count("\ufffd")


def _unflowed(part: Any, text: str) -> str:
    """Lines of ``format=flowed`` (RFC 3676) joined to their paragraphs."""
    flowed = False
    with suppress(Exception):  # as above
        flowed = str(part.get_param("format", "")).lower() == "flowed"
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not flowed:
        return text
    text = re.sub(r"^ (?=[ >]|From )", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<!^--) \n(?![\n>]|-- $)", " ", text, flags=re.MULTILINE)


def _from_html(text: str) -> str:
    """The text of a mail in HTML, without what it quotes in the ways of well-known programs."""
    from lxml import etree
    from lxml import html as lenient

    parser = lenient.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
    try:
        root = lenient.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError):
        return ""
    for element in list(root.iter()):
        marks = f"{element.get('class') or ''} {element.get('id') or ''}".lower() if local(element) else ""
        cited = local(element) == "blockquote" and (element.get("type") or "").lower() == "cite"
        if element.getparent() is not None and (cited or any(mark in marks for mark in _CITED)):
            element.drop_tree()
    return text_of(root)
