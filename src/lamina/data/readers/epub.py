"""EPUB 2 and 3: chapters in the order of the spine (IDPF EPUB 3.3 §5.7). Nothing is unpacked to disk."""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from lamina.kit.errors import DocumentError

MAX_ENTRIES = 10_000
MAX_TOTAL = 256 << 20  # bytes of all entries, unpacked
MAX_RATIO = 200
_CONTAINER = "META-INF/container.xml"
_BLOCKS = ("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "blockquote", "pre", "tr", "section", "article")
_SKIP = ("script", "style", "nav", "svg", "head")


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"title", "author", "language", "license", "chapters": [{"key", "title", "text"}]}``."""
    with _open(data or b"") as book:
        package_name = _rootfile(book)
        package = _xml(book, package_name)
        folder = posixpath.dirname(package_name)
        manifest = {i.get("id"): i for i in package.iter("{*}item")}
        chapters = []
        for reference in package.iter("{*}itemref"):
            item = manifest.get(reference.get("idref"))
            if item is None or "nav" in (item.get("properties") or "").split() or reference.get("linear") == "no":
                continue
            name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
            if name.startswith(("../", "/")):
                raise DocumentError(f"names a chapter outside of the book: {name}")
            title, text = _chapter(book, name)
            if text:
                chapters.append({"key": name, "title": title, "text": text})
        if not chapters:
            raise DocumentError("has no chapter with text")
        return {
            "title": _meta(package, "title"),
            "author": _meta(package, "creator"),
            "language": _meta(package, "language"),
            "license": _meta(package, "rights"),
            "chapters": chapters,
        }


def _open(data: bytes) -> zipfile.ZipFile:
    try:
        book = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise DocumentError(f"is no readable EPUB (a zip file): {error}") from error
    entries = book.infolist()
    total = sum(e.file_size for e in entries)
    if len(entries) > MAX_ENTRIES or total > MAX_TOTAL:
        raise DocumentError(f"unpacks to {total / 2**20:.0f} MiB in {len(entries)} entries, over the limit")
    for entry in entries:
        if entry.flag_bits & 1:
            raise DocumentError("is encrypted")
        if entry.file_size > 1 << 20 and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise DocumentError(f"holds an entry that unpacks {MAX_RATIO}-fold: {entry.filename}")
    return book


def _entry(book: zipfile.ZipFile, name: str) -> bytes:
    try:
        return book.read(name)
    except KeyError:
        raise DocumentError(f"lacks the entry {name}") from None
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError) as error:
        raise DocumentError(f"is damaged at {name}: {error}") from error
    except Exception as error:  # zlib.error has no common base with the others
        raise DocumentError(f"is damaged at {name}: {error}") from error


def _xml(book: zipfile.ZipFile, name: str) -> Any:
    from lxml import etree

    data = _entry(book, name)
    if b"<!ENTITY" in data:
        raise DocumentError(f"declares XML entities in {name}, which is refused")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"is malformed in {name}: {error}") from error


def _rootfile(book: zipfile.ZipFile) -> str:
    for root in _xml(book, _CONTAINER).iter("{*}rootfile"):
        if root.get("full-path"):
            return str(root.get("full-path"))
    raise DocumentError(f"names no package in {_CONTAINER}")


def _meta(package: Any, name: str) -> str | None:
    for element in package.iter(f"{{http://purl.org/dc/elements/1.1/}}{name}"):
        if element.text and element.text.strip():
            return str(element.text.strip())
    return None


def _chapter(book: zipfile.ZipFile, name: str) -> tuple[str | None, str]:
    from lxml import html

    data = _entry(book, name)
    if not data.strip():
        return None, ""
    try:
        tree = html.document_fromstring(
            data, parser=html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False)
        )
    except (ValueError, html.etree.ParserError) as error:
        raise DocumentError(f"is malformed in {name}: {error}") from error
    heading = next((h for tag in ("h1", "h2", "h3") for h in tree.iter(tag)), None)
    title = " ".join(heading.text_content().split()) if heading is not None else None
    for element in list(tree.iter(*_SKIP)):
        if element.getparent() is not None:
            element.drop_tree()
    for element in tree.iter(*_BLOCKS, "br"):
        mark = "\n" if element.tag == "br" else "\n\n"
        element.tail = mark + (element.tail or "")
        if element.tag != "br":
            element.text = "\n\n" + (element.text or "")
    return title or None, _paragraphs(tree.text_content())


def _paragraphs(text: str) -> str:
    blocks = [" ".join(block.split()) for block in text.split("\n\n")]
    return "\n\n".join(block for block in blocks if block)
