"""PPTX: slides in their order with titles, items, tables and the speaker's notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamina.data.readers.ooxml import Package, attribute, child, tag
from lamina.kit.errors import DocumentError

_TITLES = ("title", "ctrTitle")
_FURNITURE = ("dt", "ftr", "sldNum", "hdr", "sldImg")  # date, footer, number, picture of the slide


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", "title", "author", "created", "language", "meta"}], "unread"}``.

    A slide begins with '## ' and its title; its notes follow as 'Notes: …'. ``unread``: slides that are broken.
    """
    package = Package(data or b"", ".pptx")
    relations = package.relations(package.main)
    order = _order(package)
    slides, unread = [], []
    titles: list[str] = []
    for number, name in enumerate(order, 1):
        _, part = relations.get(name, ("", ""))
        try:
            title, text = _slide(package, part)
        except DocumentError as error:
            unread.append([f"slide {number}", error.what])
            continue
        titles += [title] if title else []
        slides += [text] if text else []
    if not slides:
        raise DocumentError("holds no text (pictures only?)" if not unread else f"cannot be read: {unread[0][1]}")
    about = package.properties()
    about["title"] = about["title"] or (titles[0] if titles else None)
    document = {"key": "", "text": "\n\n".join(slides), **about, "meta": {"slides": len(order)}}
    return {"documents": [document], "unread": unread}


def _order(package: Package) -> list[str]:
    """The slides' relationships in the order of showing."""
    listed = child(package.xml(package.main), "sldIdLst")
    slides = [entry for entry in (listed if listed is not None else ()) if tag(entry) == "sldId"]
    return [next((value for key, value in slide.attrib.items() if key.endswith("}id")), "") for slide in slides]


def _slide(package: Package, part: str) -> tuple[str | None, str]:
    """Title and text of a slide."""
    title, blocks = _shapes(package.xml(part))
    for kind, path in package.related(part):
        if kind == "notesSlide":
            _, notes = _shapes(package.xml(path))
            if notes:
                blocks.append("Notes: " + "\n".join(notes))
    head = [f"## {title}"] if title else []
    return title, "\n\n".join([*head, *blocks])


def _shapes(root: Any) -> tuple[str | None, list[str]]:
    titles: list[str] = []
    blocks: list[str] = []
    for shape in root.iter():
        name = tag(shape)
        if name == "sp":
            kind = _placeholder(shape)
            if kind in _FURNITURE:
                continue
            lines = list(_lines(child(shape, "txBody"), items=kind in ("body", "")))
            if kind in _TITLES and lines:
                titles.append(" ".join(" ".join(lines).split()))
            elif lines:
                blocks.append("\n".join(lines))
        elif name == "tbl":
            rows = [_cells(row) for row in shape if tag(row) == "tr"]
            blocks.append("\n".join(row for row in rows if row.strip(" |")))
    return (titles[0] if titles else None), [block for block in [*titles[1:], *blocks] if block.strip()]


def _placeholder(shape: Any) -> str | None:
    """What a shape stands for in its layout ("" where that is its content); None for a free text box."""
    for element in shape.iter():
        if tag(element) == "ph":
            return attribute(element, "type") or ""
        if tag(element) == "txBody":
            break
    return None


def _lines(body: Any, *, items: bool) -> Iterator[str]:
    """The paragraphs of a text; ``items``: they are a list unless they say otherwise, or there is but one."""
    paragraphs = [p for p in (body if body is not None else ()) if tag(p) == "p"]
    several = sum(bool("".join(_words(p)).strip()) for p in paragraphs) > 1
    for paragraph in paragraphs:
        text = "".join(_words(paragraph)).strip()
        if not text:
            continue
        properties = child(paragraph, "pPr")
        level = attribute(properties, "lvl") or "0" if properties is not None else "0"
        deep = min(int(level), 8) if level.isdecimal() and len(level) < 3 else 0
        plain = child(properties, "buNone") is not None
        marked = child(properties, "buChar") is not None or child(properties, "buAutoNum") is not None
        yield f"{'  ' * deep}- {text}" if not plain and (marked or (items and several)) else text


def _cells(row: Any) -> str:
    cells = [" ".join(_lines(child(cell, "txBody"), items=False)) for cell in row if tag(cell) == "tc"]
    return " | ".join(" ".join(cell.split()) for cell in cells)


def _words(paragraph: Any) -> Iterator[str]:
    for element in paragraph.iter():
        if tag(element) == "t":
            yield element.text or ""
        elif tag(element) == "br":
            yield "\n"
