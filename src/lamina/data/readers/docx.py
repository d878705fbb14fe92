"""DOCX: paragraphs with headings, lists and tables, and footnotes; what tracked changes deleted is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lamina.data.readers.ooxml import Package, attribute, child, tag
from lamina.kit.errors import DocumentError

_GONE = frozenset(("del", "moveFrom", "delText", "instrText", "rt", "comment", "pPr", "rPr", "sectPr", "tblPr", "trPr"))
_BROKEN = {"br": "\n", "cr": "\n", "tab": "\t", "noBreakHyphen": "\u2011", "ptab": "\t"}
_OFF = ("0", "false", "off", "none")
_BULLETS = ("bullet", "none")
_DEEPEST = 9


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", "title", "author", "created", "language", "meta"}], "unread": []}``.

    Headings are marked with '#', items with '- ' or their number, cells of a row stand apart by ' | ', footnotes follow
    at the end. Headers and footers, comments and hidden text are left out.
    """
    package = Package(data or b"", ".docx")
    body = child(package.xml(package.main), "body")
    if body is None:
        raise DocumentError("is no Word document: it has no body")
    writer = _Writer(
        _Styles(package.optional(package.main, "styles")), _Numbers(package.optional(package.main, "numbering"))
    )
    blocks = list(writer.blocks(body))
    for kind in ("footnote", "endnote"):
        blocks += writer.notes(kind, package.optional(package.main, f"{kind}s"))
    text = _joined(blocks)
    if not text.strip():
        raise DocumentError("holds no text (pictures only?)")
    about = package.properties()
    about["title"] = about["title"] or writer.title
    about["language"] = about["language"] or writer.styles.language
    return {"documents": [{"key": "", "text": text, **about}], "unread": []}


@dataclass(frozen=True, slots=True)
class _Block:
    text: str
    sort: str = ""  # items, or the rows of one table: no empty line between two of them


def _joined(blocks: list[_Block]) -> str:
    pieces: list[str] = []
    before = ""
    for block in blocks:
        if block.text.strip():
            pieces.append(("\n" if before and before == block.sort else "\n\n") if pieces else "")
            pieces.append(block.text.rstrip())
            before = block.sort
    return "".join(pieces)


@dataclass(slots=True)
class _Writer:
    """Blocks of text from the elements of a body."""

    styles: _Styles
    numbers: _Numbers
    title: str | None = None
    _cited: dict[str, list[str]] = field(default_factory=lambda: {"footnote": [], "endnote": []})
    _boxes: list[Any] = field(default_factory=list)

    def blocks(self, parent: Any) -> Iterator[_Block]:
        """The blocks of all elements below ``parent``, in their order."""
        for element in parent:
            name = tag(element)
            if name == "p":
                yield from self._paragraph(element)
            elif name == "tbl":
                yield from self._table(element)
            elif name == "AlternateContent":
                yield from self.blocks(_choice(element))
            elif name and name not in _GONE:  # sdt, sdtContent, customXml, ins, moveTo: what they hold
                yield from self.blocks(element)

    def notes(self, kind: str, root: Any) -> list[_Block]:
        """The foot- or endnotes that were referred to."""
        found = {attribute(note, "id"): note for note in (root if root is not None else ())}
        written = []
        for number, name in enumerate(self._cited[kind], 1):
            if (note := found.get(name)) is not None:
                text = " ".join(block.text for block in self.blocks(note)).strip()
                written.append(_Block(f"[^{number}]: {text}" if kind == "footnote" else f"[^e{number}]: {text}"))
        return written

    def _paragraph(self, paragraph: Any) -> Iterator[_Block]:
        text = "".join(self._words(paragraph)).strip("\n")
        boxes, self._boxes = self._boxes, []
        properties = child(paragraph, "pPr")
        style = self._style(properties)
        level = self.styles.level(style, properties)
        if text.strip():
            if level is not None:
                heading = " ".join(text.split())
                self.title = self.title or heading
                yield _Block(f"{'#' * min(max(level, 1), 6)} {heading}")
            elif mark := self.numbers.mark(self.styles.numbering(style, properties)):
                yield _Block(f"{mark}{text.strip()}", "item")
            else:
                yield _Block(text)
        for box in boxes:
            yield from self.blocks(box)

    def _style(self, properties: Any) -> str:
        style = child(properties, "pStyle")
        return (attribute(style, "val") or "") if style is not None else ""

    def _words(self, parent: Any) -> Iterator[str]:
        for element in parent:
            name = tag(element)
            if name == "t":
                yield element.text or ""
            elif name in _BROKEN:
                yield _BROKEN[name] if attribute(element, "type") != "page" else ""
            elif name == "r":
                if not _hidden(element):
                    yield from self._words(element)
            elif name in ("footnoteReference", "endnoteReference"):
                yield self._reference(name.removesuffix("Reference"), attribute(element, "id") or "")
            elif name == "AlternateContent":
                yield from self._words(_choice(element))
            elif name == "txbxContent":
                self._boxes.append(element)
            elif name and name not in _GONE:
                yield from self._words(element)

    def _reference(self, kind: str, name: str) -> str:
        cited = self._cited[kind]
        if name not in cited:
            cited.append(name)
        return f"[^{'e' if kind == 'endnote' else ''}{cited.index(name) + 1}]"

    def _table(self, table: Any) -> Iterator[_Block]:
        for row in _rows(table):
            cells = [
                " ".join(" ".join(b.text for b in self.blocks(cell)).split())
                for cell in row
                if tag(cell) in ("tc", "sdt")
            ]
            if any(cells):
                yield _Block(" | ".join(cells), f"row of {id(table)}")


