"""PDF with a text layer: chapters by its outline, without running headers and footers, broken words joined."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from lamina.data.readers.layout import BROKEN, body_lines, flow
from lamina.kit.errors import DocumentError

MAX_PAGES = 5_000
_XMP = 1 << 20
_DEED = re.compile(rb"https?://creativecommons\.org/(?:licenses|publicdomain)/[a-z-]{2,20}/\d\.\d", re.IGNORECASE)
_TDM = re.compile(rb"""tdm[-:]?reservation(?:>|\s*=\s*["'])\s*1""", re.IGNORECASE)


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"title", "author", "pages", "unread": [[where, reason]], "chapters": [{"key", "title", "text", "page"}]}``.

    Without an outline (bookmarks) that names two places there is one chapter, with title None. Raises
    ``DocumentError`` where the file cannot be read, or no page has text.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data or b"")
    except pypdfium2.PdfiumError as error:
        why = "is protected by a password" if "password" in str(error).lower() else f"is no readable PDF: {error}"
        raise DocumentError(why) from error
    count = len(document)
    if count > MAX_PAGES:
        raise DocumentError(f"has {count:,} pages; the limit is {MAX_PAGES:,}")
    pages = [_page(document, number) for number in range(count)]
    empty = [number for number, page in enumerate(pages, 1) if not page.strip()]
    if len(empty) == count:
        raise DocumentError(f"has no text layer on {count} of {count} pages (scanned?)")
    about = document.get_metadata_dict(skip_empty=True)
    lines = body_lines(pages)
    chapters = []
    for title, page, line, part in _parts(_outline(document, count), lines):
        text = flow(part)
        if text:
            key = f"page={page + 1}" + (f",line={line + 1}" if line else "")
            chapters.append({"key": key, "title": title, "text": text, "page": page + 1})
    if not chapters:  # nothing but what looks like headers and footers
        whole = flow([[line.strip() for line in page.split("\n") if line.strip()] for page in pages])
        chapters = [{"key": "page=1", "title": None, "text": whole, "page": 1}]
    return {
        "title": about.get("Title"),
        "author": about.get("Author"),
        "created": _date(about.get("CreationDate")),
        "deed": _xmp(data or b"", _DEED),
        "signals": "tdm-reservation: 1" if _xmp(data or b"", _TDM) else None,
        "pages": count,
        "unread": [[_numbers(empty, count), f"no text layer on {len(empty)} of {count} pages"]] if empty else [],
        "chapters": chapters,
    }


def _xmp(data: bytes, wanted: re.Pattern[bytes]) -> str | None:
    """What the metadata packet (XMP, ISO 16684-1) of the file says; it lies open in all but encrypted files."""
    begin = data.rfind(b"<x:xmpmeta")
    packet = data[begin : data.find(b"</x:xmpmeta>", begin)][:_XMP] if begin >= 0 else b""
    found = wanted.search(packet)
    return found[0].decode("latin-1") if found else None


def _page(document: Any, number: int) -> str:
    """The text of a page; "" where the page cannot be read."""
    import pypdfium2

    with suppress(pypdfium2.PdfiumError):
        page = document[number]
        text: str = page.get_textpage().get_text_bounded()
        page.close()
        # pdfium joins a word that a line end broke and leaves a mark at the place; the line end is put back.
        for mark in ("\x02", "\ufffe"):
            text = text.replace(mark, f"{BROKEN}\n")
        return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return ""


def _outline(document: Any, count: int) -> list[tuple[str, int]]:
    """Title and page (from 0) of the highest level of bookmarks that has more than one of them."""
    found: list[tuple[int, str, int]] = []
    for item in document.get_toc(max_depth=3):
        try:
            target = item.get_dest()
            page = target.get_index() if target else None
            title = " ".join(item.get_title().split())
        except Exception:  # a bookmark that leads nowhere is not the book's end; the library raises many kinds
            continue
        if page is not None and 0 <= page < count:
            found.append((item.level, title, page))
    for level in sorted({level for level, _, _ in found}):
        here = [(title, page) for at, title, page in found if at == level]
        if len(here) > 1:
            return here
    return []


def _parts(
    outline: list[tuple[str, int]], lines: list[list[str]]
) -> list[tuple[str | None, int, int, list[list[str]]]]:
    """(title, page, line, lines by page) of the chapters; what lies before the first has no title.

    A chapter begins at the line of its page that says its title, else at the top of the page.
    """
    cuts: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    for name, place in outline:
        before, last_page, last_line = cuts[-1]
        again = place == last_page and before is not None
        found = _heading(lines[place], name, last_line + 1 if again else 0)
        if place < last_page or (again and found is None):
            continue  # out of order, or a part of the chapter that begins on this page
        cut = (name, place, found or 0)
        cuts[-1 if cut[1:] == (last_page, last_line) else len(cuts) :] = [cut]
    ends = [*((page, line) for _, page, line in cuts[1:]), (len(lines) - 1, len(lines[-1]))]
    parts: list[tuple[str | None, int, int, list[list[str]]]] = []
    for (title, page, line), (end_page, end_line) in zip(cuts, ends, strict=True):
        part = [list(one) for one in lines[page : end_page + 1]]
        del part[-1][end_line:]
        del part[0][:line]
        parts.append((title, page, line, part))
    return parts


def _heading(lines: list[str], title: str, begin: int) -> int | None:
    """The line, from ``begin`` on, that is ``title`` but for numbers and punctuation."""
    wanted = _letters(title)
    return next((n for n, line in enumerate(lines) if n >= begin and wanted and _letters(line) == wanted), None)


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalpha())


def _date(text: Any) -> str | None:
    """``D:YYYYMMDD…`` (ISO 32000-2 §7.9.4) as a date."""
    digits = str(text or "").removeprefix("D:")[:8]
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}" if len(digits) == 8 and digits.isdigit() else None


def _numbers(pages: list[int], count: int) -> str:
    shown = ", ".join(map(str, pages[:10])) + (", …" if len(pages) > 10 else "")
    return f"page {shown}" if len(pages) == 1 else f"pages {shown}"
