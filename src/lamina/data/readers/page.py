"""Web pages: main text, title, author, date, licence and language of an HTML page."""

from __future__ import annotations

import re
from typing import Any

from lamina.kit.errors import DocumentError

_LICENSES = {
    "creativecommons.org/licenses/by/4.0": "CC-BY-4.0",
    "creativecommons.org/licenses/by-sa/4.0": "CC-BY-SA-4.0",
    "creativecommons.org/licenses/by-sa/3.0": "CC-BY-SA-3.0",
    "creativecommons.org/licenses/by/3.0": "CC-BY-3.0",
    "creativecommons.org/publicdomain/zero/1.0": "CC0-1.0",
}
_LANG = re.compile(rb"<html[^>]{0,500}?\blang\s*=\s*[\"']?([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)", re.IGNORECASE)


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"text", "title", "author", "created", "language", "license"}`` of ``data``; ``payload``: ``{"url"}``."""
    import trafilatura

    page = data or b""
    sniff(page)
    found = trafilatura.bare_extraction(page, url=payload.get("url"), with_metadata=True, include_comments=False)
    about: dict[str, Any] = {} if found is None else found if isinstance(found, dict) else found.as_dict()
    text = about.get("text") or _fallback(page)
    if not text or not text.strip():
        raise DocumentError("has no main text")
    language = _LANG.search(page[:4096])
    return {
        "text": text,
        "title": about.get("title"),
        "author": about.get("author"),
        "created": about.get("date"),
        "language": language[1].decode() if language else None,
        "license": _license(page),
    }


def sniff(page: bytes) -> None:
    """Refuse what is no text, whatever its name says."""
    head = page[:4096]
    if not head.strip():
        raise DocumentError("is empty")
    if b"\0" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise DocumentError("is binary, not HTML")


def _fallback(page: bytes) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding

    text = page.decode(detect_encoding(page) or "utf-8", errors="replace")
    return str(extract_plain_text(text, main_content=True))


def _license(page: bytes) -> str | None:
    text = page.decode("utf-8", errors="ignore").lower()
    return next((spdx for mark, spdx in _LICENSES.items() if mark in text), None)
