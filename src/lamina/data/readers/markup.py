"""Text of XHTML and HTML trees: paragraphs apart, lines of verse and code kept, scripts and navigation left out."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lamina.kit.errors import DocumentError

_BLOCK_NAMES = (
    "address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form"
    " h1 h2 h3 h4 h5 h6 header hr li main ol p pre section summary table tbody td tfoot th thead title tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_INSIDE_ROW = frozenset(("td", "th"))
_SKIPPED_NAMES = "head script style nav svg math template noscript iframe object audio video select"
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
_BLOCK, _LINE, _SPACE = "\x01", "\x02", "\x03"  # no white space to Python, and taken out of texts
MARK = "\x04"
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NAMED = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_OWN = (b"amp", b"lt", b"gt", b"quot", b"apos")
_DECLARED = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_ENCODINGS = ("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16")


def local(element: Any) -> str:
    """The element's name without namespace, in lower case; "" for comments and the like."""
    tag = element.tag
    return _local(tag) if isinstance(tag, str) else ""


@lru_cache(maxsize=1024)
def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def parse_xml(data: bytes, name: str) -> Any:
    """The root of an XML document; ``DocumentError`` where it is malformed or declares entities. Nothing is loaded."""
    from lxml import etree

    refuse_entities(data, name)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DocumentError(f"is malformed in {name}: {str(error)[:200]}") from error
    inner = root.getroottree().docinfo.internalDTD
    if inner is not None and next(inner.iterentities(), None) is not None:
        raise DocumentError(f"declares XML entities in {name}, which is refused")
    return root


def refuse_entities(data: bytes, name: str) -> None:
    """``DocumentError`` where XML declares entities, or an encoding in which that could hide."""
    declared = _DECLARED.match(data[:4096])
    if declared and declared[1].decode().lower() not in _ENCODINGS:
        raise DocumentError(f"has the encoding {declared[1].decode()} in {name}, which is not read")
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]
    if b"<!ENTITY" in data or (wide and (b"E\0N\0T\0I\0T\0Y" in data)):
        raise DocumentError(f"declares XML entities in {name}, which is refused")


def parse_page(data: bytes, name: str) -> Any:
    """The root of an XHTML page, as XML where it is well-formed and as HTML where it is not."""
    from lxml import etree
    from lxml import html as lenient

    if b"<!ENTITY" in data:
        raise DocumentError(f"declares XML entities in {name}, which is refused")
    try:
        return parse_xml(numbered(data), name)
    except DocumentError as first:
        if "refused" in first.what or "encoding" in first.what:
            raise
        utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        parser = lenient.HTMLParser(encoding="utf-16" if utf16 else "utf-8", no_network=True, huge_tree=False)
        try:
            return lenient.document_fromstring(data, parser=parser)
        except (etree.LxmlError, ValueError) as error:
            raise DocumentError(f"is malformed in {name}: {str(error)[:200]}") from error


def numbered(data: bytes) -> bytes:
    """XML with HTML's named characters, which it does not know without a DTD, as numbers."""
    return _NAMED.sub(_character, data)


def _character(match: re.Match[bytes]) -> bytes:
    known = html.entities.html5.get(match[1].decode() + ";") if match[1] not in _XML_OWN else None
    return known.encode("ascii", "xmlcharrefreplace") if known else match[0]


def text_of(root: Any, marks: Mapping[str, int] | None = None) -> str:
    """The text of a tree; paragraphs are set apart by an empty line.

    Where an element's id is in ``marks``, the number stands between two ``MARK`` before its text.
    """
    from lxml import etree

    parts: list[str] = []
    preformatted = 0
    walker = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walker:
        name = local(element)
        if event == "start":
            if marks and (number := marks.get(element.get("id") or element.get("name") or "")) is not None:
                parts.append(f"{_BLOCK}{MARK}{number}{MARK}")
            if name in _SKIPPED:
                walker.skip_subtree()
                continue
            preformatted += name == "pre"
            parts.append(_opening(element, name))
            parts.append(_words(element.text, preformatted))
        else:
            preformatted -= event == "end" and name == "pre"
            if event == "end" and name in _BLOCKS and name not in _INSIDE_ROW:
                parts.append(_BLOCK)
            if element is not root:
                parts.append(_words(element.tail, preformatted))
    return _joined("".join(parts))


def _opening(element: Any, name: str) -> str:
    if name in _INSIDE_ROW:
        return " | " if element.getprevious() is not None else ""
    if name == "br":
        return _LINE
    return f"{_BLOCK}- " if name == "li" else _BLOCK if name in _BLOCKS else ""


def _words(text: str | None, preformatted: int) -> str:
    if not text:
        return ""
    text = _CONTROLS.sub(" ", text)
    return text.replace("\t", _SPACE * 4).replace(" ", _SPACE).replace("\n", _LINE) if preformatted else text


def _joined(marked: str) -> str:
    joined = ""
    before, marker = False, ""
    for block in marked.split(_BLOCK):
        if not block or block.isspace():
            continue
        lines = (" ".join(line.split()) for line in block.replace(_SPACE, "\0").split(_LINE))
        body = marker + "\n".join(lines).replace("\0", " ").strip("\n")
        marker = "- " if body.strip() == "-" else ""  # an item that begins with a paragraph
        item = body.startswith("- ")
        if body.strip(" -\n"):
            joined += ("\n" if item and before else "\n\n") + body
            before = item
    return joined.strip("\n")


def heading_of(root: Any) -> str | None:
    """The first heading, of levels 1 to 3."""
    for element in root.iter():
        if local(element) in ("h1", "h2", "h3"):
            words = " ".join(" ".join(element.itertext()).split())
            if words:
                return words
    return None
