"""XLSX: each sheet a table of text; shared strings, dates, and the values that formulas had when it was saved."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from lamina.data.readers.markup import refuse_entities
from lamina.data.readers.ooxml import Package, attribute, child, tag
from lamina.kit.errors import DocumentError

MAX_CELLS = 5_000_000  # with text, of one sheet
MAX_CHARACTERS = 128 << 20  # of one sheet
_DATES = {*range(14, 18), 22, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 55, 56, 57, 58}  # built-in formats
_TIMES = {18, 19, 20, 21, 45, 46, 47}
_QUOTED = re.compile(r'"[^"]*"|\\.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|_.|\*.', re.IGNORECASE)
_EMPTY = re.compile(rb"<(?:\w+:)?row\b[^<>]*(?:/>|></(?:\w+:)?row>)")  # formatted, there can be a million of them
_PLACE = re.compile(r"([A-Z]{1,3})(\d{1,7})")
Row = dict[int, str]


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", "title", "author", "created", "language", "meta"}], "unread"}``, one a sheet.

    Cells stand apart by ' | '; rows and columns without any text are left out. Hidden and broken sheets are ``unread``.
    """
    package = Package(data or b"", ".xlsx")
    if package.main.lower().endswith(".bin"):
        raise DocumentError("is a binary workbook (.xlsb)", hint="save it as .xlsx")
    book = package.xml(package.main)
    properties = child(book, "workbookPr")
    old = properties is not None and attribute(properties, "date1904") in ("1", "true")
    values = _Values(_strings(package), _formats(package.optional(package.main, "styles")), old)
    relations = package.relations(package.main)
    about = package.properties()
    documents, unread = [], []
    for position, (name, target, hidden) in enumerate(_sheets(book)):
        kind, part = relations.get(target, ("", ""))
        if hidden or kind != "worksheet":
            unread.append([f"sheet '{name}'", "is hidden" if hidden else "is no table"])
            continue
        try:
            text = _table(_rows(_EMPTY.sub(b"", package.bytes(part)), part, values))
        except DocumentError as error:
            unread.append([f"sheet '{name}'", error.what])
            continue
        if not text:
            unread.append([f"sheet '{name}'", "is empty"])
            continue
        title = f"{about['title']}: {name}" if about["title"] else name
        documents.append({"key": name, "text": text, **about, "title": title, "position": position})
    if not documents:
        raise DocumentError(f"holds no table with text{f': {unread[0][0]} {unread[0][1]}' if unread else ''}")
    return {"documents": documents, "unread": unread}


def _sheets(book: Any) -> Iterator[tuple[str, str, bool]]:
    """Name, relationship and whether it is hidden, of each sheet in the order of the tabs."""
    listed = child(book, "sheets")
    for sheet in listed if listed is not None else ():
        if tag(sheet) == "sheet":
            links = [v for k, v in sheet.attrib.items() if k.endswith("}id")]
            yield sheet.get("name") or "?", links[0] if links else "", "hidden" in (sheet.get("state") or "").lower()


def _elements(data: bytes, part: str, name: str) -> Iterator[Any]:
    """The elements of a name as they end, each forgotten behind us: a sheet can have millions of them."""
    from lxml import etree

    refuse_entities(data, part)
    found = etree.iterparse(
        io.BytesIO(data), events=("end",), tag=f"{{*}}{name}", resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        for _, element in found:
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"is malformed in {part}: {str(error)[:200]}") from error


def _strings(package: Package) -> list[str]:
    part = next((path for kind, path in package.related(package.main) if kind == "sharedStrings"), None)
    return [_text(item) for item in _elements(package.bytes(part), part, "si")] if part else []


def _text(element: Any) -> str:
    """The text of a string with its runs, without the readings of Chinese characters."""
    parts = []
    for piece in element.iter():
        if tag(piece) == "t" and tag(piece.getparent()) != "rPh":
            parts.append(piece.text or "")
    return "".join(parts)


