"""Sources run over files that a test writes; EPUB and PDF files made from scratch."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS, Inbox, SourceFile
from lamina.kit.registry import SOURCES

_spec = importlib.util.spec_from_file_location("office_files", Path(__file__).parents[1] / "office_files.py")
assert _spec is not None
assert _spec.loader is not None
_office = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_office)
make_zip, make_docx, make_xlsx = _office.make_zip, _office.make_docx, _office.make_xlsx
COLLECTED = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Collected:
    """The rows of a source and what it reported. Also the report itself (``contracts.corpus.Report``)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> None:
        self.names.append(name)

    def unread(self, name: str, reason: str) -> None:
        self.reasons.setdefault(name, reason)

    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]


Collect = Callable[..., Collected]


@pytest.fixture
def collect(tmp_path: Path) -> Collect:
    """``collect("files", {"a.txt": b"…"}, limit=3)``: content as bytes, text, or a path."""

    def run(use: str, contents: Mapping[str, bytes | str | Path], **parameters: Any) -> Collected:
        files = []
        for name, content in contents.items():
            path = content if isinstance(content, Path) else tmp_path / name
            if not isinstance(content, Path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            files.append(SourceFile(name=name, path=path))
        found = Collected()
        inbox = Inbox(source="mine", files=tuple(files), origin="npm:box@1", collected=COLLECTED, report=found)
        for batch in SOURCES.get(use).function(inbox, **parameters):
            assert isinstance(batch, pa.RecordBatch)
            assert batch.schema == DOCUMENTS
            batch.validate(full=True)
            found.rows += batch.to_pylist()
        return found

    return run


CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
    "</container>"
)
PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package version="3.0" xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>The Lamp</dc:title><dc:creator>Ada North</dc:creator><dc:creator>B. South</dc:creator>
<dc:language>en-GB</dc:language><dc:rights>https://creativecommons.org/licenses/by-sa/4.0/</dc:rights></metadata>
<manifest>{manifest}</manifest><spine toc="ncx">{spine}</spine>{guide}</package>"""


@pytest.fixture
def make_epub() -> Callable[..., bytes]:
    """``make_epub({"one.xhtml": "<p>…</p>"}, spine=[…], nav=[("one.xhtml", "One")])``; ``extra``: more entries."""

    def build(
        pages: Mapping[str, str],
        *,
        spine: Sequence[str] | None = None,
        nav: Sequence[tuple[str, str]] = (),
        guide: str = "",
        extra: Mapping[str, str | bytes] | None = None,
        package: str | None = None,
    ) -> bytes:
        ids = {name: f"i{number}" for number, name in enumerate(dict.fromkeys([*pages, *(spine or ())]))}
        kind = "application/xhtml+xml"
        manifest = "".join(f'<item id="{ids[n]}" href="{n}" media-type="{kind}"/>' for n in ids)
        if nav:
            manifest += f'<item id="nav" href="nav.xhtml" media-type="{kind}" properties="nav"/>'
        order = "".join(f'<itemref idref="{ids[n]}"/>' for n in (spine or pages))
        told = PACKAGE.format(manifest=manifest, spine=order + ('<itemref idref="nav"/>' if nav else ""), guide=guide)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
            book.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
            book.writestr("META-INF/container.xml", CONTAINER)
            book.writestr("OEBPS/book.opf", package or told)
            for name, content in pages.items():
                book.writestr(f"OEBPS/{name}", content)
            if nav:
                items = "".join(f'<li><a href="{href}">{label}</a></li>' for href, label in nav)
                spaces = 'xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"'
                body = f'<body><nav epub:type="toc"><ol>{items}</ol></nav></body>'
                book.writestr("OEBPS/nav.xhtml", f"<html {spaces}><head><title>Contents</title></head>{body}</html>")
            for name, data in (extra or {}).items():
                book.writestr(name, data)
        return buffer.getvalue()

    return build


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """``make_pdf([["line", "line"], [...]], info="/Title (…)", bookmarks=[("One", 0)])``: a page for each list."""

    def build(pages: Sequence[Sequence[str]], *, info: str = "", bookmarks: Sequence[tuple[str, int]] = ()) -> bytes:
        objects: list[bytes] = [b"", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]

        def add(content: bytes) -> int:
            objects.append(content)
            return len(objects)

        kids = []
        for lines in pages:
            shown = [line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") for line in lines]
            drawn = "BT /F1 11 Tf 50 780 Td 14 TL\n" + "".join(f"({line}) Tj T*\n" for line in shown) + "ET"
            stream = add(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn.encode("cp1252")))
            box = "/MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >>"
            kids.append(add(f"<< /Type /Page /Parent 2 0 R {box} /Contents {stream} 0 R >>".encode()))
        outline = ""
        if bookmarks:
            root = len(objects) + 1
            objects.append(b"")
            first = root + 1
            for number, (title, place) in enumerate(bookmarks):
                following = f"/Next {first + number + 1} 0 R" if number + 1 < len(bookmarks) else ""
                add(f"<< /Title ({title}) /Parent {root} 0 R /Dest [{kids[place]} 0 R /Fit] {following} >>".encode())
            count = len(bookmarks)
            objects[root - 1] = f"<< /First {first} 0 R /Last {first + count - 1} 0 R /Count {count} >>".encode()
            outline = f"/Outlines {root} 0 R"
        objects[0] = f"<< /Type /Catalog /Pages 2 0 R {outline} >>".encode()
        objects[1] = f"<< /Type /Pages /Kids [{' '.join(f'{k} 0 R' for k in kids)}] /Count {len(kids)} >>".encode()
        about = add(f"<< {info} >>".encode())
        data, places = b"%PDF-1.4\n", []
        for number, content in enumerate(objects, 1):
            places.append(len(data))
            data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
        table = b"".join(b"%010d 00000 n \n" % place for place in places)
        trailer = (
            f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {about} 0 R >>\nstartxref\n{len(data)}\n%%EOF"
        )
        return data + b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table) + trailer.encode()

    return build
