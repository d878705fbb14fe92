"""EPUB 2 and 3: chapters in the order of the spine (IDPF EPUB 3.3 §5.7). Nothing is unpacked to disk."""

from __future__ import annotations

import posixpath
import re
import zipfile
from typing import Any
from urllib.parse import unquote

from lamina.data.readers.archive import entry, open_zip, outside
from lamina.data.readers.epub_contents import Entry, contents, left_out
from lamina.data.readers.markup import MARK, heading_of, local, parse_page, parse_xml, text_of
from lamina.kit.errors import DocumentError

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONTS = ("idpf.org/2008/embedding", "ns.adobe.com/pdf/enc#RC")  # obfuscation of fonts, which hides no text
_FRONT = re.compile(r"\b(?:cover|toc|titlepage|halftitlepage|copyright-page|colophon|landmarks|loi|lot)\b")
_CHAPTER = 5_000  # characters; parts of a chapter are shorter on average
_DC = "{http://purl.org/dc/elements/1.1/}"
Chapter = dict[str, Any]


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"title", "author", "language", "license", "chapters": [{"key", "title", "text"}], "unread"}``.

    ``license`` are the words on rights, ``deed`` a licence that is linked, ``signals`` what is said of text mining;
    ``unread``: name and reason of each chapter that cannot be read; ``DocumentError`` where the book itself cannot be.
    """
    with open_zip(data or b"", "EPUB") as book:
        package_name = _rootfile(book)
        package = parse_xml(entry(book, package_name), package_name)
        unread = [[name, "leads outside of the book; it was not read"] for name in outside(book.namelist())]
        chapters = _chapters(book, package, posixpath.dirname(package_name), unread)
        if not chapters:
            raise DocumentError(f"has no chapter with text{_why(unread)}")
        return {
            "title": _meta(package, "title"),
            "author": _meta(package, "creator", several=True),
            "language": _meta(package, "language"),
            "license": _meta(package, "rights"),
            "deed": _deed(package),
            "signals": _signals(package),
            "created": _meta(package, "date"),
            "chapters": chapters,
            "unread": unread,
        }


def _why(unread: list[list[str]]) -> str:
    return f": {unread[0][0]} {unread[0][1]}" if unread else ""


def _chapters(book: zipfile.ZipFile, package: Any, folder: str, unread: list[list[str]]) -> list[Chapter]:
    manifest = {item.get("id"): item for item in package.iter("{*}item")}
    table = _safely(lambda: contents(book, package, folder, entry), [])
    skipped = left_out(package, folder)
    locked = _locked(book)
    chapters: list[Chapter] = []
    for reference in package.iter("{*}itemref"):
        item = manifest.get(reference.get("idref"))
        if item is None or "nav" in (item.get("properties") or "").split() or reference.get("linear") == "no":
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
        if name in skipped:
            continue
        skipped.add(name)  # a spine that names a file again is wrong (EPUB 3.3 §5.7.2)
        try:
            if name in locked:
                raise DocumentError("is encrypted (DRM)")
            found = _chapter(book, name, [e for e in table if e.name == name])
        except DocumentError as error:
            unread.append([name, error.what])
            continue
        if found and table and not found[0].pop("named") and chapters:
            chapters[-1]["text"] += "\n\n" + found.pop(0)["text"]  # a chapter that goes on in a second file
        chapters += found
    return [{k: v for k, v in chapter.items() if k != "named"} for chapter in chapters]


def _safely(read: Any, otherwise: Any) -> Any:
    """A book whose table of contents is broken still has its chapters."""
    try:
        return read()
    except DocumentError:
        return otherwise


def _chapter(book: zipfile.ZipFile, name: str, entries: list[Entry]) -> list[Chapter]:
    """The chapters of one file: one, or several where the table of contents points into it."""
    if name.startswith(("../", "/")):
        raise DocumentError("leads outside of the book; it was not read")
    page = entry(book, name)
    if not page.strip():
        return []
    root = parse_page(page, name)
    body = next((element for element in root.iter() if local(element) == "body"), root)
    kinds = " ".join(v for e in (body, *list(body)[:1]) for k, v in e.attrib.items() if k.endswith("type"))
    if _FRONT.search(kinds):
        return []
    inner = _inner(entries)
    pieces = text_of(body, {e.fragment: n for n, e in enumerate(inner)}).split(MARK)
    if _are_sections(inner, entries, pieces):
        inner, pieces = [], [text_of(body)]
    whole = next((e.label for e in entries if e not in inner), None)
    opening = pieces[0].strip()
    heading = heading_of(body)
    first = {"key": name, "title": whole or heading, "text": opening, "named": bool(entries) or heading is not None}
    found = [first] if opening else []
    for number, text in zip(pieces[1::2], pieces[2::2], strict=True):
        mark = inner[int(number)]
        if text.strip():
            key = f"{name}#{mark.fragment}"
            found.append({"key": key, "title": mark.label, "text": text.strip(), "named": True})
    return found


def _are_sections(inner: list[Entry], entries: list[Entry], pieces: list[str]) -> bool:
    """Whether the parts of a file are sections of one chapter: short, and below the file's own line of the contents."""
    if not inner or inner[0].depth <= min(e.depth for e in entries):
        return False
    return sum(map(len, pieces)) < _CHAPTER * len(inner)


