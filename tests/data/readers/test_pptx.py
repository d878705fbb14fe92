from __future__ import annotations

from collections.abc import Callable

from lamina.data.readers.pptx import read

A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:p="p" xmlns:r="rel"'
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def shape(kind: str | None, *lines: str) -> str:
    placed = f'<p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>' if kind is not None else ""
    inner = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines)
    return f"<p:sp>{placed}<p:txBody>{inner}</p:txBody></p:sp>"


def rels(*targets: tuple[str, str, str]) -> str:
    inner = "".join(f'<Relationship Id="{i}" Type="{REL}/{kind}" Target="{path}"/>' for i, kind, path in targets)
    return f"<Relationships>{inner}</Relationships>"


def test_slides_in_the_order_of_showing_with_notes(make_zip: Callable[..., bytes]) -> None:
    table = "<a:tbl><a:tr><a:tc><a:txBody><a:p><a:r><a:t>x</a:t></a:r></a:p></a:txBody></a:tc>" + (
        "<a:tc><a:txBody><a:p><a:r><a:t>y</a:t></a:r></a:p></a:txBody></a:tc></a:tr></a:tbl>"
    )
    slides = {
        "1": shape("body", "point", "other") + shape("title", "Second") + shape("sldNum", "7") + shape("ftr", "Foot"),
        "2": shape("title", "First") + f"<p:grpSp>{shape(None, 'free')}</p:grpSp>{table}",
    }
    parts = {f"ppt/slides/s{n}.xml": f"<p:sld {A}>{inner}</p:sld>" for n, inner in slides.items()}
    parts |= {
        "_rels/.rels": rels(("x", "officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f'<p:presentation {A}><p:sldIdLst><p:sldId id="1" r:id="b"/><p:sldId id="2" r:id="a"/>'
        '<p:sldId id="3" r:id="c"/></p:sldIdLst></p:presentation>',
        "ppt/_rels/presentation.xml.rels": rels(
            ("a", "slide", "slides/s1.xml"), ("b", "slide", "/ppt/slides/s2.xml"), ("c", "slide", "slides/s3.xml")
        ),
        "ppt/slides/_rels/s2.xml.rels": rels(("n", "notesSlide", "../notes.xml")),
        "ppt/notes.xml": f"<p:notes {A}>{shape('sldImg', 'no')}{shape('body', 'Say hello.')}</p:notes>",
    }
    found = read({}, make_zip(parts))
    (document,) = found["documents"]
    assert document["text"] == "## First\n\nfree\n\nx | y\n\nNotes: Say hello.\n\n## Second\n\n- point\n- other"
    assert document["title"] == "First"
    assert found["unread"] == [["slide 3", "lacks the entry ppt/slides/s3.xml"]]
