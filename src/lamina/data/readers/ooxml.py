"""What the files of Office programs (ECMA-376: DOCX, PPTX, XLSX) share: parts, relationships, properties."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from lamina.data.readers.archive import entry, open_zip
from lamina.data.readers.markup import parse_xml
from lamina.kit.errors import DocumentError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NAMES = {".docx": "Word", ".pptx": "PowerPoint", ".xlsx": "Excel"}
#: Streams of an OLE file (UTF-16 in its directory) and what they make it.
_STREAMS = (
    ("EncryptedPackage", "is encrypted with a password", "open it and save it without one"),
    ("WordDocument", "is an old binary Word document", "save it as .docx"),
    ("Workbook", "is an old binary Excel workbook", "save it as .xlsx"),
    ("Book", "is an old binary Excel workbook", "save it as .xlsx"),
    ("PowerPoint Document", "is an old binary PowerPoint presentation", "save it as .pptx"),
    ("__properties_version1.0", "is an Outlook message", "save it as .eml"),
)


def refuse_ole(data: bytes) -> None:
    """``DocumentError`` with what to do about it where ``data`` is a file of old Office programs, or encrypted."""
    if not data.startswith(_OLE):
        return
    for stream, what, hint in _STREAMS:
        if stream.encode("utf-16-le") in data:
            raise DocumentError(what, hint=hint)
    raise DocumentError("is a binary file of old Office programs", hint="save it as .docx, .xlsx or .pptx")


def tag(element: Any) -> str:
    """The element's name without its namespace; "" for comments and the like.

    >>> from lxml import etree
    >>> tag(etree.fromstring('<w:p xmlns:w="x"/>'))
    'p'
    """
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Any, name: str) -> str | None:
    """An attribute by its name without namespace: the strict and the usual kind of OOXML differ in theirs."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return None


def child(element: Any, name: str) -> Any:
    """The first child of this name; None where there is none."""
    return next((c for c in element if tag(c) == name), None) if element is not None else None


class Package:
    """An open file: its parts by name, and how they relate."""

    def __init__(self, data: bytes, suffix: str) -> None:
        refuse_ole(data)
        self._zip = open_zip(data, f"{_NAMES[suffix]} file")
        self._names = {name.lstrip("/").lower(): name for name in self._zip.namelist()}
        main = next((path for kind, path in self.related("") if kind == "officeDocument"), None)
        if main is None:
            raise DocumentError(f"is no {_NAMES[suffix]} file: it names no main part")
        self.main = main

    def has(self, part: str) -> bool:
        """Whether the file has this part (names do not tell cases apart)."""
        return part.lower() in self._names

    def bytes(self, part: str) -> bytes:
        """The bytes of a part."""
        return entry(self._zip, self._names.get(part.lower(), part))

    def xml(self, part: str) -> Any:
        """The root of a part."""
        return parse_xml(self.bytes(part), part)

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """What a part refers to: id to (kind, path); links to the outside are left out."""
        folder, _, name = part.rpartition("/")
        where = posixpath.join(folder, "_rels", f"{name}.rels")
        if not self.has(where):
            return {}
        found = {}
        for one in self.xml(where):
            target, kind = one.get("Target") or "", (one.get("Type") or "").rpartition("/")[2]
            if target and one.get("TargetMode") != "External":
                found[one.get("Id") or ""] = (kind, _path(folder, target))
        return found

    def related(self, part: str) -> Iterator[tuple[str, str]]:
        """Kind and path of what a part refers to."""
        yield from self.relations(part).values()

    def optional(self, part: str, kind: str) -> Any:
        """The root of the first part of ``kind`` that ``part`` refers to; None where there is none, or it is broken."""
        path = next((path for found, path in self.related(part) if found == kind), None)
        with suppress(DocumentError):
            return self.xml(path) if path else None
        return None

    def properties(self) -> dict[str, str | None]:
        """title, author, created, language: what the file says of itself (Dublin Core)."""
        root = self.optional("", "core-properties")
        names = {"title": "title", "creator": "author", "created": "created", "language": "language"}
        about: dict[str, str | None] = dict.fromkeys(names.values())
        for element in root if root is not None else ():
            column = names.get(tag(element))
            if column and element.text and element.text.strip():
                about[column] = " ".join(element.text.split())[:1000]
        return about


def _path(folder: str, target: str) -> str:
    path = posixpath.normpath(posixpath.join("/", folder, unquote(re.sub(r"[?#].*", "", target))))
    return path.lstrip("/")
