"""Books: chapters in order, front matter left out, hostile and broken files told apart from good ones."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from lamina.data.readers.chapters import chapters, plain
from lamina.data.readers.layout import flow
from lamina.kit.errors import ConfigError

Make = Callable[..., bytes]


def page(inner: str, *, kind: str = "") -> str:
    """An XHTML page with an empty <title/>, behind which a parser of HTML would see nothing but a title."""
    body = f'<body epub:type="{kind}">' if kind else "<body>"
    return (
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head><title/></head>{body}{inner}</body></html>'
    )


LONG = "It was a bright cold day and the keeper climbed up the stairs. " * 12


def test_epub_of_two_chapters(collect: Any, make_epub: Make) -> None:
    one = page("<h1>One</h1><p>The lamp&nbsp;burned&#8212;bright.</p><p>Twice<br/>over.</p><script>x()</script>")
    two = page("<h2>Two</h2><ul><li>oil</li><li>wick</li></ul>")
    data = make_epub(
        {"two.xhtml": two, "one.xhtml": one, "cover.xhtml": page("<p>Cover</p>", kind="cover")},
        spine=["cover.xhtml", "one.xhtml", "two.xhtml"],
        nav=[("one.xhtml", "The First"), ("two.xhtml", "The Second")],
    )
    found = collect("books", {"shelf/lamp.epub": data})
    assert found.texts() == ["One\n\nThe lamp burned—bright.\n\nTwice\nover.", "Two\n\n- oil\n- wick"]
    first, second = found.rows
    assert first["title"] == "The Lamp: The First"
    assert first["author"] == "Ada North, B. South"
    assert (first["language"], first["license"]) == ("en-GB", "CC-BY-SA-4.0")
    assert (first["group_id"], second["group_id"], second["position"]) == ("The Lamp", "The Lamp", 1)
    assert first["url"] == "npm:box@1/shelf/lamp.epub#OEBPS/one.xhtml"
    assert found.names == ["shelf/lamp.epub"]
    assert not found.reasons


def test_epub_chapter_in_two_files_and_two_chapters_in_one_file(collect: Any, make_epub: Make) -> None:
    pages = {
        "a.xhtml": page('<h2 id="i">I</h2><p>First.</p><h2 id="ii">II</h2><p>Second.</p>'),
        "b.xhtml": page("<p>Second goes on.</p>"),
    }
    data = make_epub(pages, nav=[("a.xhtml#i", "Chapter I"), ("a.xhtml#ii", "Chapter II")])
    found = collect("books", {"b.epub": data})
    assert found.texts() == ["I\n\nFirst.", "II\n\nSecond.\n\nSecond goes on."]
    assert [row["title"] for row in found.rows] == ["The Lamp: Chapter I", "The Lamp: Chapter II"]


def test_epub2_contents_and_guide(collect: Any, make_epub: Make) -> None:
    ncx = (
        '<?xml version="1.0"?><ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint id="p">'
        '<navLabel><text>From the NCX</text></navLabel><content src="a.xhtml"/></navPoint></navMap></ncx>'
    )
    manifest = (
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="t" href="title.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="2.0"><metadata/>'
        f'<manifest>{manifest}</manifest><spine toc="ncx"><itemref idref="t"/><itemref idref="a"/></spine>'
        '<guide><reference type="title-page" href="title.xhtml"/></guide></package>'
    )
    pages = {"a.xhtml": page("<p>Text.</p>"), "title.xhtml": page("<p>THE TITLE</p>")}
    data = make_epub(pages, package=package, extra={"OEBPS/toc.ncx": ncx})
    found = collect("books", {"b.epub": data}, title="Given", author="Someone")
    assert [(row["text"], row["title"], row["author"]) for row in found.rows] == [("Text.", "Given", "Someone")]


def test_truncated_epub_costs_itself_alone(collect: Any, make_epub: Make) -> None:
    good = make_epub({"a.xhtml": page("<p>Whole.</p>")})
    found = collect("books", {"bad.epub": good[: len(good) // 2], "empty.epub": b"", "good.epub": good})
    assert found.texts() == ["Whole."]
    assert "no readable EPUB" in found.reasons["bad.epub"]
    assert "no readable EPUB" in found.reasons["empty.epub"]
    assert found.names == ["good.epub"]


def test_epub_names_that_lead_outside(collect: Any, make_epub: Make) -> None:
    data = make_epub(
        {"a.xhtml": page("<p>Inside.</p>")},
        spine=["a.xhtml", "../../../etc/passwd"],
        extra={"../../evil.sh": "rm", "/abs.txt": "x"},
    )
    found = collect("books", {"b.epub": data})
    assert found.texts() == ["Inside."]
    for name in ("../../evil.sh", "/abs.txt", "../../etc/passwd"):
        assert "outside of the book" in found.reasons[f"b.epub, {name}"]


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


def test_epub_with_entities_is_refused(collect: Any, make_epub: Make) -> None:
    laughing = page("<p>&b;</p>").replace("<!DOCTYPE html>", LAUGHS)
    chapter = make_epub({"a.xhtml": laughing, "b.xhtml": page("<p>Sober.</p>")})
    external = '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]><package><manifest/></package>'
    hidden = ('<?xml version="1.0" encoding="utf-16"?>' + LAUGHS + "<package><manifest/></package>").encode("utf-16")
    package = make_epub({}, package=external)
    sixteen = make_epub({}, package=hidden)
    found = collect("books", {"chapter.epub": chapter, "package.epub": package, "utf16.epub": sixteen})
    assert found.texts() == ["Sober."]
    assert "declares XML entities in OEBPS/a.xhtml" in found.reasons["chapter.epub, OEBPS/a.xhtml"]
    assert "declares XML entities" in found.reasons["package.epub"]
    assert "declares XML entities" in found.reasons["utf16.epub"]


def test_epub_bomb_encryption_and_overlap(collect: Any, make_epub: Make) -> None:
    bomb = make_epub({"a.xhtml": page("<p>x</p>"), "zeros.bin": "\0" * (8 << 20)})
    drm = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData xmlns="http://x">'
        '<EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/><CipherData>'
        '<CipherReference URI="OEBPS/a.xhtml"/></CipherData></EncryptedData></encryption>'
    )
    locked = make_epub({"a.xhtml": "\x8f\x00secret"}, extra={"META-INF/encryption.xml": drm})
    good = make_epub({"a.xhtml": page("<p>x</p>")})
    buffer = io.BytesIO(good)
    with zipfile.ZipFile(buffer, "a") as book:
        twin = zipfile.ZipInfo("twin")
        book.writestr(twin, b"y" * 100)
        book.infolist()[-1].header_offset = book.infolist()[0].header_offset
        book._didModify = True  # type: ignore[attr-defined]
    found = collect("books", {"bomb.epub": bomb, "drm.epub": locked, "overlap.epub": buffer.getvalue()})
    assert not found.rows
    assert "unpacks over 200-fold: OEBPS/zeros.bin" in found.reasons["bomb.epub"]
    assert "encrypted (DRM)" in found.reasons["drm.epub"]
    assert "overlap" in found.reasons["overlap.epub"]


PARAGRAPH = [
    "The keeper of the light is a man of few words and in the endless exam-",
    "ple of the storm he stood where well-",
    "known sailors had gone down before him, one and all of them, in the",
    "year of the great wave.",
]


def test_pdf_with_text(collect: Any, make_pdf: Make) -> None:
    pages = [
        ["The Lighthouse", *PARAGRAPH, "Some are well-known and some are no example."],
        ["The Lighthouse", "A second page begins, and what it says is long enough to fill the line", "17"],
        ["The Lighthouse", "and goes on.", "18"],
    ]
    data = make_pdf(pages, info="/Title (The Light) /Author (A. Keeper) /CreationDate (D:20240131120000Z)")
    found = collect("books", {"light.pdf": data})
    assert found.reasons == {}
    (row,) = found.rows
    assert "endless example of the storm he stood where well-known sailors" in row["text"]
    assert "The Lighthouse" not in row["text"]
    assert "fill the line and goes on." in row["text"]
    assert (row["title"], row["author"], row["created"].date().isoformat()) == ("The Light", "A. Keeper", "2024-01-31")
    assert orjson.loads(row["meta"]) == {"pages": 3}


def test_pdf_chapters_by_its_bookmarks(collect: Any, make_pdf: Make) -> None:
    data = make_pdf(
        [["Preface words."], ["Alpha text."], ["More alpha."], ["Beta text."]],
        info="/Title (Greek)",
        bookmarks=[("Alpha", 1), ("Beta", 3)],
    )
    found = collect("books", {"greek.pdf": data})
    assert [(row["title"], row["position"]) for row in found.rows] == [
        ("Greek", 0),
        ("Greek: Alpha", 1),
        ("Greek: Beta", 2),
    ]
    assert "More alpha." in found.rows[1]["text"]
    assert found.rows[2]["url"].endswith("greek.pdf#page=4")


def test_pdf_chapters_that_begin_within_a_page(collect: Any, make_pdf: Make) -> None:
    data = make_pdf(
        [
            ["Contents", "1 Alpha . . . . . . . . . . 2", "2 Beta . . . . . . . . . . 2"],
            ["1 Alpha", "Alpha text.", "2. Beta", "Beta text."],
            ["More beta."],
        ],
        bookmarks=[("Alpha", 1), ("Beta", 1)],
    )
    found = collect("books", {"two.pdf": data})
    assert found.texts() == ["Contents", "1 Alpha\n\nAlpha text.", "2. Beta\n\nBeta text. More beta."]
    assert [row["title"] for row in found.rows] == [None, "Alpha", "Beta"]


def test_pdf_without_text_is_reported(collect: Any, make_pdf: Make) -> None:
    scanned, half = make_pdf([[], []]), make_pdf([["Words here."], []])
    found = collect("books", {"scan.pdf": scanned, "half.pdf": half, "broken.pdf": half[:200]})
    assert found.texts() == ["Words here."]
    assert "no text layer on 2 of 2 pages" in found.reasons["scan.pdf"]
    assert "no text layer on 1 of 2 pages" in found.reasons["half.pdf, page 2"]
    assert "no readable PDF" in found.reasons["broken.pdf"]


GUTENBERG = f"""The Project Gutenberg eBook of The Lamp

