"""What an EPUB says of its parts: the table of contents (EPUB 3 nav, EPUB 2 NCX), and what is no text of the book."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lamina.data.readers.markup import local, parse_page, parse_xml

_LEFT_OUT = ("cover", "toc", "title-page", "titlepage", "copyright-page", "colophon", "loi", "lot")
Read = Callable[[zipfile.ZipFile, str], bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table of contents: ``label`` is at ``fragment`` (or at the top) of the entry ``name``."""

    depth: int
    name: str
    fragment: str
    label: str


def contents(book: zipfile.ZipFile, package: Any, folder: str, read: Read) -> list[Entry]:
    """The table of contents in its order; empty where there is none."""
    for item in package.iter("{*}item"):
        if "nav" in (item.get("properties") or "").split():
            name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
            return list(_nav(parse_page(read(book, name), name), posixpath.dirname(name)))
    named = next((spine.get("toc") for spine in package.iter("{*}spine")), None)
    for item in package.iter("{*}item"):
        if item.get("id") == named or item.get("media-type") == "application/x-dtbncx+xml":
            name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))
            return list(_ncx(parse_xml(read(book, name), name), posixpath.dirname(name)))
    return []


def _nav(root: Any, folder: str) -> Iterator[Entry]:
    lists = [element for element in root.iter() if local(element) == "nav"]
    chosen = next((n for n in lists if any(k.endswith("type") and v == "toc" for k, v in n.attrib.items())), None)
    chosen = chosen if chosen is not None else lists[0] if lists else None
    for link in chosen.iter() if chosen is not None else ():
        if local(link) == "a" and link.get("href"):
            depth = sum(local(above) in ("ol", "ul") for above in link.iterancestors())
            yield _entry(depth, folder, link.get("href"), "".join(link.itertext()))


def _ncx(root: Any, folder: str) -> Iterator[Entry]:
    for point in root.iter("{*}navPoint"):
        content = next((c for c in point.iterchildren("{*}content")), None)
        label = next((c for c in point.iterchildren("{*}navLabel")), None)
        if content is not None and content.get("src") and label is not None:
            depth = sum(local(above) == "navpoint" for above in point.iterancestors()) + 1
            yield _entry(depth, folder, content.get("src"), "".join(label.itertext()))


def _entry(depth: int, folder: str, target: str, label: str) -> Entry:
    path, _, fragment = target.partition("#")
    return Entry(depth, posixpath.normpath(posixpath.join(folder, unquote(path))), fragment, " ".join(label.split()))


def left_out(package: Any, folder: str) -> set[str]:
    """Entries that the guide calls cover, title page, table of contents or imprint."""
    found = set()
    for reference in package.iter("{*}reference"):
        if (reference.get("type") or "").lower() in _LEFT_OUT:
            path = unquote((reference.get("href") or "").partition("#")[0])
            found.add(posixpath.normpath(posixpath.join(folder, path)))
    return found
