from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lamina.data.readers.docx import read
from lamina.kit.errors import DocumentError

Make = Callable[..., bytes]
STYLES = (
    '<w:docDefaults><w:rPrDefault><w:rPr><w:lang w:val="de-DE"/></w:rPr></w:rPrDefault></w:docDefaults>'
    '<w:style w:styleId="T"><w:name w:val="Title"/></w:style>'
    '<w:style w:styleId="H2"><w:name w:val="heading 2"/></w:style>'
    '<w:style w:styleId="Mine"><w:name w:val="My Heading"/><w:basedOn w:val="H2"/></w:style>'
    '<w:style w:styleId="LB"><w:name w:val="List Bullet"/>'
    '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
)
NUMBERING = (
    '<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="8"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl>'
    '<w:lvl w:ilvl="1"><w:numFmt w:val="lowerLetter"/></w:lvl></w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num>'
)


def p(text: str, style: str = "", properties: str = "") -> str:
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{named}{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def item(text: str, number: int, depth: int = 0) -> str:
    return p(text, properties=f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>')


def only(data: bytes) -> dict[str, Any]:
    (document,) = read({}, data)["documents"]
    return document


def test_headings_lists_tables_and_properties(make_docx: Make) -> None:
    table = (
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr>"
        "<w:tr><w:tc><w:p/></w:tc><w:tc><w:p><w:r><w:t>d</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    )
    body = (
        p("The Lamp", "T") + p("Light", "Mine") + p("Words.") + p("one", "LB") + p("two", "LB")
        + item("first", 2) + item("inner", 2, 1) + item("second", 2) + item("no item", 0) + table
    )  # fmt: skip
    found = only(make_docx(body, styles=STYLES, numbering=NUMBERING))
    assert found["text"] == (
        "# The Lamp\n\n## Light\n\nWords.\n\n- one\n- two\n1. first\n  1. inner\n2. second\n\nno item\n\na | b\n | d"
    )
    assert (found["title"], found["author"], found["language"]) == ("The Lamp", "Ada North", "en-GB")
    assert found["created"] == "2024-05-01T10:00:00Z"


def test_tracked_changes_are_taken_as_accepted(make_docx: Make) -> None:
    run = "<w:r><w:t>{}</w:t></w:r>"
    body = (
        f"<w:p>{run.format('kept ')}<w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        f"<w:ins>{run.format('new')}</w:ins><w:moveFrom>{run.format('old place')}</w:moveFrom></w:p>"
        f"<w:tbl><w:tr><w:trPr><w:del/></w:trPr><w:tc><w:p>{run.format('gone row')}</w:p></w:tc></w:tr></w:tbl>"
    )
    assert only(make_docx(body))["text"] == "kept new"


def test_footnotes_fields_breaks_and_hidden_text(make_docx: Make) -> None:
    body = (
        '<w:p><w:r><w:t>See</w:t><w:footnoteReference w:id="5"/><w:tab/><w:t>here</w:t><w:br/><w:t>below</w:t></w:r>'
        "<w:r><w:instrText>PAGEREF x</w:instrText></w:r><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
        '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t> shown</w:t></w:r></w:p>'
    )
    notes = '<w:footnote w:id="5"><w:p><w:r><w:t>The note.</w:t></w:r></w:p></w:footnote><w:footnote w:id="6"/>'
    assert only(make_docx(body, footnotes=notes))["text"] == "See[^1]\there\nbelow shown\n\n[^1]: The note."


def test_a_text_box_is_read_once_and_content_controls_are_read(make_docx: Make) -> None:
    box = f"<w:txbxContent>{p('boxed')}</w:txbxContent>"
    body = (
        "<w:p><w:r><w:t>before</w:t><mc:AlternateContent>"
        f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
        f"<w:sdt><w:sdtContent>{p('controlled')}</w:sdtContent></w:sdt>"
    )
    assert only(make_docx(body))["text"] == "before\n\nboxed\n\ncontrolled"


def test_without_text_or_styles(make_docx: Make) -> None:
    with pytest.raises(DocumentError, match="no text"):
        read({}, make_docx("<w:p/>"))
    broken = make_docx(p("x", "Heading1"), extra={"word/styles.xml": "<broken", "docProps/core.xml": "<broken"})
    assert only(broken)["text"] == "# x"
    assert only(broken)["title"] == "x"