def _formats(styles: Any) -> list[str]:
    """For each cell style: "date", "time", "percent" or ""."""
    own: dict[int, str] = {}
    listed = child(styles, "numFmts")
    for element in listed if listed is not None else ():
        number = element.get("numFmtId") or ""
        if number.isdecimal() and len(number) < 6:
            own[int(number)] = _sort(element.get("formatCode") or "")
    cells = child(styles, "cellXfs")
    found = []
    for element in cells if cells is not None else ():
        number = element.get("numFmtId") or "0"
        code = int(number) if number.isdecimal() and len(number) < 6 else 0
        usual = "date" if code in _DATES else "time" if code in _TIMES else "percent" if code in (9, 10) else ""
        found.append(own.get(code, usual))
    return found


def _sort(code: str) -> str:
    """What a number format shows.

    >>> _sort("[$-407]d. mmmm yyyy"), _sort("h:mm"), _sort("0.0%"), _sort('0" days"')
    ('date', 'time', 'percent', '')
    """
    bare = _QUOTED.sub("", code.split(";")[0]).lower()
    if "general" in bare:
        return ""
    if any(sign in bare for sign in "yd"):
        return "date"
    return (
        "time" if any(sign in bare for sign in "hs") else "date" if "mm" in bare else "percent" if "%" in bare else ""
    )


class _Values:
    """Cells to text."""

    def __init__(self, strings: list[str], formats: list[str], old: bool) -> None:
        self._strings, self._formats = strings, formats
        self._epoch = datetime(1904, 1, 1) if old else datetime(1899, 12, 30)

    def text(self, cell: Any) -> str:
        """The text of a cell, as a reader of the sheet would see it."""
        kind = cell.get("t") or "n"
        if kind == "inlineStr":
            return _text(cell)
        value = child(cell, "v")
        raw = (value.text or "").strip() if value is not None else ""
        if kind == "s":
            return self._strings[int(raw)] if raw.isdecimal() and int(raw[:9]) < len(self._strings) else ""
        if kind == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(raw, raw)
        if kind == "d":
            return raw.removesuffix("T00:00:00")
        return self._number(raw, cell.get("s") or "") if kind == "n" and raw else raw

    def _number(self, raw: str, style: str) -> str:
        place = int(style) if style.isdecimal() and len(style) < 7 else -1
        sort = self._formats[place] if 0 <= place < len(self._formats) else ""
        try:
            number = float(raw)
        except ValueError:
            return raw
        if sort == "percent":
            return f"{number * 100:.10g}%"
        if sort:
            return self._moment(number, sort) or f"{number:.15g}"
        return f"{int(number)}" if number.is_integer() and abs(number) < 1e15 else f"{number:.15g}"

    def _moment(self, number: float, sort: str) -> str | None:
        if not 0 <= number < 2_958_466:  # the year 10000
            return None
        minutes = round(number * 86_400)
        if sort == "time":
            hours, rest = divmod(minutes, 3600)
            return f"{hours:02d}:{rest // 60:02d}" + (f":{rest % 60:02d}" if rest % 60 else "")
        when = self._epoch + timedelta(seconds=minutes)
        return f"{when:%Y-%m-%d}" if minutes % 86_400 == 0 else f"{when:%Y-%m-%d %H:%M}"


def _rows(data: bytes, part: str, values: _Values) -> Iterator[Row]:
    """The rows that have text: column to text. What the sheet says of its size is not believed."""
    cells = 0
    for row in _elements(data, part, "row"):
        found: Row = {}
        column = -1
        for cell in row:
            if tag(cell) != "c":
                continue
            place = _PLACE.fullmatch(cell.get("r") or "")
            column = _column(place[1]) if place else column + 1
            text = " ".join(values.text(cell).split())
            if text:
                found[column] = text
        cells += len(found)
        if cells > MAX_CELLS:
            raise DocumentError(f"has more than {MAX_CELLS:,} cells", hint="save it as .csv")
        if found:
            yield found


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _table(rows: Iterator[Row]) -> str:
    kept = list(rows)
    columns = sorted({column for row in kept for column in row})
    size = sum(len(text) for row in kept for text in row.values()) + 3 * len(kept) * len(columns)
    if size > MAX_CHARACTERS:
        raise DocumentError(f"would be {size >> 20:,} MiB of text, over the limit", hint="save it as .csv")
    return "\n".join(" | ".join(row.get(column, "") for column in columns).rstrip(" |") for row in kept)
