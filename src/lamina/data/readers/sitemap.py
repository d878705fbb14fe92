"""Sitemaps (sitemaps.org protocol 0.9; Google's news extension; lists in plain text), plain or gzipped."""

from __future__ import annotations

import io
import re
import zlib
from typing import Any

from lamina.data.readers.markup import local, refuse_entities
from lamina.kit.errors import DocumentError

MAX_BYTES = 50 << 20  # unpacked, as the protocol has it
MAX_ADDRESSES = 50_000
_ADDRESS = re.compile(r"https?://\S{1,2000}", re.IGNORECASE)
_HINTS = {"publication_date": "created", "title": "title", "language": "language", "name": "site"}


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"pages": [[address, lastmod, hints]], "maps": [[address, lastmod]], "fault"}`` of a sitemap or an index.

    ``payload``: ``{"since"}``, ISO 8601: what did not change since is left out. ``fault`` says why it was read in part.
    Raises ``DocumentError`` for what is no sitemap.
    """
    body = _unpacked(data or b"")
    since = payload.get("since") or ""
    if not body.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"<"):
        return {"pages": _listed(body), "maps": [], "fault": None}
    refuse_entities(body, "the sitemap")
    found: dict[str, Any] = {"pages": [], "maps": [], "fault": None}
    kinds: set[str] = set()
    try:
        for kind, entry in _entries(body):
            kinds.add(kind)
            if entry["loc"] and _ADDRESS.fullmatch(entry["loc"]) and not (since and "" < entry["lastmod"] < since):
                place = "maps" if kind == "sitemap" else "pages"
                told = [entry["loc"], entry["lastmod"] or None]
                found[place].append(told if kind == "sitemap" else [*told, entry["hints"]])
            if len(found["pages"]) + len(found["maps"]) >= MAX_ADDRESSES:
                found["fault"] = f"lists more than {MAX_ADDRESSES:,} addresses; the first were taken"
                break
    except DocumentError as error:
        if not kinds:
            raise
        found["fault"] = error.what
    if not kinds and not found["pages"]:
        raise DocumentError("is no sitemap, or an empty one")
    return found


def _entries(body: bytes) -> Any:
    """(url or sitemap, what it says) one by one; nothing else of the file stays in memory."""
    from lxml import etree

    options = {"resolve_entities": False, "no_network": True, "huge_tree": False, "load_dtd": False}
    try:
        for _, element in etree.iterparse(io.BytesIO(body), events=("end",), **options):
            name = local(element)
            if name not in ("url", "sitemap"):
                continue
            entry: dict[str, Any] = {"loc": "", "lastmod": "", "hints": {}}
            for inner in element.iter():
                words = (inner.text or "").strip()
                key = local(inner)
                if key in ("loc", "lastmod") and inner.getparent() is element:
                    entry[key] = words
                elif key in _HINTS and words:
                    entry["hints"].setdefault(_HINTS[key], words[:500])
            entry["hints"].pop("site", None)
            yield name, entry
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"is malformed: {str(error)[:200]}") from error


def _listed(body: bytes) -> list[list[Any]]:
    lines = body.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
    found = [line.strip() for line in lines if _ADDRESS.fullmatch(line.strip())]
    if not found or len(found) < len([line for line in lines if line.strip()]) / 2:
        raise DocumentError("is no sitemap: neither XML nor a list of addresses")
    return [[address, None, {}] for address in found[:MAX_ADDRESSES]]


def _unpacked(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        decoder = zlib.decompressobj(31)
        try:
            data = decoder.decompress(data, MAX_BYTES + 1)
        except zlib.error as error:
            raise DocumentError(f"is damaged: {error}") from error
        if not decoder.eof and len(data) <= MAX_BYTES:
            raise DocumentError("is cut short: the end of the gzip file is missing")
    if len(data) > MAX_BYTES:
        raise DocumentError(f"is more than {MAX_BYTES >> 20} MiB, which no sitemap may be")
    if not data.strip():
        raise DocumentError("is empty")
    return data
