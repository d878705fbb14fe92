"""OpenDocument (ISO/IEC 26300): ODT, ODP and ODS, zipped or flat; text, headings, lists, tables, notes, slides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamina.data.readers.archive import entry, open_zip
from lamina.data.readers.markup import parse_xml
from lamina.data.readers.ooxml import attribute, child, tag
from lamina.kit.errors import DocumentError

MAX_REPEATED = 1000  # times that a cell or row with text is written where the file says that it repeats
MAX_CHARACTERS = 128 << 20
_META = "meta.xml"
_GONE = frozenset(
    (
        *("tracked-changes", "annotation", "annotation-end", "note-citation", "ruby-text", "script", "desc", "title"),
        *("forms", "sequence-decls", "variable-decls", "shapes", "header", "footer", "header-footer", "settings"),
        *("table-of-content", "alphabetical-index", "illustration-index", "table-index", "object-ole", "image"),
    )
)
_FURNITURE = ("date-time", "footer", "header", "page-number", "page")  # of slides
Block = tuple[str, str]  # text and sort: no empty line between items, or rows of one table


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", "title", "author", "created", "language", "meta"}], "unread": []}``.

    A spreadsheet gives one document a sheet; headings are marked with '#', items with '- ', slides with '## '.
    """
    body, about = _opened(data or b"")
    inner = next((e for e in body if tag(e) in ("text", "presentation", "spreadsheet", "drawing")), None)
    if inner is None:
        raise DocumentError("holds neither a text, nor a table, nor slides")
    writer = _Writer()
    if tag(inner) == "spreadsheet":
        return _sheets(inner, writer, about)
    text = _slides(inner) if tag(inner) in ("presentation", "drawing") else _whole(writer, inner)
    if not text.strip():
        raise DocumentError("holds no text (pictures only?)")
    about["title"] = about["title"] or writer.title
    return {"documents": [{"key": "", "text": text, **about}], "unread": []}


