"""Office documents and other zipped files made from scratch."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping

import pytest

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PROPERTIES = "http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties"
CORE = (
    '<cp:coreProperties xmlns:cp="x" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="y">'
    "<dc:title>The Lamp</dc:title><dc:creator>Ada North</dc:creator><dc:language>en-GB</dc:language>"
    "<dcterms:created>2024-05-01T10:00:00Z</dcterms:created></cp:coreProperties>"
)
Parts = Mapping[str, str | bytes]


@pytest.fixture
def make_zip() -> Callable[[Parts], bytes]:
    """``make_zip({"name": content})``."""
    return zipped


def zipped(parts: Parts) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def relations(**targets: tuple[str, str]) -> str:
    """``relations(rId1=("styles", "styles.xml"))``."""
    inner = "".join(
        f'<Relationship Id="{name}" Type="{PROPERTIES if kind == "core-properties" else f"{TYPES}/{kind}"}"'
        f' Target="{path}"/>'
        for name, (kind, path) in targets.items()
    )
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inner}</Relationships>'
    )


def root(main: str) -> str:
    return relations(a=("officeDocument", main), b=("core-properties", "docProps/core.xml"))


@pytest.fixture
def make_docx() -> Callable[..., bytes]:
    """``make_docx("<w:p>…</w:p>", styles="<w:style…", numbering=…, footnotes=…, extra={…})``."""

    def build(
        body: str, *, styles: str = "", numbering: str = "", footnotes: str = "", extra: Parts | None = None
    ) -> bytes:
        spaces = f'xmlns:w="{W}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
        related = relations(
            s=("styles", "styles.xml"), n=("numbering", "numbering.xml"), f=("footnotes", "footnotes.xml")
        )
        parts: dict[str, str | bytes] = {
            "_rels/.rels": root("word/document.xml"),
            "word/document.xml": f"<w:document {spaces}><w:body>{body}</w:body></w:document>",
            "word/_rels/document.xml.rels": related,
            "word/styles.xml": f"<w:styles {spaces}>{styles}</w:styles>",
            "word/numbering.xml": f"<w:numbering {spaces}>{numbering}</w:numbering>",
            "word/footnotes.xml": f"<w:footnotes {spaces}>{footnotes}</w:footnotes>",
            "docProps/core.xml": CORE,
        }
        return zipped(parts | dict(extra or {}))

    return build


@pytest.fixture
def make_xlsx() -> Callable[..., bytes]:
    """``make_xlsx({"Sheet": "<row>…</row>"}, strings=["…"], formats="<numFmts…", hidden={"Sheet"})``."""

    def build(
        sheets: Mapping[str, str], *, strings: tuple[str, ...] = (), styles: str = "", hidden: tuple[str, ...] = ()
    ) -> bytes:
        listed = "".join(
            f'<sheet name="{name}" r:id="r{n}" state="{"hidden" if name in hidden else "visible"}"/>'
            for n, name in enumerate(sheets)
        )
        related = {f"r{n}": ("worksheet", f"sheets/{n}.xml") for n, _ in enumerate(sheets)}
        parts: dict[str, str | bytes] = {
            "_rels/.rels": root("xl/workbook.xml"),
            "xl/workbook.xml": f'<workbook xmlns="{S}" xmlns:r="{R}"><sheets>{listed}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": relations(
                t=("sharedStrings", "strings.xml"), s=("styles", "styles.xml"), **related
            ),
            "xl/strings.xml": f'<sst xmlns="{S}">{"".join(f"<si><t>{text}</t></si>" for text in strings)}</sst>',
            "xl/styles.xml": f'<styleSheet xmlns="{S}">{styles}</styleSheet>',
            "docProps/core.xml": CORE,
        }
        for n, rows in enumerate(sheets.values()):
            parts[f"xl/sheets/{n}.xml"] = rows if rows.startswith("<?") else _sheet(rows)
        return zipped(parts)

    return build


def _sheet(rows: str) -> str:
    return f'<worksheet xmlns="{S}"><dimension ref="A1:XFD1048576"/><sheetData>{rows}</sheetData></worksheet>'