def _rows(table: Any) -> Iterator[Any]:
    for element in table:
        name = tag(element)
        if name == "tr":
            properties = child(element, "trPr")
            if child(properties, "del") is None:
                yield element
        elif name and name not in _GONE:
            yield from _rows(element)


def _choice(element: Any) -> Any:
    """Of contents in two versions, one."""
    return next((c for c in element if tag(c) in ("Choice", "Fallback")), ())


def _hidden(run: Any) -> bool:
    mark = child(child(run, "rPr"), "vanish")
    return mark is not None and (attribute(mark, "val") or "1") not in _OFF


class _Styles:
    """Heading levels and lists by style; styles inherit."""

    def __init__(self, root: Any) -> None:
        self._styles: dict[str, Any] = {}
        self.language: str | None = None
        for element in root if root is not None else ():
            if tag(element) == "style" and attribute(element, "styleId"):
                self._styles[str(attribute(element, "styleId"))] = element
            elif tag(element) == "docDefaults":
                marks = [e for e in element.iter() if tag(e) == "lang"]
                self.language = attribute(marks[0], "val") if marks else None

    def _line(self, style: str) -> Iterator[Any]:
        """The style and those that it is based on."""
        seen: set[str] = set()
        while style in self._styles and style not in seen:
            seen.add(style)
            element = self._styles[style]
            yield element
            based = child(element, "basedOn")
            style = (attribute(based, "val") or "") if based is not None else ""

    def level(self, style: str, properties: Any) -> int | None:
        """The level of a heading, from 1 (a title is 1 too); None for other paragraphs."""
        own = child(properties, "outlineLvl")
        if own is not None:
            return _level(own)
        for element in self._line(style):
            mark = child(child(element, "pPr"), "outlineLvl")
            if mark is not None:
                return _level(mark)
            named = child(element, "name")
            name = (attribute(named, "val") or "").lower() if named is not None else ""
            if name == "title":
                return 1
            if name.startswith("heading ") and name[8:].isdecimal():
                return int(name[8:10])
        lower = style.lower()  # a file without its styles
        if not self._styles and lower.startswith("heading") and lower[7:].isdecimal():
            return int(lower[7:9])
        return None

    def numbering(self, style: str, properties: Any) -> tuple[str, int] | None:
        """(list, depth) of a paragraph; its own word goes before its style's."""
        for place in (properties, *(child(element, "pPr") for element in self._line(style))):
            numbered = child(place, "numPr")
            if numbered is not None:
                name, depth = child(numbered, "numId"), child(numbered, "ilvl")
                deep = attribute(depth, "val") or "0" if depth is not None else "0"
                return (attribute(name, "val") or "0") if name is not None else "0", _small(deep)
        return None


def _level(mark: Any) -> int | None:
    value = attribute(mark, "val") or ""
    return int(value) + 1 if value.isdecimal() and int(value) < _DEEPEST else None


def _small(text: str) -> int:
    return min(int(text), _DEEPEST) if text.isdecimal() and len(text) < 4 else 0


class _Numbers:
    """Marks of list items: bullets and running numbers."""

    def __init__(self, root: Any) -> None:
        shapes: dict[str, dict[int, str]] = {}
        self._lists: dict[str, dict[int, str]] = {}
        self._counts: dict[str, Counter[int]] = {}
        for element in root if root is not None else ():
            if tag(element) == "abstractNum":
                levels = {}
                for level in element:
                    shape = child(level, "numFmt") if tag(level) == "lvl" else None
                    if shape is not None:
                        levels[_small(attribute(level, "ilvl") or "0")] = attribute(shape, "val") or "decimal"
                shapes[attribute(element, "abstractNumId") or ""] = levels
            elif tag(element) == "num":
                of = child(element, "abstractNumId")
                self._lists[attribute(element, "numId") or ""] = shapes.get(
                    (attribute(of, "val") or "") if of is not None else "", {}
                )

    def mark(self, place: tuple[str, int] | None) -> str | None:
        """'- ' or '3. ' with the item's indentation; None where the paragraph is in no list (number 0)."""
        if place is None or place[0] == "0":
            return None
        name, depth = place
        if self._lists.get(name, {}).get(depth, "bullet") in _BULLETS:
            return "  " * depth + "- "
        counts = self._counts.setdefault(name, Counter())
        counts[depth] += 1
        for deeper in [d for d in counts if d > depth]:
            del counts[deeper]
        return f"{'  ' * depth}{counts[depth]}. "
