from __future__ import annotations

from collections.abc import Callable

import pytest

from lamina.data.readers import xlsx
from lamina.data.readers.xlsx import read
from lamina.kit.errors import DocumentError

Make = Callable[..., bytes]
STYLES = (
    '<numFmts><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/>'
    '<numFmt numFmtId="165" formatCode="[$-407]0 &quot;d&quot;"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="10"/>'
    '<xf numFmtId="20"/><xf numFmtId="165"/><xf numFmtId="22"/></cellXfs>'
)


def c(value: object, *, kind: str = "n", style: int = 0, place: str = "") -> str:
    named = f' r="{place}"' if place else ""
    return f'<c t="{kind}" s="{style}"{named}><v>{value}</v></c>'


def row(*cells: str) -> str:
    return f"<row>{''.join(cells)}</row>"


def texts(data: bytes) -> dict[str, str]:
    return {d["key"]: d["text"] for d in read({}, data)["documents"]}


def test_values_as_a_reader_of_the_sheet_sees_them(make_xlsx: Make) -> None:
    rows = row(c(0, kind="s"), c(1, kind="b"), c(0.1 + 0.2), c(3.0), c("#DIV/0!", kind="e")) + row(
        c(45413, style=1), c(0.125, style=2), c(0.5, style=3), c(7, style=4), c(45413.75, style=5)
    )
    found = texts(make_xlsx({"A": rows}, strings=("Größe",), styles=STYLES))
    assert found["A"] == "Größe | TRUE | 0.3 | 3 | #DIV/0!\n2024-05-01 | 12.5% | 12:00 | 7 | 2024-05-01 18:00"


def test_each_sheet_is_a_document_and_what_is_hidden_or_empty_is_said(make_xlsx: Make) -> None:
    rows = row(c("x", kind="str"))
    found = read({}, make_xlsx({"One": rows, "Two": rows, "None": "", "Secret": rows}, hidden=("Secret",)))
    assert [(d["key"], d["title"], d["position"]) for d in found["documents"]] == [
        ("One", "The Lamp: One", 0),
        ("Two", "The Lamp: Two", 1),
    ]
    assert found["unread"] == [["sheet 'None'", "is empty"], ["sheet 'Secret'", "is hidden"]]


def test_a_far_cell_costs_one_column(make_xlsx: Make) -> None:
    rows = row(c("a", kind="str", place="A1")) + row(c("z", kind="str", place="XFD1048576"))
    assert texts(make_xlsx({"A": rows}))["A"] == "a\n | z"


def test_inline_strings_runs_and_readings(make_xlsx: Make) -> None:
    cell = '<c t="inlineStr"><is><r><t>Tō</t></r><r><t>kyō</t></r><rPh><t>no</t></rPh></is></c>'
    assert texts(make_xlsx({"A": row(cell)}))["A"] == "Tōkyō"


def test_too_many_cells(make_xlsx: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xlsx, "MAX_CELLS", 3)
    with pytest.raises(DocumentError, match="more than 3 cells"):
        read({}, make_xlsx({"A": row(c(1), c(2)) * 2}))
    monkeypatch.setattr(xlsx, "MAX_CELLS", 100)
    monkeypatch.setattr(xlsx, "MAX_CHARACTERS", 50)
    diagonal = "".join(row(c(1, place=f"{column}1")) for column in "ABCDEFGH")
    with pytest.raises(DocumentError, match="over the limit"):
        read({}, make_xlsx({"A": diagonal}))


def test_a_broken_sheet_costs_itself_alone(make_xlsx: Make) -> None:
    found = read({}, make_xlsx({"Good": row(c(1)), "Bad": "<?xml version='1.0'?><worksheet><row>"}))
    assert [d["key"] for d in found["documents"]] == ["Good"]
    assert "malformed" in found["unread"][0][1]