def _opened(data: bytes) -> tuple[Any, dict[str, str | None]]:
    """The body and what the file says of itself."""
    if data.lstrip()[:1] == b"<":
        root = parse_xml(data, "the document")
        return _body(root), _about(root)
    with open_zip(data, "OpenDocument file") as package:
        names = package.namelist()
        manifest = entry(package, "META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
        if b"encryption-data" in manifest:
            raise DocumentError("is encrypted with a password", hint="open it and save it without one")
        root = parse_xml(entry(package, "content.xml"), "content.xml")
        meta = parse_xml(entry(package, _META), _META) if _META in names else None
        return _body(root), _about(meta)


def _body(root: Any) -> Any:
    body = child(root, "body")
    if body is None:
        raise DocumentError("is no OpenDocument file: it has no body")
    return body


def _about(root: Any) -> dict[str, str | None]:
    found: dict[str, str] = {}
    for element in child(root, "meta") if child(root, "meta") is not None else ():
        if element.text and element.text.strip():
            found.setdefault(tag(element), " ".join(element.text.split())[:1000])
    author = found.get("initial-creator") or found.get("creator")
    created = found.get("creation-date") or found.get("date")
    return {"title": found.get("title"), "author": author, "created": created, "language": found.get("language")}


class _Writer:
    """Blocks of text from the elements of a body."""

    def __init__(self) -> None:
        self.title: str | None = None
        self._notes: list[str] = []
        self._size = 0

    def blocks(self, parent: Any, depth: int = 0) -> Iterator[Block]:
        """The blocks of all elements below ``parent``, in their order; ``depth`` of the list that it is in."""
        for element in parent:
            name = tag(element)
            if name == "h":
                yield from self._heading(element)
            elif name == "p":
                yield from self._paragraph(element)
            elif name == "list":
                yield from self._list(element, depth)
            elif name == "table":
                yield from ((row, f"row of {id(element)}") for row in self.rows(element))
            elif name and name not in _GONE:  # sections, frames, text boxes
                yield from self.blocks(element, depth)

    def notes(self) -> list[Block]:
        """The footnotes that were met, in their order."""
        return [(f"[^{number}]: {note}", "") for number, note in enumerate(self._notes, 1)]

    def rows(self, table: Any) -> Iterator[str]:
        """The rows of a table that have text, cells apart by ' | '; repeats without text are not written out."""
        for row in _rows(table):
            cells: list[str] = []
            for cell in row:
                if tag(cell) not in ("table-cell", "covered-table-cell"):
                    continue
                text = " ".join(" ".join(block for block, _ in self.blocks(cell)).split())
                times = _times(cell, "number-columns-repeated")
                cells += [text] * (min(times, MAX_REPEATED) if text else 1 if times > 1 else times)
            line = " | ".join(cells).rstrip(" |")
            times = min(_times(row, "number-rows-repeated"), MAX_REPEATED)
            self._size += len(line) * times
            if self._size > MAX_CHARACTERS:
                raise DocumentError(f"would be over {MAX_CHARACTERS >> 20} MiB of text", hint="save it as .csv")
            if line:
                yield from [line] * times

    def _heading(self, element: Any) -> Iterator[Block]:
        text = " ".join("".join(self._words(element)).split())
        level = attribute(element, "outline-level") or "1"
        if text:
            self.title = self.title or text
            yield f"{'#' * (min(int(level), 6) if level.isdecimal() and len(level) < 3 else 1)} {text}", ""

    def _paragraph(self, element: Any) -> Iterator[Block]:
        text = "".join(self._words(element)).strip("\n")
        if text.strip():
            if self.title is None and attribute(element, "style-name") == "Title":
                self.title = " ".join(text.split())
            yield text, ""
        for frame in element:
            if tag(frame) == "frame":
                yield from self.blocks(frame)

    def _list(self, listed: Any, depth: int) -> Iterator[Block]:
        for item in listed:
            if tag(item) not in ("list-item", "list-header"):
                continue
            mark = "- "
            for text, inner in self.blocks(item, depth + 1):
                yield (text if inner else f"{'  ' * min(depth, 8)}{mark}{text.strip()}"), "item"
                mark = "" if inner else "  "

    def _words(self, parent: Any) -> Iterator[str]:
        if parent.text:
            yield " ".join(parent.text.split("\n"))
        for element in parent:
            name = tag(element)
            if name == "s":
                yield " " * min(_times(element, "c"), 200)
            elif name == "tab":
                yield "\t"
            elif name == "line-break":
                yield "\n"
            elif name == "note":
                yield self._note(element)
            elif name and name not in _GONE and name != "frame":
                yield from self._words(element)
            if element.tail:
                yield " ".join(element.tail.split("\n"))

    def _note(self, element: Any) -> str:
        body = child(element, "note-body")
        place = len(self._notes)
        self._notes.append("")
        self._notes[place] = " ".join(text for text, _ in self.blocks(body)).strip() if body is not None else ""
        return f"[^{place + 1}]"


def _rows(table: Any) -> Iterator[Any]:
    for element in table:
        name = tag(element)
        if name == "table-row":
            yield element
        elif name in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(element)


def _times(element: Any, name: str) -> int:
    count = attribute(element, name) or "1"
    return int(count) if count.isdecimal() and len(count) < 10 else 1


def _joined(blocks: list[Block]) -> str:
    pieces: list[str] = []
    before = ""
    for text, sort in blocks:
        pieces += [("\n" if before and before == sort else "\n\n") if pieces else "", text.rstrip()]
        before = sort
    return "".join(pieces)


def _whole(writer: _Writer, inner: Any) -> str:
    blocks = list(writer.blocks(inner))
    return _joined([*blocks, *writer.notes()])


def _slides(inner: Any) -> str:
    slides = []
    for page in inner:
        if tag(page) != "page":
            continue
        writer = _Writer()
        title, parts, notes = "", [], ""
        for shape in page:
            kind = attribute(shape, "class") or ""
            if tag(shape) == "notes":
                boxes = [frame for frame in shape if attribute(frame, "class") == "notes"]
                notes = " ".join(text for frame in boxes for text, _ in writer.blocks(frame)).strip()
            elif kind == "title" and not title:
                title = " ".join(" ".join(text for text, _ in writer.blocks(shape)).split())
            elif kind not in _FURNITURE and tag(shape) != "forms":
                parts.append(_joined(list(writer.blocks([shape]))))
        head = [f"## {title}"] if title else []
        slides.append("\n\n".join(part for part in [*head, *parts, f"Notes: {notes}" if notes else ""] if part.strip()))
    return "\n\n".join(slide for slide in slides if slide)


def _sheets(inner: Any, writer: _Writer, about: dict[str, str | None]) -> dict[str, Any]:
    documents, unread = [], []
    for position, table in enumerate(e for e in inner if tag(e) == "table"):
        name = attribute(table, "name") or f"sheet {position + 1}"
        text = "\n".join(writer.rows(table))
        if not text:
            unread.append([f"sheet '{name}'", "is empty"])
            continue
        title = f"{about['title']}: {name}" if about["title"] else name
        documents.append({"key": name, "text": text, **about, "title": title, "position": position})
    if not documents:
        raise DocumentError("holds no table with text")
    return {"documents": documents, "unread": unread}
