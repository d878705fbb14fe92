"""Text files and Markdown with its front matter."""

from __future__ import annotations

import re
from typing import Any

from lamina.data.readers.beside import CARD, FRONT
from lamina.data.readers.encodings import legible
from lamina.data.readers.streams import recognised
from lamina.kit.errors import DocumentError

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+(\S.*?)[ \t]*#*[ \t]*$", re.MULTILINE)


def prose(data: bytes, name: str, *, markdown: bool, encoding: str | None = None) -> dict[str, Any]:
    """``{"key", "text"}`` of a text file; of Markdown also "title" (the first heading) and what a front matter says.

    ``encoding``: of a text that is not UTF-8. ``DocumentError`` for what is empty, is no text, or is the card of a data
    set (a README that describes one).
    """
    other = recognised(data[:64])
    if other and other not in ("a program", "sound"):  # "MZ" and "ID3" may begin a text
        raise DocumentError(f"is {other}: it is binary, not text")
    text, replaced = legible(data, encoding)
    if not text.strip():
        raise DocumentError("is empty")
    row: dict[str, Any] = {"key": name, "text": text}
    if replaced:
        row["meta"] = {"replaced_characters": replaced}
    if markdown:
        if front := FRONT.match(text):
            if CARD.search(front[2]) and name.rpartition("/")[2].lower() == "readme.md":
                raise DocumentError("describes the data set that it lies beside, and is no document")
            row |= _front(front[2])
            row["text"] = text[front.end() :].lstrip("\r\n")
            if not row["text"].strip():
                raise DocumentError("has a front matter and no text")
        heading = _HEADING.search(_FENCED.sub("", row["text"]))
        if heading and not row.get("title"):
            row["title"] = heading[1]
    return row


def _front(block: str) -> dict[str, str]:
    """``key: value`` (or ``key = value``) lines of a front matter that are document columns; no YAML is parsed."""
    names = {"title": "title", "author": "author", "date": "created", "lang": "language", "language": "language"}
    names |= {"license": "license", "licence": "license", "created": "created", "url": "url"}
    found = {}
    for line in block.splitlines():
        match = re.match(r"([A-Za-z]+)[ \t]*[:=][ \t]*(\S.*?)[ \t]*$", line)
        column = names.get(match[1].lower()) if match else None
        if match and column:
            found[column] = match[2].strip("\"'")
    return found
