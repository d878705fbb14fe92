"""PDF with a text layer: pages to one text, without running headers and footers, hyphenated words joined."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from lamina.kit.errors import DocumentError

MAX_PAGES = 5_000
_HYPHEN = re.compile(r"([a-zà-ÿ])[-\u00ad\u2010]\n([a-zà-ÿ])")
_NUMBER = re.compile(r"\d+")
_EDGE = 2  # lines at the top and bottom of a page that may be a header or footer
_REPEATED = 0.4  # share of pages on which such a line must stand


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"title", "author", "text", "pages", "without_text"}``; ``DocumentError`` where no page has text."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data or b"")
    except pypdfium2.PdfiumError as error:
        raise DocumentError(f"is no readable PDF: {error}") from error
    count = len(document)
    if count > MAX_PAGES:
        raise DocumentError(f"has {count} pages; the limit is {MAX_PAGES}")
    pages = [_page(document, number) for number in range(count)]
    without = sum(not page.strip() for page in pages)
    if without == count:
        raise DocumentError(f"has no text layer on {without} of {count} pages (scanned?)")
    about = document.get_metadata_dict(skip_empty=True)
    return {
        "title": about.get("Title"),
        "author": about.get("Author"),
        "text": join(pages),
        "pages": count,
        "without_text": without,
    }


def _page(document: Any, number: int) -> str:
    page = document[number]
    text: str = page.get_textpage().get_text_bounded()
    page.close()
    return text.replace("\r\n", "\n").replace("\ufffe", "-")


def join(pages: list[str]) -> str:
    """Pages as one text.

    >>> join(["A good exam-\\nple.", "Second page."])
    'A good example.\\n\\nSecond page.'
    """
    running = _running_lines(pages)
    bodies = []
    for page in pages:
        lines = page.split("\n")
        kept = [
            line
            for place, line in enumerate(lines)
            if not (min(place, len(lines) - 1 - place) < _EDGE and _shape(line) in running)
        ]
        body = _HYPHEN.sub(r"\1\2", "\n".join(kept)).strip()
        if body:
            bodies.append(body)
    return "\n\n".join(bodies)


def _running_lines(pages: list[str]) -> set[str]:
    if len(pages) < 4:
        return set()
    seen: Counter[str] = Counter()
    for page in pages:
        lines = page.split("\n")
        seen.update({_shape(line) for line in [*lines[:_EDGE], *lines[-_EDGE:]] if line.strip()})
    return {shape for shape, times in seen.items() if times >= max(3, _REPEATED * len(pages))}


def _shape(line: str) -> str:
    return _NUMBER.sub("0", line.strip().lower())
