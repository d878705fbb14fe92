"""Dumps of MediaWiki (export schema 0.3 to 0.11): a page at a time, whatever the size of the file.

The dump is cut at its pages outside of the jail, by a search for bytes that text cannot hold (it is escaped); the XML
and the markup are parsed inside of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from lamina.data.readers.markup import parse_xml
from lamina.data.readers.ooxml import child, tag
from lamina.data.readers.wikitext import plain
from lamina.kit.errors import DocumentError

MAX_PAGE = 32 << 20  # bytes of XML, all its revisions included
MAX_HEAD = 4 << 20
_PIECE = 1 << 20
_OPEN, _CLOSE = b"<page>", b"</page>"
_REDIRECT = re.compile(r"\s*#[^\W\d_]{4,20}\s*:?\s*\[\[", re.IGNORECASE)


def is_dump(head: bytes) -> bool:
    """Whether a file that begins so is a dump of MediaWiki."""
    return b"<mediawiki" in head[:4096]


def cut(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The head of a dump, then its pages, each with its place (byte); None for one over ``MAX_PAGE``.

    Raises ``DocumentError`` behind the last whole page where the dump ends in the middle of one, or is no dump.
    """
    waiting, start = bytearray(), 0
    inside = began = False  # of a page; a first page was met
    gone = 0  # bytes of this page that were let go
    while piece := stream.read(_PIECE):
        waiting += piece
        while (place := waiting.find(_CLOSE if inside else _OPEN)) >= 0:
            if inside:
                end = place + len(_CLOSE)
                yield start - gone, (None if gone else bytes(waiting[:end]))
                gone = 0
            else:
                end = place
                if not began:
                    yield 0, bytes(waiting[:end])
            began, inside = True, not inside
            del waiting[:end]
            start += end
        if not began and len(waiting) > MAX_HEAD:
            raise DocumentError(f"holds no page within {MAX_HEAD >> 20} MiB")
        spare = len(waiting) - 64  # signs may lie across two pieces
        if (inside and len(waiting) > MAX_PAGE) or (gone and spare > 0) or (began and not inside and spare > 0):
            gone += spare if inside else 0
            del waiting[:spare]
            start += spare
    if not began:
        raise DocumentError("is no dump with pages")
    if inside:
        raise DocumentError(f"is cut short: it ends in the middle of the page at byte {start - gone:,}")
    if b"</mediawiki" not in waiting:
        raise DocumentError("is cut short: the end of the dump is missing")


# What runs in the jail.


def site(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"name", "base", "language", "namespaces": {lower name: number}}`` from the head of a dump."""
    root = parse_xml((data or b"").rstrip() + b"</mediawiki>", "the head of the dump")
    about = child(root, "siteinfo")
    facts = {tag(e): (e.text or "").strip() for e in (about if about is not None else ())}
    names = {}
    listed = child(about, "namespaces")
    for element in listed if listed is not None else ():
        number = element.get("key") or ""
        if number.lstrip("-").isdecimal() and len(number) < 9 and (element.text or "").strip():
            names[str(element.text).strip().lower()] = int(number)
    language = next((v for k, v in root.attrib.items() if k.endswith("}lang")), None)
    base = facts.get("base", "")
    return {
        "name": facts.get("sitename") or None,
        "base": base.rpartition("/")[0] + "/" if base.startswith(("http://", "https://")) else None,
        "language": language,
        "namespaces": names,
    }


def pages(payload: dict[str, Any], data: bytes | None) -> list[dict[str, Any]]:
    """The pages whose lengths are ``payload["sizes"]``; ``site`` is ``site``'s answer. See ``_page``."""
    found: list[dict[str, Any]] = []
    start = 0
    for size in payload["sizes"]:
        raw = (data or b"")[start : start + size]
        start += size
        try:
            found.append(_page(raw, payload["site"]))
        except DocumentError as error:
            found.append({"error": error.what})
    return found


def _page(raw: bytes, about: dict[str, Any]) -> dict[str, Any]:
    """``{"key", "text", "title", "url", "created", "language", "meta"}``, or ``{"skipped": reason}``."""
    root = parse_xml(raw, "a page")
    facts = {tag(e): (e.text or "").strip() for e in root if tag(e) in ("title", "ns", "id")}
    title = facts.get("title", "")
    revisions = [e for e in root if tag(e) == "revision"]
    text = child(revisions[-1], "text") if revisions else None
    words = (text.text or "") if text is not None else ""
    if facts.get("ns", "0") != "0":
        return {"skipped": f"is no article (namespace {facts['ns']})"}
    if child(root, "redirect") is not None or _REDIRECT.match(words[:200]):
        return {"skipped": "leads to another page"}
    model = child(revisions[-1], "model") if revisions else None
    if model is not None and (model.text or "wikitext") != "wikitext":
        return {"skipped": f"is {model.text}, not a text"}
    shown = plain(words, about["namespaces"])
    if not shown.strip():
        return {"skipped": "holds no text"}
    last = {tag(e): (e.text or "").strip() for e in revisions[-1] if tag(e) in ("id", "timestamp")}
    return {
        "key": facts.get("id") or title,
        "text": shown,
        "title": title or None,
        "url": f"{about['base']}{quote(title.replace(' ', '_'), safe='/:(),')}" if about["base"] and title else None,
        "created": last.get("timestamp"),
        "language": about["language"],
        "group_id": about["name"],
        "meta": {"revision": last["id"]} if last.get("id") else {},
    }
