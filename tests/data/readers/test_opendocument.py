from __future__ import annotations

from collections.abc import Callable

import pytest

from lamina.data.readers.opendocument import read
from lamina.kit.errors import DocumentError

SPACES = (
    'xmlns:office="o" xmlns:text="t" xmlns:table="b" xmlns:draw="d" xmlns:presentation="p" xmlns:dc="c" xmlns:meta="m"'
)
META = (
    f"<office:document-meta {SPACES}><office:meta><dc:title>Odd</dc:title>"
    "<meta:initial-creator>Cy</meta:initial-creator>"
    "<meta:creation-date>2024-05-01T10:00:00</meta:creation-date></office:meta></office:document-meta>"
)


@pytest.fixture
def make(make_zip: Callable[..., bytes]) -> Callable[..., bytes]:
    def build(kind: str, inner: str, manifest: str = "<manifest/>") -> bytes:
        body = f"<office:body><office:{kind}>{inner}</office:{kind}></office:body>"
        content = f"<office:document-content {SPACES}>{body}</office:document-content>"
        return make_zip({"content.xml": content, "meta.xml": META, "META-INF/manifest.xml": manifest})

    return build


def test_text_with_lists_notes_and_what_was_deleted(make: Callable[..., bytes]) -> None:
    inner = (
        "<text:tracked-changes><text:deletion><text:p>deleted</text:p></text:deletion></text:tracked-changes>"
        '<text:h text:outline-level="2">Head</text:h>'
        '<text:p>Some<text:s text:c="3"/>words<text:note><text:note-citation>1</text:note-citation>'
        "<text:note-body><text:p>The note.</text:p></text:note-body></text:note>"
        "<office:annotation><text:p>comment</text:p></office:annotation> end<text:line-break/>next</text:p>"
        "<text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>inner</text:p>"
        "</text:list-item></text:list></text:list-item><text:list-item><text:p>two</text:p></text:list-item></text:list>"
    )
    (document,) = read({}, make("text", inner))["documents"]
    assert document["text"] == ("## Head\n\nSome   words[^1] end\nnext\n\n- one\n  - inner\n- two\n\n[^1]: The note.")
    assert (document["title"], document["author"], document["created"]) == ("Odd", "Cy", "2024-05-01T10:00:00")


def test_a_spreadsheet_that_says_it_is_huge(make: Callable[..., bytes]) -> None:
    cell = '<table:table-cell table:number-columns-repeated="2"><text:p>v</text:p></table:table-cell>'
    empty = '<table:table-cell table:number-columns-repeated="999999999"/>'
    inner = (
        f'<table:table table:name="A"><table:table-row table:number-rows-repeated="2">{cell}{empty}</table:table-row>'
        f'<table:table-row table:number-rows-repeated="999999999">{empty}</table:table-row></table:table>'
        '<table:table table:name="B"/>'
    )
    found = read({}, make("spreadsheet", inner))
    assert [(d["key"], d["text"], d["title"]) for d in found["documents"]] == [("A", "v | v\nv | v", "Odd: A")]
    assert found["unread"] == [["sheet 'B'", "is empty"]]
    bomb = (
        '<table:table-cell table:number-columns-repeated="999999999"><text:p>'
        + "v" * 1000
        + "</text:p></table:table-cell>"
    )
    row = f'<table:table-row table:number-rows-repeated="999999999">{bomb}</table:table-row>'
    with pytest.raises(DocumentError, match="MiB of text"):
        read({}, make("spreadsheet", f"<table:table>{row}</table:table>"))


def test_slides(make: Callable[..., bytes]) -> None:
    def frame(kind: str, text: str) -> str:
        box = f"<draw:text-box><text:p>{text}</text:p></draw:text-box>"
        return f'<draw:frame presentation:class="{kind}">{box}</draw:frame>'

    notes = f"<presentation:notes>{frame('notes', 'Say it.')}</presentation:notes>"
    inner = f"<draw:page>{frame('title', 'First')}{frame('outline', 'words')}{frame('footer', 'no')}{notes}</draw:page>"
    (document,) = read({}, make("presentation", inner))["documents"]
    assert document["text"] == "## First\n\nwords\n\nNotes: Say it."


def test_flat_and_encrypted(make: Callable[..., bytes]) -> None:
    body = "<office:body><office:text><text:p>flat</text:p></office:text></office:body>"
    flat = f"<office:document {SPACES}>{body}</office:document>"
    assert read({}, flat.encode())["documents"][0]["text"] == "flat"
    with pytest.raises(DocumentError, match="password"):
        read({}, make("text", "", "<manifest><encryption-data/></manifest>"))
