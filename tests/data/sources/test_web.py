"""Web pages, saved and fetched: main text and what the page says of itself; what is no page is told why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import orjson
import pytest

from lamina.data.readers import page
from lamina.kit.errors import DocumentError

STORY = (
    "The lighthouse at Grane was built in 1871 by Josef Hartung, who had seen two ships go down in one winter. "
    "It burned whale oil for eleven years, and colza oil after that, until the keeper asked for paraffin."
)
ARTICLE = f"""<!DOCTYPE html><html lang="en-GB"><head><title>Grane Light | Coast News</title>
<meta name="author" content="Mara Berg"><meta property="article:published_time" content="2021-03-04T10:00:00Z">
<meta name="robots" content="noai, noindex"><meta name="tdm-reservation" content="1">
<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">
<link rel="canonical" href="https://news.example.org/grane"></head>
<body><nav><a href="/">Home</a> <a href="/shop">Shop</a></nav>
<article><h1>Grane Light</h1><p>{STORY}</p><p>{STORY.replace("1871", "1872")}</p></article>
<footer>Cookie settings. Subscribe to our newsletter now!</footer></body></html>"""


def test_saved_page(collect: Any) -> None:
    found = collect("web", {"site/grane.html": ARTICLE})
    (row,) = found.rows
    assert STORY in row["text"]
    assert "newsletter" not in row["text"]
    assert "Shop" not in row["text"]
    assert row["title"] == "Grane Light"
    assert row["author"] == "Mara Berg"
    assert row["created"].date().isoformat() == "2021-03-04"
    assert (row["language"], row["license"]) == ("en-GB", "CC-BY-4.0")
    assert row["rights"] == "robots: noai, noindex; tdm-reservation: 1"
    assert row["url"] == "https://news.example.org/grane"
    assert row["group_id"] == "news.example.org"
    assert found.names == ["site/grane.html"]


def test_paragraphs_lists_and_code_keep_their_form() -> None:
    steps = f"<ul><li><p>{STORY}</p></li><li>Second step.</li></ul>"
    code = "<pre><code>if dark:\n    burn(oil)\n</code></pre>"
    wrapped = STORY.replace(". ", ".\n")
    data = f"<html><body><article><h2>Lamps</h2><p>{wrapped}</p>{steps}{code}<p>{STORY}</p></article></body></html>"
    text = page.read({}, data.encode())["text"]
    assert text == f"Lamps\n\n{STORY}\n\n- {STORY}\n- Second step.\n\nif dark:\n    burn(oil)\n\n{STORY}"


def test_dates_in_the_text_are_not_the_page_s() -> None:
    told = f"<html><body><article><p>On 4 May 2019 and 2001-02-03: {STORY}</p></article></body></html>"
    assert page.read({}, told.encode())["created"] is None
    linked = '<script type="application/ld+json">{"@type": "Article", "datePublished": "2020-05-06"}</script>'
    assert page.read({}, told.replace("<body>", f"<body>{linked}").encode())["created"] == "2020-05-06"


def test_a_licence_that_is_only_talked_about_is_not_the_page_s(collect: Any) -> None:
    talk = f'<html><body><p>{STORY}</p><p>See <a href="https://creativecommons.org/licenses/by/4.0/">it</a>.</p></body></html>'
    assert collect("web", {"a.html": talk}).rows[0]["license"] is None


def test_what_is_no_page_is_reported_and_the_rest_is_read(collect: Any) -> None:
    contents = {
        "huge.html": b"<html><body>" + b"<p>word word</p>" * ((50 << 20) // 16) + b"</body></html>",
        "exe.html": b"MZ\x90\x00\x03" + bytes(range(256)) * 20,
        "zeros.html": b"<html>" + b"\0" * 500,
        "noise.html": bytes(range(1, 9)) * 300,
        "paper.html": b"%PDF-1.7 ...",
        "empty.html": b"  \n ",
        "bare.html": b"<html><head><title>x</title></head><body></body></html>",
        "notes.docx": b"PK\x03\x04",
        "good.html": ARTICLE,
    }
    found = collect("web", contents)
    assert [row["title"] for row in found.rows] == ["Grane Light"]
    assert "is 50 MiB, more than the limit of 20 MiB" in found.reasons["huge.html"]
    assert "a program" in found.reasons["exe.html"]
    assert "binary" in found.reasons["zeros.html"]
    assert "binary" in found.reasons["noise.html"]
    assert "a PDF file" in found.reasons["paper.html"]
    assert "empty" in found.reasons["empty.html"]
    assert "no main text" in found.reasons["bare.html"]
    assert "not saved pages" in found.reasons["notes.docx"]
    assert set(found.reasons) == set(contents) - {"good.html"}


def test_a_page_that_is_a_trap_costs_itself_alone(collect: Any) -> None:
    deep = b"<html><body>" + b"<div>" * 1_000_000 + STORY.encode() + b"</body></html>"
    found = collect("web", {"deep.html": deep, "good.html": ARTICLE}, seconds=3.0)
    assert "Grane Light" in [row["title"] for row in found.rows]
    assert len(found.rows) + len(found.reasons) == 2


@pytest.mark.parametrize(
    ("charset", "declared", "expected"),
    [
        ("utf-8", None, "naïve café"),
        ("cp1252", '<meta charset="iso-8859-1">', "naïve café"),
        ("cp1252", None, "naïve café"),
        ("utf-16", None, "naïve café"),
        ("koi8-r", '<meta charset="koi8-r">', "маяк"),
        ("gb18030", '<meta http-equiv="Content-Type" content="text/html; charset=gb2312">', None),
    ],
)
def test_encodings(charset: str, declared: str | None, expected: str | None) -> None:
    words = {"koi8-r": "Старый маяк стоит на скале.", "gb18030": "灯塔"}.get(
        charset, f"A naïve café by the sea. {STORY}"
    )
    data = f"<html><head>{declared or ''}</head><body><p>{words * 10}</p></body></html>".encode(charset)
    text, replaced = page.to_text(data, None)
    assert (expected or words) in text
    assert replaced == 0


@pytest.mark.parametrize("charset", ["utf-7", "hz", "iso-2022-jp", "rot13", "punycode"])
def test_encodings_in_which_markup_can_hide_are_refused(charset: str) -> None:
    with pytest.raises(DocumentError, match="encoding that is not read"):
        page.to_text(b"+ADw-script+AD4-", charset)


def test_too_many_undecodable_characters() -> None:
    with pytest.raises(DocumentError, match="cannot be decoded"):
        page.to_text("ä".encode("cp1252") * 50 + b"a" * 50, "utf-8")
    text, replaced = page.to_text(b"a" * 1000 + b"\xff", "utf-8")
    assert (len(text), replaced) == (1001, 1)


def test_a_page_of_which_trafilatura_makes_nothing_has_a_second_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    monkeypatch.setattr(trafilatura, "bare_extraction", lambda *args, **kwargs: None)
    found = page.read({}, ARTICLE.encode())
    assert STORY in found["text"]
    assert found["license"] == "CC-BY-4.0"


class _Site(BaseHTTPRequestHandler):
    PAGES: ClassVar[dict[str, tuple[int, str, bytes]]] = {
        "/robots.txt": (200, "text/plain", b"User-agent: *\nDisallow: /private\n"),
        "/grane": (200, "text/html; charset=utf-8", ARTICLE.encode()),
        "/again": (302, "/grane", b""),
        "/notes.txt": (200, "text/plain; charset=latin-1", "Café notes, plain as they are.".encode("latin-1")),
        "/cyrillic.txt": (200, "text/plain; charset=koi8-r", "Старый маяк.".encode("koi8-r")),
        "/private": (200, "text/html", ARTICLE.encode()),
        "/paper.pdf": (200, "application/pdf", b"%PDF-1.4"),
        "/exe": (200, "text/html", b"\x7fELF" + bytes(200)),
        "/big": (200, "text/html", b"<p>" + b"x" * 200_000),
    }

    def do_GET(self) -> None:
        status, kind, body = self.PAGES.get(self.path, (404, "text/html", b"gone"))
        self.send_response(status)
        self.send_header("Location" if status == 302 else "Content-Type", kind)
        if self.path == "/grane":
            self.send_header("X-Robots-Tag", "noarchive")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetched_pages(collect: Any, site: str) -> None:
    names = ("/grane", "/again", "/notes.txt", "/cyrillic.txt", "/private", "/paper.pdf", "/exe", "/missing", "/big")
    urls = tuple(site + name for name in names)
    found = collect("web", {}, urls=(*urls, urls[0]), delay_s=0.0, allow_private=("127.0.0.1",), max_bytes=100_000)
    assert [row["url"] for row in found.rows] == [f"{site}/grane", f"{site}/notes.txt", f"{site}/cyrillic.txt"]
    article, notes, cyrillic = found.rows
    assert article["title"] == "Grane Light"
    assert "noarchive" in article["rights"]
    assert "noai" in article["rights"]
    assert article["group_id"] == "127.0.0.1"
    assert notes["text"] == "Café notes, plain as they are."
    assert cyrillic["text"] == "Старый маяк."
    assert "robots.txt" in found.reasons[f"{site}/private"]
    assert "application/pdf" in found.reasons[f"{site}/paper.pdf"]
    assert "a program" in found.reasons[f"{site}/exe"]
    assert "404" in found.reasons[f"{site}/missing"]
    assert "at most 100000" in found.reasons[f"{site}/big"]


def test_own_network_is_refused_unless_allowed(collect: Any, site: str) -> None:
    found = collect("web", {}, urls=(f"{site}/grane",), delay_s=0.0)
    assert not found.rows
    assert f"{site}/grane" in found.reasons


def test_limit(collect: Any) -> None:
    found = collect("web", {"a.html": ARTICLE, "b.html": ARTICLE}, limit=1)
    assert [row["url"] for row in found.rows] == ["https://news.example.org/grane"]
    assert orjson.loads(found.rows[0]["meta"] or b"{}") == {}