def _inner(entries: list[Entry]) -> list[Entry]:
    """The entries that part a file into chapters: the highest level that has more than one of them in it."""
    pointing = {e.fragment: e for e in reversed(entries) if e.fragment}
    levels = sorted({e.depth for e in pointing.values()})
    for level in levels:
        here = [e for e in entries if e.depth == level and pointing.get(e.fragment) == e]
        if len(here) > 1 or (here and len(entries) > 1 and len(levels) == 1):
            return here
    return []


def _rootfile(book: zipfile.ZipFile) -> str:
    for root in parse_xml(entry(book, _CONTAINER), _CONTAINER).iter("{*}rootfile"):
        if root.get("full-path"):
            return str(root.get("full-path"))
    raise DocumentError(f"names no package in {_CONTAINER}")


def _locked(book: zipfile.ZipFile) -> set[str]:
    """Entries that are encrypted by other means than the zip file's own."""
    if _ENCRYPTION not in book.namelist():
        return set()
    names = set()
    for one in parse_xml(entry(book, _ENCRYPTION), _ENCRYPTION).iter("{*}EncryptedData"):
        methods = " ".join(m.get("Algorithm") or "" for m in one.iter("{*}EncryptionMethod"))
        if not any(font in methods for font in _FONTS):
            names |= {unquote(r.get("URI") or "") for r in one.iter("{*}CipherReference")}
    return names


def _meta(package: Any, name: str, *, several: bool = False) -> str | None:
    found = [" ".join(e.text.split()) for e in package.iter(_DC + name) if e.text and e.text.strip()]
    return (", ".join(found) if several else found[0]) if found else None


def _deed(package: Any) -> str | None:
    """The licence that the package links to (``dcterms:license``, ``schema:license`` or a link of that relation)."""
    for link in package.iter("{*}link"):
        if any(rel.rpartition(":")[2] == "license" for rel in (link.get("rel") or "").split()) and link.get("href"):
            return str(link.get("href"))
    for meta in package.iter("{*}meta"):
        name = (meta.get("property") or meta.get("name") or "").lower()
        words = (meta.text or meta.get("content") or "").strip()
        if name.rpartition(":")[2] == "license" and words:
            return words
    return None


def _signals(package: Any) -> str | None:
    """Reservation of text and data mining (TDMRep 2024, "in EPUB files": ``tdm:reservation``, ``tdm:policy``)."""
    found = []
    for meta in package.iter("{*}meta"):
        name = (meta.get("property") or meta.get("name") or "").lower().replace(":", "-")
        words = (meta.text or meta.get("content") or "").strip()[:200]
        if name in ("tdm-reservation", "tdm-policy") and words:
            found.append(f"{name}: {words}")
    return "; ".join(dict.fromkeys(found)) or None
