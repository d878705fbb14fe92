"""Pages of help with their XML sources: Mallard and DocBook as yelp-xsl renders them, KDE's handbooks as they come.

GNOME's and MATE's packages hold the sources; the pages are made by the stylesheets that make those of the web. KDE's
packages hold both: all pages of a handbook lie in one index.cache.bz2 beside the DocBook that they were made from.
"""

from __future__ import annotations

import bz2
import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html_markup  # beside this file
from lxml import etree

_CACHE = "http://projectmallard.org/cache/1.0/"
_MALLARD = "http://projectmallard.org/1.0/"
_ID = "{http://www.w3.org/XML/1998/namespace}id"
_ENTITY = re.compile(r"<!ENTITY\s+([\w.-]+)\s+(SYSTEM\s+)?(?:\"([^\"]*)\"|'([^']*)')\s*>")
_OWN = ("amp", "lt", "gt", "quot", "apos")


def mallard(folder: Path, xslt: Path) -> Iterator[tuple[str, str]]:
    """(HTML, known text) of each .page in ``folder``; ``xslt`` is that of yelp-xsl."""
    files = sorted(folder.glob("*.page"), key=lambda file: drawn(file.name))
    named = "".join(f'<page cache:href="{file.as_uri()}"/>' for file in files)
    with tempfile.TemporaryDirectory() as work:
        listed, cache = Path(work) / "in", Path(work) / "cache"
        listed.write_text(f'<cache:cache xmlns:cache="{_CACHE}" xmlns="{_MALLARD}">{named}</cache:cache>')
        cache.write_bytes(
            etree.tostring(_style(xslt / "mallard" / "cache" / "mal-cache.xsl")(etree.parse(str(listed))))
        )
        style = _style(xslt / "mallard" / "html" / "mal2xhtml.xsl")
        for file in files:
            source = _read(file)
            for html in _made(style, source, {"mal.cache.file": cache.as_uri()}).values():
                yield html, html_markup.xml(source.getroot())


def docbook(file: Path, xslt: Path) -> Iterator[tuple[str, str]]:
    """(HTML, known text) of each page of a document of DocBook 5."""
    source = _read(file)
    pages = _made(_style(xslt / "docbook" / "html" / "db2xhtml.xsl"), source, {})
    yield from _known(source.getroot(), pages, _ID)


def handbook(file: Path) -> Iterator[tuple[str, str]]:
    """(HTML, known text) of each page of one of KDE's handbooks; ``file`` is its index.docbook."""
    packed = bz2.decompress(file.with_name("index.cache.bz2").read_bytes()).decode("utf-8", "replace")
    parts = re.split(r'<FILENAME filename="([^"]+)\.html">', packed)
    pages = dict(zip(parts[1::2], (part.replace("</FILENAME>", "") for part in parts[2::2]), strict=True))
    entities: dict[str, str] = {}
    text = _expanded(file.read_text(encoding="utf-8"), file.parent, entities)
    root = etree.fromstring(text.encode(), etree.XMLParser(recover=True, resolve_entities=False, huge_tree=True))
    yield from _known(root, pages, "id")


def drawn(name: str) -> bytes:
    """An order that has nothing to do with the names, and is always the same."""
    return hashlib.sha256(name.encode()).digest()


def _known(root: Any, pages: dict[str, str], attribute: str) -> Iterator[tuple[str, str]]:
    parts = {name: element for element in root.iter() if (name := element.get(attribute)) in pages}
    for name in sorted(parts, key=drawn):
        yield pages[name], html_markup.xml(parts[name], pages)


def _expanded(text: str, folder: Path, entities: dict[str, str], depth: int = 0) -> str:
    """``text`` without its DOCTYPE, entities in their places; those of KDE's own DTD are named after what they say."""
    for name, system, double, single in _ENTITY.findall(re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)):
        value = double or single
        place = folder / value
        entities[name] = place.read_text(encoding="utf-8") if system and place.is_file() else "" if system else value
    text = re.sub(r"<\?xml[^>]*\?>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>", "", text, count=1, flags=re.DOTALL)

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name in _OWN or depth > 8:
            return match[0]
        known = entities.get(name)
        return name.replace(".", " ") if known is None else _expanded(known, folder, entities, depth + 1)

    return re.sub(r"&([A-Za-z][\w.-]*);", value_of, text)


def _read(file: Path) -> Any:
    tree = etree.parse(str(file))
    tree.xinclude()
    return tree


def _style(file: Path) -> Any:
    return etree.XSLT(etree.parse(str(file)))


def _made(style: Any, source: Any, options: dict[str, str]) -> dict[str, str]:
    """The pages that a stylesheet writes, by name."""
    with tempfile.TemporaryDirectory() as out:
        style(source, **{k: etree.XSLT.strparam(v) for k, v in {"html.output.prefix": f"{out}/", **options}.items()})
        return {file.stem: file.read_text(encoding="utf-8") for file in sorted(Path(out).glob("*.*html"))}
