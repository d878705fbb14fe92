"""What the web does to collectors: each input has its one right outcome, and a good page beside it is read."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from typing import Any

import pytest

Site = Any
STORY = (
    "The lighthouse at Grane was built in 1871 by Josef Hartung, who had seen two ships go down in one winter. "
    "It burned whale oil for eleven years, and colza oil after that, until the keeper asked for paraffin. "
)


def page(text: str = STORY * 3, head: str = "") -> bytes:
    return f"<html><head><title>x</title>{head}</head><body><article><p>{text}</p></article></body></html>".encode()


def endless(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(b"100000\r\n" + b"x" * 2**20 + b"\r\n")


def slow(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(60):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler: Any) -> None:
    time.sleep(2)


def redirect(to: str) -> Callable[[Site], str]:
    return lambda site: site.page("/go", b"", 302, Location=to)


def looped(site: Site) -> str:
    site.page("/two", b"", 302, Location="/go")
    return str(site.page("/go", b"", 302, Location="/two"))


def chained(site: Site) -> str:
    for n in range(30):
        site.page(f"/r{n}", b"", 302, Location=f"/r{n + 1}")
    return str(site.url + "/r0")


def answering(function: Callable[[Any], Any]) -> Callable[[Site], str]:
    def put(site: Site) -> str:
        site.pages["/odd"] = function
        return str(site.url + "/odd")

    return put


def body(data: bytes, status: int = 200, **headers: str) -> Callable[[Site], str]:
    return lambda site: site.page("/odd", data, status, **headers)


def disallowed(site: Site) -> str:
    site.page("/robots.txt", "User-agent: *\nDisallow: /odd\n")
    return str(site.page("/odd", page()))


WALL = "<html><body><h1>Please enable JavaScript and cookies to continue</h1></body></html>"
APP = "<html><head><script src=app.js></script></head><body><noscript>You need to enable JavaScript to run this app."
APP += "</noscript><div id=root></div></body></html>"
BOMB = gzip.compress(b"<p>" + b"a" * (60 << 20))

#: What is put on the site, and what the report says of it.
REFUSED: dict[str, tuple[Callable[[Site], str], str]] = {
    "redirects in a circle": (looped, "in a circle"),
    "redirects without an end": (chained, "more than 10 times"),
    "a redirect to the cloud's metadata": (redirect("http://169.254.169.254/latest/meta-data/"), "metadata"),
    "a redirect to a private address": (redirect("http://10.0.0.1/"), "private network"),
    "a redirect to an odd spelling of loopback": (redirect("http://2130706433/"), "unusual spelling"),
    "a redirect to a file": (redirect("file:///etc/passwd"), "scheme 'file'"),
    "a redirect to gopher": (redirect("gopher://127.0.0.1/"), "scheme 'gopher'"),
    "a body that drips": (answering(slow), "longer than 1 s"),
    "silence": (answering(silent), "longer than 1 s"),
    "a body without an end": (answering(endless), "larger than 1048576 bytes"),
    "a page of 50 MB": (body(b"<p>" + b"word " * (10 << 20)), "at most 1048576 are fetched"),
    "a gzip bomb": (body(BOMB, Content_Encoding="gzip"), "the body"),
    "a zip bomb in a zip": (body(gzip.compress(BOMB), Content_Encoding="gzip, gzip"), "more than once"),
    "an unknown coding": (body(b"x", Content_Encoding="compress"), "unknown encoding"),
    "a body that is cut short": (body(gzip.compress(page())[:-20], Content_Encoding="gzip"), "cut short"),
    "nonsense in place of HTTP": (answering(lambda h: h.wfile.write(b"\0\xff nonsense\r\n\r\n")), "connection failed"),
    "hundreds of headers": (answering(lambda _: (200, {f"X-{n}": "y" for n in range(300)}, b"")), "256 headers"),
    "a line of a megabyte": (answering(lambda _: (200, {"X-A": "y" * 2**20}, b"")), "connection failed"),
    "robots.txt forbids it": (disallowed, "robots.txt disallows"),
    "it is gone": (body(page(), 410), "answered 410"),
    "come back in an hour": (body(b"", 429, Retry_After="3600"), "asked to be left alone"),
    "a program": (body(b"MZ\x90\0" + bytes(2000)), "a program"),
    "a program that says that it is text": (body(b"\x7fELF" + bytes(2000), Content_Type="text/plain"), "a program"),
    "a picture": (body(b"\x89PNG\r\n", Content_Type="image/png"), "image/png"),
    "a book": (body(b"%PDF-1.7", Content_Type="application/pdf"), "application/pdf"),
    "zeros": (body(b"<html>" + b"\0" * 5000), "binary"),
    "nothing": (body(b""), "is empty"),
    "a wall": (body(WALL.encode()), "wall"),
    "a page made by its scripts": (body(APP.encode()), "no main text"),
    "UTF-7": (body(b"+ADw-script+AD4-" * 9, Content_Type="text/html; charset=utf-7"), "encoding that is not read"),
    "Latin letters that say UTF-8": (
        body(b"<p>" + "\u00e4\u00f6\u00fc".encode("cp1252") * 99, Content_Type="text/html; charset=utf-8"),
        "cannot be decoded",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_right_reason(site: Site, crawl: Any, name: str) -> None:
    put, said = REFUSED[name]
    site.page("/good", page())
    odd = put(site)
    found = crawl((site.url + "/good", odd), timeout_s=1.0, max_bytes=1 << 20, limit=5)
    assert [row["url"] for row in found.rows] == [site.url + "/good"]
    assert said in found.reasons[odd], found.reasons


READ: dict[str, tuple[bytes, dict[str, str]]] = {
    "a byte order mark": (b"\xef\xbb\xbf" + page(), {}),
    "UTF-16": (page().decode().encode("utf-16"), {}),
    "a charset nobody knows": (page(), {"Content_Type": "text/html; charset=klingon"}),
    "a wrong charset and a mark": (b"\xef\xbb\xbf" + page(), {"Content_Type": "text/html; charset=koi8-r"}),
    "no content type": (page(), {"Content_Type": ""}),
    "tags that are never closed": (b"<html><body><b><i><p>" + STORY.encode() * 3, {}),
    "nested deeper than parsers go": (b"<html><body>" + b"<div>" * 3000 + page(), {}),
    "an attribute of half a megabyte": (b'<div data-x="' + b"y" * 500_000 + b'">' + page() + b"</div>", {}),
    "a comment that is never closed": (page() + b"<!-- " + b"z " * 1000, {}),
    "entities of HTML's own and a doctype": (
        b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://169.254.169.254/x.dtd">'
        + page()
        + b"&nbsp;&copy;",
        {},
    ),
    "XML that declares entities": (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
        + page(STORY * 3 + "&b;"),
        {},
    ),
    "a base that leads away": (
        page(head='<base href="http://10.0.0.1/"><link rel="canonical" href="//evil.example">'),
        {},
    ),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("extract", ["fast", "precise"])
def test_read_all_the_same(site: Site, crawl: Any, name: str, extract: str) -> None:
    data, headers = READ[name]
    url = site.page("/odd", data, **headers)
    found = crawl(url, depth=1, extract=extract)
    (row,) = found.rows
    assert STORY.strip() in row["text"], found.reasons
    assert row["url"] == url
    assert "root:" not in row["text"]


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
LAUGHS = (
    f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "ha">{LAUGHS}]><rss><channel><title>&l9;</title></channel></rss>'
)
SPY = '<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY e SYSTEM "file:///etc/passwd">]><rss><channel><title>&e;</title></channel></rss>'
MAP = '<?xml version="1.0"?><{0} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{1}</{0}>'


@pytest.mark.parametrize("parameter", ["feed", "sitemap"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (LAUGHS.encode(), "entities"),
        (SPY.encode(), "entities"),
        (LAUGHS.encode("utf-16"), "entities"),
        (b"\0\1\2 nothing of the sort", "is no"),
        (b"", "is empty"),
        (b"{" + b"[" * 100_000, "is no"),
        (b"<a>" * 20_000, "is "),
        (b"<html><body>no feed</body></html>", "is "),
    ],
    ids=["billion laughs", "external entity", "laughs in UTF-16", "noise", "nothing", "brackets", "deep", "a page"],
)
def test_xml_that_means_harm_costs_itself(site: Site, crawl: Any, parameter: str, data: bytes, said: str) -> None:
    site.page("/good", page())
    odd = site.page("/odd.xml", data, Content_Type="application/xml")
    found = crawl(site.url + "/good", **{parameter: odd})
    assert [row["url"] for row in found.rows] == [site.url + "/good"]
    assert said in found.reasons[odd], found.reasons


def test_a_feed_that_breaks_off_gives_what_it_had(site: Site, crawl: Any) -> None:
    item = f"<item><title>One</title><link>one</link><description>{STORY * 9}</description></item>"
    odd = site.page("/feeds/rss", f"<rss version='2.0'><channel><title>F</title>{item}<item><title>Tw")
    found = crawl(feed=odd)
    assert found.rows[0]["title"] == "One"
    assert found.rows[0]["url"] == site.url + "/feeds/one"
    assert "malformed" in found.reasons[odd]


def test_sitemaps_that_hold_each_other_and_too_many(site: Site, crawl: Any) -> None:
    maps = "".join(f"<sitemap><loc>{site.url}/{name}.xml</loc></sitemap>" for name in ("a", "b"))
    for name in ("a", "b"):
        site.page(f"/{name}.xml", MAP.format("sitemapindex", maps))
    assert crawl(sitemap=site.url + "/a.xml").rows == []
    assert site.counts() == {"/a.xml": 1, "/b.xml": 1}
    deep = "".join(f"<url><loc>{site.url}/{n}</loc></url>" for n in range(50_100))
    odd = site.page("/huge.xml", gzip.compress(MAP.format("urlset", deep).encode()))
    site.page("/0", page())
    found = crawl(sitemap=odd, max_pages=3)
    assert len(found.rows) == 1
    assert "more than 50,000 addresses" in found.reasons[odd]
    odd = site.page("/bomb.xml", gzip.compress(b"<urlset>" + b" " * (60 << 20)))
    assert "more than 50 MiB" in crawl(sitemap=odd).reasons[odd]
    for n in range(9):
        site.page(f"/l{n}", MAP.format("sitemapindex", f"<sitemap><loc>{site.url}/l{n + 1}</loc></sitemap>"))
    assert "levels deep" in crawl(sitemap=site.url + "/l0").said()


def test_a_sitemap_that_names_the_intranet_is_not_followed_there(site: Site, crawl: Any) -> None:
    inside = ["http://10.0.0.1/", "http://169.254.169.254/latest", "file:///etc/passwd", "javascript:alert(1)"]
    entries = "".join(f"<url><loc>{url}</loc></url>" for url in inside)
    odd = site.page("/map.xml", MAP.format("urlset", entries))
    found = crawl(sitemap=odd, scope=("*",))
    assert not found.rows
    assert "private network" in found.reasons["http://10.0.0.1/"]
    assert "metadata" in found.reasons["http://169.254.169.254/latest"]
    assert "passwd" not in found.said()


def test_links_that_mean_harm_are_not_followed(site: Site, crawl: Any) -> None:
    links = [
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://user:secret@127.0.0.1/",
        "file:///etc/passwd",
        "//",
        "http://",
        "http://[x",
    ]
    links += ["javascript:x", "data:text/html,x", "\\\\evil\\x", "http://127.0.0.1:22/", "ht!tp://x", "?" + "x" * 5000]
    anchors = "".join(f'<a href="{link}">x</a>' for link in links)
    url = site.page("/", page() + anchors.encode())
    found = crawl(url, depth=2, scope=("*",))
    assert [row["url"] for row in found.rows] == [url]
    assert "secret" not in found.said().replace("user name or password", "")
    assert set(site.counts()) == {"/"}


def test_a_rebinding_name_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.kit.errors import RefusedError
    from lamina.kit.fetch import Fetcher

    answers = iter([["127.0.0.1"], ["10.0.0.9"]])
    site.page("/x", page(), Connection="close")
    port = site.url.rpartition(":")[2]
    site.page("/robots.txt", "", Connection="close")
    with (
        Fetcher(user_agent="x", delay_s=0.0, allow_private=("127.0.0.1",), resolve=lambda *_: next(answers)) as fetcher,
        pytest.raises(RefusedError, match="not public"),
    ):
        fetcher.get(f"http://rebind.test:{port}/x")
    assert site.counts() == {}
