"""The fetcher against a server that means harm, on this machine; names are resolved by a table in the test."""

from __future__ import annotations

import gzip
import os
import socketserver
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lamina.kit.errors import FetchError, RefusedError
from lamina.kit.fetch import Fetched, Fetcher

Reply = tuple[int, dict[str, str], bytes]


class Site:
    """A server whose pages are functions of the request; ``names`` resolves hosts."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[Any], Reply | None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.looked_up: list[str] = []
        self.names = {"site.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]}
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def do_GET(self) -> None:
                site.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                page = site.pages.get(self.path, lambda _: (404, {}, b"none"))
                reply = page(self)
                if reply is None:
                    self.close_connection = True
                    return
                status, headers, body = reply
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...

        self.server: socketserver.BaseServer = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def page(self, path: str, body: bytes = b"ahoy", status: int = 200, **headers: str) -> str:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self.pages[path] = lambda _: (status, named, body)
        return self.url(path)

    def url(self, path: str, host: str = "site.test") -> str:
        return f"http://{host}:{self.port}{path}"

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        if host not in self.names:
            raise OSError("Name or service not known")
        return self.names[host]

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked if path != "/robots.txt"]


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept: list[float]
        self.slept.append(round(seconds, 3))
        self.now += seconds


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def moment() -> Time:
    return Time()


@pytest.fixture
def fetcher(site: Site, moment: Time) -> Iterator[Fetcher]:
    with make(site, moment) as made:
        yield made


def make(site: Site, moment: Time, **options: Any) -> Fetcher:
    standard: dict[str, Any] = {"user_agent": "pequod-bot/1.0", "allow_private": ("127.0.0.1",), "timeout_s": 5.0}
    return Fetcher(**{**standard, "resolve": site.resolve, "clock": moment.clock, "sleep": moment.sleep, **options})


def test_a_page(site: Site, fetcher: Fetcher) -> None:
    before = datetime.now(UTC)
    page = fetcher.get(site.page("/a?b=1", b"caf\xc3\xa9", Content_Type="text/plain") + "#part")
    assert (page.url, page.status, page.body) == (site.url("/a?b=1"), 200, b"caf\xc3\xa9")
    assert page.headers["content-type"] == "text/plain"
    assert before <= page.fetched <= datetime.now(UTC)
    assert page.robots is None
    sent = site.asked[-1][1]
    assert sent["host"] == f"site.test:{site.port}", "the name stays, though the socket goes to an address"
    assert sent["user-agent"] == "pequod-bot/1.0"


@pytest.mark.parametrize("status", [400, 403, 404, 410, 500, 204])
def test_errors_are_errors(site: Site, fetcher: Fetcher, status: int) -> None:
    url = site.page("/x", b"", status=status)
    if status == 204:
        assert fetcher.get(url).body == b""
        return
    with pytest.raises(FetchError, match=f"answered {status}") as caught:
        fetcher.get(url)
    assert caught.value.where == url


# -- where it may go ---------------------------------------------------------------------------------------------------


def test_loopback_is_refused_unless_it_is_allowed(site: Site, moment: Time) -> None:
    site.page("/x")
    with make(site, moment, allow_private=()) as strict:
        for host in ("site.test", "127.0.0.1"):
            with pytest.raises(RefusedError, match="loopback"):
                strict.get(site.url("/x", host))
    assert not site.asked


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_a_name_that_leads_inside_is_refused(site: Site, fetcher: Fetcher, address: str) -> None:
    site.names["inside.test"] = [address]
    with pytest.raises(RefusedError, match=r"inside\.test .* is not public"):
        fetcher.get("http://inside.test/")
    site.names["mixed.test"] = ["127.0.0.1", address]
    with pytest.raises(RefusedError, match=r"mixed\.test .* is not public"):
        fetcher.get(site.url("/x", "mixed.test"))


def test_a_name_is_looked_up_once_and_the_checked_address_is_used(site: Site, moment: Time) -> None:
    """DNS rebinding: the second answer would lead elsewhere, but nobody asks for it."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    site.page("/robots.txt", b"")
    with make(site, moment, resolve=resolve) as fetcher:
        assert fetcher.get(site.page("/x")).body == b"ahoy"
        assert asked == ["site.test"], "robots.txt and the page went over the one checked connection"
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    site.page("/robots.txt", b"", 404, Connection="close")
    with make(site, moment, resolve=resolve) as fetcher, pytest.raises(RefusedError, match=r"10\.0\.0\.1"):
        fetcher.get(site.url("/x"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        ("http://[::ffff:127.0.0.1]:{port}/x", "IPv4-mapped"),
        ("http://2130706433:{port}/x", "unusual spelling"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://site.test/", "scheme 'gopher'"),
        ("//ann:secret@site.test:{port}/x", "user name"),
        ("http://inside.test/", "private"),
    ],
)
def test_every_hop_is_checked(site: Site, fetcher: Fetcher, target: str, said: str) -> None:
    site.names["inside.test"] = ["10.0.0.1"]
    site.page("/x")
    url = site.page("/go", b"", 302, Location=target.replace("{port}", str(site.port)))
    with pytest.raises(RefusedError, match=said) as caught:
        fetcher.get(url)
    assert "secret" not in str(caught.value)
    assert "/x" not in site.paths()


def test_redirects_are_followed_and_named(site: Site, fetcher: Fetcher) -> None:
    site.page("/end/here", b"end")
    site.page("/two", b"", 308, Location="end/here")
    page = fetcher.get(site.page("/one", b"", 301, Location=site.url("/two", "other.test")))
    assert (page.url, page.body) == (site.url("/end/here", "other.test"), b"end")


def test_circles_and_long_chains_end(site: Site, fetcher: Fetcher) -> None:
    site.page("/b", b"", 302, Location="/a")
    with pytest.raises(FetchError, match=r"in a circle: .*/a -> .*/b -> .*/a"):
        fetcher.get(site.page("/a", b"", 302, Location="/b"))
    for n in range(30):
        site.page(f"/{n}", b"", 302, Location=f"/{n + 1}")
    with pytest.raises(FetchError, match="more than 10 times"):
        fetcher.get(site.url("/0"))
    assert "/12" not in site.paths()
    with pytest.raises(FetchError, match="answered 302"):
        fetcher.get(site.page("/nowhere", b"", 302))


def test_an_unknown_host_and_a_closed_port(site: Site, fetcher: Fetcher) -> None:
    with pytest.raises(RefusedError, match=r"cannot be read.*cannot be found"):
        fetcher.get("http://nowhere.test/")
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises(RefusedError, match="connection failed"):
        fetcher.get(site.url("/x"))


# -- how much and how long ---------------------------------------------------------------------------------------------


def test_large_bodies_are_cut_off(site: Site, moment: Time) -> None:
    sent = []

    def endless(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(50):
            handler.wfile.write(b"100000\r\n" + bytes(2**20) + b"\r\n")
            sent.append(1)

    site.pages["/endless"] = endless
    with make(site, moment, max_bytes=2**20) as fetcher:
        with pytest.raises(FetchError, match="larger than 1048576 bytes"):
            fetcher.get(site.url("/endless"))
        with pytest.raises(FetchError, match="has 52428800 bytes"):
            fetcher.get(site.page("/stated", bytes(50 * 2**20)))
        assert len(fetcher.get(site.page("/fits", bytes(2**20))).body) == 2**20
    assert len(sent) < 45


def slow(head: bytes, drip: bytes) -> Callable[[Any], None]:
    def page(handler: Any) -> None:
        handler.wfile.write(head)
        for _ in range(100):
            handler.wfile.write(drip)
            handler.wfile.flush()
            time.sleep(0.05)

    return page


@pytest.mark.parametrize(
    ("head", "drip"),
    [(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"), (b"HTTP/1.1 200 OK\r\nX-A: ", b"x"), (b"", b"")],
    ids=["body", "header", "silence"],
)
def test_a_slow_drip_does_not_hold_the_fetcher(site: Site, moment: Time, head: bytes, drip: bytes) -> None:
    site.pages["/slow"] = slow(head, drip)
    with make(site, moment, timeout_s=0.5) as fetcher:
        fetcher.get(site.page("/quick"))
        start = time.monotonic()
        with pytest.raises(FetchError, match=r"longer than 0\.5 s"):
            fetcher.get(site.url("/slow"))
        assert time.monotonic() - start < 2.0
        assert fetcher.get(site.url("/quick")).body == b"ahoy"


def test_headers_are_bounded(site: Site, fetcher: Fetcher) -> None:
    site.pages["/many"] = lambda _: (200, {f"X-{n}": "y" for n in range(500)}, b"")
    with pytest.raises(FetchError, match="more than 256 headers"):
        fetcher.get(site.url("/many"))
    site.page("/long", b"", X_A="y" * 2**20)
    with pytest.raises(FetchError, match="connection failed"):
        fetcher.get(site.url("/long"))


def test_nonsense_and_a_body_cut_short(site: Site, fetcher: Fetcher) -> None:
    site.pages["/nonsense"] = lambda handler: handler.wfile.write(b"\x00\xff not http at all\r\n\r\n")
    site.page("/short", b"x" * 10, Content_Length="100", Connection="close")
    for path in ("/nonsense", "/short"):
        with pytest.raises(FetchError, match="connection failed"):
            fetcher.get(site.url(path))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def brotlied(data: bytes) -> bytes:
    return bytes(pytest.importorskip("brotli").compress(data, quality=4))


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "two members": ("x-gzip", lambda d: gzip.compress(d[:100]) + gzip.compress(d[100:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "br": ("br", brotlied),
}


@pytest.mark.parametrize("name", CODINGS)
def test_encodings_and_their_bombs(site: Site, moment: Time, name: str) -> None:
    encoding, pack = CODINGS[name]
    text = os.urandom(30_000) + b"whale " * 50_000
    with make(site, moment, max_bytes=64 * 2**20) as fetcher:
        assert fetcher.get(site.page("/x", pack(text), Content_Encoding=encoding)).body == text
        with pytest.raises(FetchError, match="200 times"):
            fetcher.get(site.page("/bomb", pack(bytes(48 * 2**20)), Content_Encoding=encoding))
        with pytest.raises(FetchError, match=r"damaged or cut short|connection failed"):
            fetcher.get(site.page("/cut", pack(text)[:-9], Content_Encoding=encoding))
        assert fetcher.get(site.page("/empty", b"", Content_Encoding=encoding)).body == b""


def test_unknown_and_nested_encodings_are_refused(site: Site, fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match="unknown encoding 'compress'"):
        fetcher.get(site.page("/a", b"x", Content_Encoding="compress"))
    with pytest.raises(FetchError, match="more than once"):
        fetcher.get(site.page("/b", b"x", Content_Encoding="gzip, gzip"))


# -- politeness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "allowed"), [(200, True), (401, True), (403, True), (404, True), (500, False), (503, False)]
)
def test_what_the_state_of_robots_txt_means(site: Site, fetcher: Fetcher, status: int, allowed: bool) -> None:
    site.page("/robots.txt", b"User-agent: *\nDisallow: /private\n", status)
    url = site.page("/x")
    if allowed:
        assert fetcher.get(url).body == b"ahoy"
    else:
        with pytest.raises(RefusedError, match=f"robots.txt answered {status}"):
            fetcher.get(url)
        assert not site.paths()


def test_robots_rules_hold_for_our_name_and_for_redirects(site: Site, fetcher: Fetcher) -> None:
    site.page(
        "/robots.txt", b"User-agent: *\nAllow: /\n\nUser-agent: pequod-bot\nDisallow: /private\nAllow: /private/but\n"
    )
    site.page("/private/x")
    with pytest.raises(RefusedError, match=r"robots\.txt disallows it"):
        fetcher.get(site.url("/private/x"))
    assert fetcher.get(site.page("/private/but")).status == 200
    with pytest.raises(RefusedError, match="disallows"):
        fetcher.get(site.page("/go", b"", 302, Location="/private/x"))
    assert "/private/x" not in site.paths()


@pytest.mark.parametrize(
    ("page", "allowed"),
    [
        (lambda _: (200, {}, b"<html><body>not found</body></html>"), True),
        (lambda _: (200, {}, b"User-agent: *\nDisallow: /\n" + b"#" * 10_000_000), False),
        (lambda _: (200, {}, b"\xff\xfe\x00binary\nDisallow: /\n"), True),
        (lambda _: (302, {"Location": "/robots.txt"}, b""), False),
        (lambda _: (302, {"Location": "http://169.254.169.254/robots.txt"}, b""), False),
        (lambda _: (302, {"Location": "/moved.txt"}, b""), True),
        (lambda _: None, False),
    ],
    ids=["html", "10 MB", "binary", "circle", "inside", "moved", "no answer"],
)
def test_odd_robots_files(site: Site, fetcher: Fetcher, page: Callable[[Any], Reply | None], allowed: bool) -> None:
    site.pages["/robots.txt"] = page
    site.page("/moved.txt", b"User-agent: *\nDisallow: /private\n")
    url = site.page("/x")
    if allowed:
        assert fetcher.get(url).status == 200
    else:
        with pytest.raises(RefusedError):
            fetcher.get(url)


def test_robots_are_kept_for_a_day_and_no_longer(site: Site, fetcher: Fetcher, moment: Time) -> None:
    url = site.page("/x")
    for _ in range(3):
        fetcher.get(url)
    assert [p for p, _ in site.asked].count("/robots.txt") == 1
    moment.now += 24 * 3600
    fetcher.get(url)
    assert [p for p, _ in site.asked].count("/robots.txt") == 2


def test_one_host_is_asked_at_its_own_pace(site: Site, moment: Time) -> None:
    site.page("/x")
    with make(site, moment, delay_s=2.0) as fetcher:
        for _ in range(3):
            fetcher.get(site.url("/x"))
        assert moment.slept == [2.0, 2.0]
        fetcher.get(site.url("/x", "other.test"))
        assert moment.slept == [2.0, 2.0], "another host need not wait"
    site.page("/robots.txt", b"User-agent: *\nCrawl-delay: 7\n")
    with make(site, moment, delay_s=2.0) as fetcher:
        fetcher.get(site.url("/x"))
        fetcher.get(site.url("/x"))
    assert moment.slept[-1] == 7.0


@pytest.mark.parametrize("kind", ["number", "date"])
def test_retry_after_is_waited_for(site: Site, moment: Time, kind: str) -> None:
    asked = []

    def page(_: Any) -> Reply:
        asked.append(1)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        return (429, {"Retry-After": "20" if kind == "number" else date}, b"") if len(asked) < 3 else (200, {}, b"ahoy")

    site.pages["/x"] = page
    with make(site, moment, delay_s=0.0) as fetcher:
        assert fetcher.get(site.url("/x")).body == b"ahoy"
    assert len(moment.slept) == 2
    assert all(17 <= s <= 21 for s in moment.slept)


def test_a_host_that_wants_to_be_left_alone_is(site: Site, fetcher: Fetcher, moment: Time) -> None:
    site.page("/x", b"", 503, Retry_After="3600")
    site.page("/y")
    with pytest.raises(FetchError, match="asks to wait 3600 s"):
        fetcher.get(site.url("/x"))
    with pytest.raises(FetchError, match=r"left alone for another 3\d\d\d s"):
        fetcher.get(site.url("/y"))
    assert site.paths() == ["/x"]
    moment.now += 3601
    assert fetcher.get(site.url("/y")).status == 200


def test_a_server_that_stays_busy_is_given_up(site: Site, fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match="answered 503"):
        fetcher.get(site.page("/x", b"", 503))
    assert site.paths() == ["/x"] * 3


def test_what_a_site_says_of_its_use_is_told(site: Site, fetcher: Fetcher) -> None:
    site.page("/robots.txt", b"User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\n")
    page = fetcher.get(site.page("/x", X_Robots_Tag="noai", TDM_Reservation="1"))
    assert page.robots == "content-signal: search=yes, ai-train=no; x-robots-tag: noai; tdm-reservation: 1"


# -- frugality ---------------------------------------------------------------------------------------------------------


def conditional(handler: Any) -> Reply:
    if handler.headers.get("If-None-Match") == '"v1"':
        return 304, {}, b""
    return 200, {"ETag": '"v1"', "Last-Modified": "Mon, 01 Jun 2026 00:00:00 GMT", "X-Robots-Tag": "noai"}, b"ahoy"


def test_an_unchanged_page_is_not_sent_twice(site: Site, moment: Time, tmp_path: Path) -> None:
    site.pages["/x"] = conditional
    pages: list[Fetched] = []
    for _ in range(2):
        with make(site, moment, cache=tmp_path) as fetcher:
            pages.append(fetcher.get(site.url("/x")))
    assert [p.body for p in pages] == [b"ahoy", b"ahoy"]
    assert [p.unchanged for p in pages] == [False, True]
    assert pages[1].status == 200
    assert pages[1].robots == "x-robots-tag: noai"
    assert site.asked[-1][1]["if-modified-since"] == "Mon, 01 Jun 2026 00:00:00 GMT"


def test_a_damaged_cache_is_fetched_anew(site: Site, moment: Time, tmp_path: Path) -> None:
    site.pages["/x"] = conditional
    with make(site, moment, cache=tmp_path) as fetcher:
        fetcher.get(site.url("/x"))
        (file,) = (p for p in tmp_path.rglob("*") if p.is_file())
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        page = fetcher.get(site.url("/x"))
    assert (page.body, page.unchanged) == (b"ahoy", False)


def test_what_may_not_be_stored_is_not(site: Site, moment: Time, tmp_path: Path) -> None:
    with make(site, moment, cache=tmp_path) as fetcher:
        fetcher.get(site.page("/x", ETag='"a"', Cache_Control="no-store"))
        fetcher.get(site.page("/y"))
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_304_that_nobody_asked_for_is_an_error(site: Site, fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match="answered 304"):
        fetcher.get(site.page("/x", b"", 304))


def test_threads_share_a_fetcher(site: Site, moment: Time) -> None:
    for n in range(24):
        site.page(f"/{n}", str(n).encode() * 1000)
    bodies: dict[int, bytes] = {}
    with make(site, moment, delay_s=0.0) as fetcher:

        def work(start: int) -> None:
            for n in range(start, 24, 4):
                bodies[n] = fetcher.get(site.url(f"/{n}")).body

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bodies == {n: str(n).encode() * 1000 for n in range(24)}


# -- interfaces for programs -------------------------------------------------------------------------------------------


def test_own_headers_go_to_the_origin_alone(site: Site, fetcher: Fetcher) -> None:
    site.page("/here", b"", 302, Location=site.url("/there", "other.test"))
    site.page("/there", b"", 302, Location=site.url("/end"))
    site.page("/end", b"end")
    page = fetcher.get(site.url("/here"), headers={"Authorization": "Bearer secret", "user-agent": "app/2"})
    assert page.body == b"end"
    sent = {path: headers for path, headers in site.asked if path != "/robots.txt"}
    assert [sent[path].get("authorization") for path in ("/here", "/there", "/end")] == [
        *("Bearer secret", None, "Bearer secret"),
    ]
    assert [sent[path]["user-agent"] for path in ("/here", "/there")] == ["app/2", "pequod-bot/1.0"]
    assert all("authorization" not in headers for path, headers in site.asked if path == "/robots.txt")


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding"])
def test_headers_of_the_exchange_are_not_the_caller_s(site: Site, fetcher: Fetcher, name: str) -> None:
    with pytest.raises(RefusedError, match="the fetcher's own"):
        fetcher.get(site.page("/x"), headers={name: "x"})
    with pytest.raises(FetchError, match="connection failed"):
        fetcher.get(site.url("/x"), headers={"X-A": "y\r\nHost: other.test"})
    assert not site.paths()


def test_an_interface_is_asked_without_robots_txt_and_cache(site: Site, moment: Time, tmp_path: Path) -> None:
    site.page("/robots.txt", b"User-agent: *\nDisallow: /\n")
    url = site.page("/api", b"[]", ETag='"1"')
    with make(site, moment, cache=tmp_path) as fetcher:
        with pytest.raises(RefusedError, match="disallows"):
            fetcher.get(url)
        site.asked.clear()
        assert [fetcher.get(url, api=True).body for _ in range(2)] == [b"[]", b"[]"]
    assert [path for path, _ in site.asked] == ["/api", "/api"]
    assert "if-none-match" not in site.asked[-1][1]
    assert not list(tmp_path.rglob("*"))
    assert moment.slept == [1.0], "politeness holds for it too"


def test_a_status_that_is_an_answer(site: Site, fetcher: Fetcher) -> None:
    url = site.page("/gone", b'{"error": "deleted"}', 404)
    assert fetcher.get(url, api=True, ok=(404,)).body == b'{"error": "deleted"}'
    with pytest.raises(FetchError, match="answered 404"):
        fetcher.get(url, api=True, ok=(410,))
    busy = site.page("/busy", b"later", 429)
    assert fetcher.get(busy, ok=(429,)).status == 429


def test_post(site: Site, fetcher: Fetcher) -> None:
    site.pages["/token"] = lambda handler: (200, {}, handler.command.encode() + b" " + handler.body)
    told = fetcher.post(site.url("/token"), b"grant=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert told.body == b"POST grant=x"
    assert fetcher.post(site.url("/token"), b"").body == b"POST "
    assert [path for path, _ in site.asked] == ["/token", "/token"]
    with pytest.raises(FetchError, match="answered 307"):
        fetcher.post(site.page("/moved", b"", 307, Location=site.url("/token", "other.test")), b"secret")
    with pytest.raises(RefusedError, match="metadata"):
        fetcher.post("http://169.254.169.254/token", b"secret")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-RateLimit-Reset", lambda: (datetime.now(UTC) + timedelta(seconds=21)).isoformat().replace("+00:00", "Z")),
        ("x-ratelimit-reset", lambda: "20.0"),
        ("RateLimit-Reset", lambda: str(int(time.time()) + 21)),
        ("Retry-After", lambda: "20"),
    ],
    ids=["Mastodon", "Reddit", "Bluesky", "RFC 9110"],
)
def test_the_end_of_a_rate_limit_is_waited_for(
    site: Site, fetcher: Fetcher, moment: Time, name: str, value: Callable[[], str]
) -> None:
    answers = iter([(429, {name: value()}, b""), (200, {}, b"ahoy")])
    site.pages["/api"] = lambda _: next(answers)
    assert fetcher.get(site.url("/api"), api=True).body == b"ahoy"
    assert 19 <= moment.slept[0] <= 21


def test_patience_is_a_parameter(site: Site, moment: Time) -> None:
    answers = iter([(429, {"Retry-After": "250"}, b""), (200, {}, b"ahoy")])
    site.pages["/api"] = lambda _: next(answers)
    with make(site, moment, patience_s=300.0) as fetcher:
        assert fetcher.get(site.url("/api"), api=True).body == b"ahoy"
    assert moment.slept == [250.0]
