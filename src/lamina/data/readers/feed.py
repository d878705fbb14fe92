"""Feeds: RSS, Atom, RDF (feedparser) and JSON Feed 1.1; entries with their text, or with their address where they
give a summary only."""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import urljoin

import orjson

from lamina.data.readers.main_text import parse
from lamina.data.readers.markup import numbered, refuse_entities, text_of
from lamina.data.values import spdx_license
from lamina.kit.errors import DocumentError

_ENTRIES = 5000
_FULL = 200  # characters: a content of fewer is a summary by another name
_LONG = 1500  # characters of a summary that is the text
_CUT = re.compile(
    r"(?:\[?(?:…|\.\.\.)\]?|read more|continue reading|more\s*»|weiterlesen|lire la suite|leer más)\W*$", re.IGNORECASE
)


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"title", "language", "license", "next", "entries"}`` of a feed found at ``payload["url"]``.

    An entry has "key" (its address, else its id), "url", "text", "full" (whether ``text`` is all of it), "title",
    "author", "created", "license". Raises ``DocumentError`` for what is no feed.
    """
    body = data or b""
    url = str(payload.get("url") or "")
    if not body.strip():
        raise DocumentError("is empty")
    if body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return _json_feed(body, url)
    refuse_entities(body, "the feed")
    import feedparser

    headers = {"content-type": payload.get("content_type") or "application/xml", "content-location": url}
    found = feedparser.parse(io.BytesIO(numbered(body)), response_headers=headers, sanitize_html=False)
    if not found.version and not found.entries:
        raise DocumentError(f"is no feed{_why(found)}")
    about = found.feed
    links = about.get("links") or []
    return {
        "title": about.get("title"),
        "language": about.get("language"),
        "license": _license(about),
        "next": next(
            (urljoin(url, link["href"]) for link in links if link.get("rel") == "next" and link.get("href")), None
        ),
        "entries": [_entry(entry, url, about) for entry in found.entries[:_ENTRIES]],
        "fault": f"is malformed, and was read as far as possible{_why(found)}"
        if found.bozo and _broken(found)
        else None,
    }


def _why(found: Any) -> str:
    error = found.get("bozo_exception")
    return f": {str(error)[:200]}" if error else ""


def _broken(found: Any) -> bool:
    """Whether the XML itself is at fault, and not what the server says of it."""
    return "SAX" in type(found.get("bozo_exception")).__name__


def _entry(entry: Any, base: str, feed: Any) -> dict[str, Any]:
    contents = [c.get("value") or "" for c in entry.get("content") or []]
    content = _plain(max(contents, key=len, default=""))
    summary = _plain(entry.get("summary") or "")
    whole = len(content) >= _FULL and not _CUT.search(content)
    if not whole and len(summary) >= _LONG and not _CUT.search(summary):
        content, whole = summary, True
    link = entry.get("link") or next((link.get("href") for link in entry.get("links") or []), None)
    url = urljoin(base, link) if link else None
    authors = [a.get("name") for a in entry.get("authors") or [] if a.get("name")]
    return {
        "key": url or entry.get("id") or content[:80],
        "url": url if url and url.startswith(("http://", "https://")) else None,
        "text": content if whole or len(content) > len(summary) else summary,
        "full": whole,
        "title": _plain(entry.get("title") or "") or None,
        "author": ", ".join(authors) or entry.get("author") or feed.get("author"),
        "created": entry.get("published") or entry.get("updated"),
        "license": _license(entry) or _license(feed),
    }


def _license(item: Any) -> str | None:
    told = [link.get("href") for link in item.get("links") or [] if link.get("rel") == "license"]
    told += [item.get("license"), item.get("creativecommons_license"), item.get("rights"), item.get("dc_rights")]
    return next((name for words in told if words and (name := spdx_license(words)) != words), None)


def _plain(html: str) -> str:
    """Text of a fragment of HTML: all of it, for a feed has no boilerplate."""
    if "<" not in html and "&" not in html:
        return html.strip()
    root = parse(f"<div>{html}</div>") if html.strip() else None
    return "" if root is None else text_of(root)


def _json_feed(body: bytes, base: str) -> dict[str, Any]:
    try:
        value = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise DocumentError(f"is no feed: {error}") from error
    items = value.get("items")
    if "jsonfeed.org" not in str(value.get("version")) or not isinstance(items, list):
        raise DocumentError("is JSON, but no JSON Feed")
    following = value.get("next_url")
    return {
        "title": _text(value.get("title")),
        "language": _text(value.get("language")),
        "license": None,
        "next": urljoin(base, following) if isinstance(following, str) else None,
        "entries": [_json_entry(item, base, value) for item in items[:_ENTRIES] if isinstance(item, dict)],
        "fault": None,
    }


def _json_entry(item: dict[str, Any], base: str, feed: dict[str, Any]) -> dict[str, Any]:
    html, plain, summary = (_text(item.get(name)) for name in ("content_html", "content_text", "summary"))
    content = (_plain(html) if html else plain) or ""
    whole = len(content) >= _FULL and not _CUT.search(content)
    link = _text(item.get("url")) or _text(item.get("external_url"))
    url = urljoin(base, link) if link else None
    people = item.get("authors") or feed.get("authors") or [item.get("author") or feed.get("author")]
    names = [name for person in people if isinstance(person, dict) and (name := _text(person.get("name")))]
    return {
        "key": url or _text(item.get("id")) or content[:80],
        "url": url if url and url.startswith(("http://", "https://")) else None,
        "text": content or summary or "",
        "full": whole,
        "title": _text(item.get("title")),
        "author": ", ".join(names) or None,
        "created": _text(item.get("date_published")),
        "language": _text(item.get("language")),
        "license": None,
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