Title: The Lamp

Author: Ada North

Language: English

*** START OF THE PROJECT GUTENBERG EBOOK THE LAMP ***

Produced by volunteers
and friends

THE LAMP

CONTENTS

CHAPTER I. The Stairs

CHAPTER II. The Fog

CHAPTER I. The Stairs

{LONG}

Part of what he said was lost
chapter by chapter in the wind.

CHAPTER II. The Fog

Short.

*** END OF THE PROJECT GUTENBERG EBOOK THE LAMP ***

Licence text.
"""


def test_plain_text_with_chapters(collect: Any) -> None:
    found = collect("books", {"lamp.txt": GUTENBERG.replace("\n", "\r\n")})
    titles = [row["title"] for row in found.rows]
    assert titles[-2:] == ["The Lamp: CHAPTER I. The Stairs", "The Lamp: CHAPTER II. The Fog"]
    assert found.rows[-1]["text"] == "Short."
    assert "chapter by chapter in the wind." in found.rows[-2]["text"]
    assert {row["language"] for row in found.rows} == {"en"}
    assert found.rows[0]["author"] == "Ada North"
    everything = "".join(found.texts())
    assert "Licence text" not in everything
    assert "Produced by" not in everything
    assert "START OF" not in everything


def test_a_part_heading_joins_the_chapter_below() -> None:
    found = chapters("PART ONE\n\nChapter 1\n\nText one.\n\nChapter 2\n\nText two.\n\nEpilogue\n\nThe end.")
    assert [c["title"] for c in found] == ["PART ONE, Chapter 1", "Chapter 2", "Epilogue"]


def test_text_without_chapters_is_one_piece() -> None:
    assert [c["text"] for c in plain("Just a story.\n\nWith an end.")["chapters"]] == ["Just a story.\n\nWith an end."]


def test_chapters_as_json(collect: Any) -> None:
    one = orjson.dumps({"chapter": "7", "title": "Loomings.", "text": "Call me."})
    whole = orjson.dumps(
        {"title": "Whole", "author": "B", "chapters": [{"title": "x", "text": "1"}, {"title": "y", "text": "2"}]}
    )
    script = b'// words\nmodule.exports = [{"title": "a", "text": "A"}, {"title": "b", "text": "B"}];\n'
    contents = {"d/one.json": one, "whole.json": whole, "s.js": script, "p.js": b"var a = f(1);", "n.json": b'{"a": 1}'}
    found = collect("books", contents, title="Moby Dick", author="Herman Melville")
    assert [(r["title"], r["position"], r["author"]) for r in found.rows] == [
        ("Moby Dick: Loomings.", 7, "Herman Melville"),
        ("Whole: x", 0, "B"),
        ("Whole: y", 1, "B"),
        ("Moby Dick: a", 0, "Herman Melville"),
        ("Moby Dick: b", 1, "Herman Melville"),
    ]
    assert "a program" in found.reasons["p.js"]
    assert "'text' is expected" in found.reasons["n.json"]


def test_limit_and_unknown_kinds(collect: Any) -> None:
    found = collect("books", {"a.txt": "One.", "b.txt": "Two.", "c.docx": b"PK"}, limit=1)
    assert found.texts() == ["One."]
    assert "are no books" in collect("books", {"c.docx": b"PK"}).reasons["c.docx"]


def test_a_parser_that_takes_too_long_costs_its_file(collect: Any, make_epub: Make) -> None:
    deep = page("<div>" * 200_000 + "deep" + "</div>" * 200_000)
    good = make_epub({"a.xhtml": page("<p>Good.</p>")})
    found = collect("books", {"deep.epub": make_epub({"a.xhtml": deep}), "good.epub": good})
    assert "Good." in found.texts()


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["a broken exam-", "ple of it"], "a broken example of it"),
        (["an exam-ple is a long exam-", "ple of it all"], "an exam-ple is a long exam-ple of it all"),
        (["the poet Jean-", "Paul Richter"], "the poet Jean-Paul Richter"),
        (["from 1914-", "1918 it was"], "from 1914- 1918 it was"),
    ],
)
def test_words_broken_at_line_ends(lines: list[str], text: str) -> None:
    assert flow([lines]) == text


@pytest.mark.parametrize("text", ["\n\nchapter 1" + " " * 500_000 + "x", "\n" * 500_000, "\n\nPart I\n\nx" * 40_000])
def test_texts_made_to_be_slow_are_cut_in_time(text: str) -> None:
    began = time.perf_counter()
    chapters(text + "\n\nend")
    assert time.perf_counter() - began < 5  # seconds


def test_sections_of_a_chapter_stay_in_it_and_chapters_of_a_part_come_out(collect: Any, make_epub: Make) -> None:
    heads = "".join(f'<h2 id="s{n}">Section {n}</h2><p>{LONG}</p>' for n in range(3))
    short = page(f"<h1>The Oil</h1>{heads}")
    long = page("<h1>Part Two</h1>" + heads.replace(LONG, LONG * 9))
    nav = [
        ("a.xhtml", "The Oil</a><ol><li><a href='a.xhtml#s0'>S 0</a></li><li><a href='a.xhtml#s1'>S 1</a></li></ol><a>")
    ]
    nav += [(n.replace("a.", "b."), label.replace("a.x", "b.x")) for n, label in nav]
    found = collect("books", {"b.epub": make_epub({"a.xhtml": short, "b.xhtml": long}, nav=nav)})
    assert [row["title"] for row in found.rows] == [
        "The Lamp: The Oil",
        "The Lamp: The Oil",
        "The Lamp: S 0",
        "The Lamp: S 1",
    ]
    assert found.rows[0]["text"].count("Section") == 3
    assert found.rows[1]["text"] == "Part Two"


def test_a_book_links_to_its_licence_and_reserves_text_mining(collect: Any, make_epub: Make, make_pdf: Make) -> None:
    about = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata>'
        '<link rel="dcterms:license" href="https://creativecommons.org/licenses/by/4.0/"/>'
        '<meta property="tdm:reservation">1</meta><meta property="tdm:policy">https://example.org/p</meta></metadata>'
        '<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><cc:license rdf:resource="http://creativecommons.org/licenses/by-sa/3.0/"/>'
        b"<tdm:reservation>1</tdm:reservation></x:xmpmeta>"
    )
    pdf = make_pdf([[LONG[:80]]])
    data = {
        "a.epub": make_epub({"a.xhtml": page("<p>Text.</p>")}, package=about),
        "b.pdf": pdf.replace(b"%%EOF", b"%%EOF\n" + packet),
        "c.pdf": pdf,
    }
    a, b, c = collect("books", data).rows
    assert (a["license"], a["rights"]) == ("CC-BY-4.0", "tdm-reservation: 1; tdm-policy: https://example.org/p")
    assert (b["license"], b["rights"]) == ("CC-BY-SA-3.0", "tdm-reservation: 1")
    assert (c["license"], c["rights"]) == (None, None)


def test_bullets_of_a_page_are_lines_of_their_own() -> None:
    wide = "x" * 60
    assert flow([[f"\u25b6 {wide}", f"\u25b6 {wide}", f"and {wide}"]]) == f"\u25b6 {wide}\n\n\u25b6 {wide} and {wide}"


def test_books_in_an_archive_and_in_old_encodings(collect: Any, make_epub: Make) -> None:
    shelf = io.BytesIO()
    with zipfile.ZipFile(shelf, "w") as out:
        out.writestr("one.epub", make_epub({"a.xhtml": page("<p>From the shelf.</p>")}))
        out.writestr("two.txt", "Grüße.".encode("cp1252"))
        out.writestr("cover.jpg", b"\xff\xd8\xff")
    declared = (
        "Title: Wege\nCharacter set encoding: ISO-8859-1\n\n*** START OF THIS PROJECT GUTENBERG EBOOK ***\n\nÜber Wege."
    )
    found = collect(
        "books",
        {
            "shelf.zip": shelf.getvalue(),
            "declared.txt": declared.encode("latin-1"),
            "bare.txt": "Äpfel".encode("cp1252"),
        },
        encoding="windows-1252",
    )
    assert found.texts() == ["From the shelf.", "Grüße.", "Über Wege.", "Äpfel"]
    assert found.rows[0]["url"] == "npm:box@1/shelf.zip/one.epub"
    assert set(found.reasons) == {"shelf.zip/cover.jpg"}
    assert {"shelf.zip", "shelf.zip/one.epub"} <= set(found.names)
    bare = collect("books", {"bare.txt": ("Äpfel und Öl für die Lampe. " * 9).encode("cp1252")})
    assert 'encoding = "cp1252"' in bare.reasons["bare.txt"]
    with pytest.raises(ConfigError, match="no encoding"):
        collect("books", {}, encoding="klingon")
