"""Over sixty hostile inputs in one corpus: each has its one right outcome, and nothing beside it is harmed.

All lie in the sources of one stack file, which is collected and built as a user's is: a file that stops its source, or
hangs, fails everything here. More of each kind stand in ``sources/test_hostile*.py`` and ``web/test_hostile_web.py``.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.kit.config import resolved
from lamina.kit.progress import open_progress
from lamina.recipes.collect import collect
from lamina.recipes.stack import open_stack

sys.path.insert(0, str(Path(__file__).parent / "social"))

from server_base import Clock
from server_bluesky import BlueskyServer
from server_hackernews import HackerNewsServer
from server_mastodon import MastodonServer
from server_reddit import RedditServer

HERE = Path(__file__).parent


def _module(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


hostile = _module("hostile_inputs", HERE / "hostile_inputs.py")
Site = _module("hostile_sites", HERE / "web" / "conftest.py").Site
Case, STORY = hostile.Case, hostile.STORY
FOLDERS = {
    "files": hostile.FILES,
    "books": hostile.BOOKS,
    "mail": hostile.MAIL,
    "web": hostile.SAVED,
    "social": hostile.EXPORTS,
}
GOOD = {
    "files": ("neighbour.txt", "Neighbour."),
    "books": ("neighbour.txt", "Neighbour."),
    "mail": ("neighbour.eml", "From: a@b.example\nSubject: S\nMessage-ID: <n@x>\n\nNeighbour."),
    "web": ("neighbour.html", hostile.page("Neighbour. " + STORY * 3)),
    "social": ("neighbour.json", json.dumps([{"id": "9", "author": "bob", "text": "Neighbour."}])),
}
STACK = """
name = "hostile"
[[data.sources]]
use = "files"
from = "files"
memory_mb = 512
seconds = 20.0
[[data.sources]]
use = "books"
from = "books"
memory_mb = 512
seconds = 20.0
[[data.sources]]
use = "mail"
from = "mail"
[[data.sources]]
use = "web"
from = "web"
extract = "fast"
[[data.sources]]
use = "social"
from = "social"
[data]
steps = []
"""


@dataclass(frozen=True)
class Visit:
    """A page (or feed, or sitemap) of the site: ``put`` makes the answer, ``kind`` the parameter that names it."""

    name: str
    put: Callable[[Any, str], None]
    keeps: int = 0
    says: str = ""
    kind: str = "urls"
    host: str = "site"


def body(data: bytes | str, status: int = 200, **headers: str) -> Callable[[Any, str], None]:
    return lambda site, path: site.page(path, data, status, **headers)


def raw(*pieces: bytes, pause_s: float = 0.0) -> Callable[[Any, str], None]:
    """Bytes instead of an answer."""

    def answer(handler: Any) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause_s)

    return lambda site, path: site.pages.__setitem__(path, answer)


def to(target: str) -> Callable[[Any, str], None]:
    return body(b"", 302, Location=target)


def with_robots(status: int) -> Callable[[Any, str], None]:
    def put(site: Any, path: str) -> None:
        site.page("/robots.txt", b"", status)
        site.page(path, hostile.page())

    return put


def maps(*places: str) -> Callable[[Any, str], None]:
    def put(site: Any, path: str) -> None:
        inner = "".join(f"<sitemap><loc>{site.url}{place}</loc></sitemap>" for place in places)
        site.page(path, f'<?xml version="1.0"?><sitemapindex>{inner}</sitemapindex>')

    return put


def headers(count: int) -> Callable[[Any, str], None]:
    told = {f"X-{n}": "y" for n in range(count)}
    return lambda site, path: site.pages.__setitem__(path, lambda _: (200, told, b""))


def feed(head: str, link: str, end: str) -> Callable[[Any, str], None]:
    item = f"<item><title>T</title><link>{link}</link><description>{STORY * 9}</description></item>"
    return body(f"<rss version='2.0'><channel>{head}{item}{end}")


MEBIBYTE = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
VISITS = [
    Visit("round", to("/round"), 0, "redirects in a circle"),
    Visit("metadata", to("http://169.254.169.254/latest/meta-data/"), 0, "metadata"),
    Visit("intranet", to("http://10.0.0.1/"), 0, "private network"),
    Visit("odd-loopback", to("http://2130706433/"), 0, "unusual spelling"),
    Visit("file", to("file:///etc/passwd"), 0, "scheme 'file'"),
    Visit("short", raw(HTTP + b"Content-Length: 90000\r\n\r\n" + hostile.page().encode()), 0, "connection failed"),
    Visit("drip", raw(HTTP + b"Content-Length: 999\r\n\r\n", *[b"x"] * 40, pause_s=0.05), 0, "longer than 1 s"),
    Visit("endless", raw(HTTP + b"Transfer-Encoding: chunked\r\n\r\n", *[MEBIBYTE] * 9), 0, "larger than"),
    Visit("gzip-bomb", body(gzip.compress(bytes(60 << 20), 1), Content_Encoding="gzip"), 0, "the body"),
    Visit("twice-packed", body(gzip.compress(gzip.compress(b"x")), Content_Encoding="gzip, gzip"), 0, "more than once"),
    Visit("headers", headers(300), 0, "256 headers"),
    Visit("noise", raw(b"\0\xff nonsense\r\n\r\n"), 0, "connection failed"),
    Visit("program", body(b"MZ\x90\0" + bytes(900), Content_Type="text/html"), 0, "a program"),
    Visit("cp1252", body(b"<p>\xe4\xf6\xfc" * 99, Content_Type="text/html; charset=utf-8"), 0, "cannot be decoded"),
    Visit("deep", body("<div>" * 3_000 + hostile.page()), 1),
    Visit("robots-500", with_robots(500), 0, "robots.txt", host="robots"),
    Visit("come-back", body(b"", 429, Retry_After="3600"), 0, "asked to be left alone", host="busy"),
    Visit("maps.xml", maps("/maps.xml", "/more.xml"), 0, kind="sitemap"),
    Visit("laughs.xml", body(hostile.LAUGHS + "<urlset>&l9;</urlset>"), 0, "entities", "sitemap"),
    Visit("map-bomb.xml", body(gzip.compress(b"<urlset>" + b" " * (60 << 20), 1)), 0, "more than 50 MiB", "sitemap"),
    Visit("entities.rss", feed("<title>A&nbsp;&copy;</title>", "/entry", "</channel></rss>"), 1, kind="feed"),
    Visit("broken.rss", feed("", "/other", "<item><title>Tw"), 1, "malformed", "feed"),
    Visit("spy.rss", body(f"{hostile.SPY}<rss><channel><title>&e;</title></channel></rss>"), 0, "entities", "feed"),
]  # fmt: skip


def test_there_are_sixty_and_no_two_are_the_same() -> None:
    names = [f"{kind} {case.name}" for kind, cases in FOLDERS.items() for case in cases]
    names += [visit.name for visit in VISITS] + list(LIVE)
    assert len(set(names)) == len(names) >= 60


def mastodon(server: Any) -> dict[str, Any]:
    server.status(10, "team", "<p>Good.</p>")
    server.status(20, "team", "<p>Gone.</p>", 5)
    server.status(30, "team", "<p>Good too.</p>")["created_at"] = None
    server.faults = [("lookup", "429"), ("context", "cut")]
    return {"mastodon": "@team@example.social"}


def bluesky(server: Any) -> dict[str, Any]:
    server.post("a", "team.bsky.social", "x")["record"] = {}
    server.post("b", "team.bsky.social", "x")["record"] = None
    server.post("c", "team.bsky.social", "Good.")["record"].pop("createdAt")
    server.post("d", "ada.example.org", "Answer.", server.uri("c", "team.bsky.social"))
    server.faults = [("getAuthorFeed", "other"), ("PostThread", "short")]
    return {"bluesky": "team.bsky.social"}


def reddit(server: Any) -> dict[str, Any]:
    server.submission("a", "team", "Good.")
    server.comment("b", "[deleted]", "[removed]", "t3_a")
    server.submission("c", "team", "Good too.", None)
    server.faults = [("/new", "html"), ("/comments/", "drop")]
    return {"reddit": "r/lamps", "terms_accepted": True}


def hackernews(server: Any) -> dict[str, Any]:
    server.item(1, "story", "pg", title="Good.", kids=[1, 2, 2, "3", None, 77])
    server.items[2] = {"id": 2, "type": "comment"}
    server.items[5] = {"id": 5}
    server.items[6] = None
    server.top = [6, 5, 1, 99]
    server.faults = [("topstories", "500"), ("/item/", "drop")]
    return {"hackernews": "top"}


#: The network's name: (its server, what is wrong there, the documents that come).
LIVE: dict[str, tuple[type[Any], Callable[[Any], dict[str, Any]], list[str]]] = {
    "mastodon": (MastodonServer, mastodon, ["Good too.", "Gone.", "Good."]),
    "bluesky": (BlueskyServer, bluesky, ["A: Good.\nB: Answer."]),
    "reddit": (RedditServer, reddit, ["Good too.", "Good."]),
    "hackernews": (HackerNewsServer, hackernews, ["Good."]),
}
CREDENTIALS = {
    "LAMINA_REDDIT_CLIENT_ID": "client",
    "LAMINA_REDDIT_CLIENT_SECRET": "secret",
    "LAMINA_REDDIT_USER": "tester",
}


@dataclass
class Outcome:
    """What became of everything: the documents, and name to reason for each source."""

    documents: list[dict[str, Any]]
    unread: list[dict[str, str]] = field(default_factory=list)
    live: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def of(self, source: str, name: str) -> tuple[list[dict[str, Any]], list[str]]:
        """The documents and the reasons of one input of a source."""
        rows = [d for d in self.documents if d["source"] == source and name in f"{d['url']} {d['meta']}"]
        return rows, [u["reason"] for u in self.unread if u["source"] == source and name in u["name"]]


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Any]]:
    made = {"site": Site(), "robots": Site("127.0.0.2"), "busy": Site("127.0.0.3")}
    for visit in VISITS:
        visit.put(made[visit.host], f"/{visit.name}")
    made["site"].page("/neighbour", hostile.page("Neighbour. " + STORY * 3))
    yield made
    for site in made.values():
        site.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, tuple[Any, dict[str, Any]]]]:
    made = {}
    for name, (kind, prepare, _) in LIVE.items():
        server = kind(Clock())
        made[name] = (server, prepare(server))
    yield made
    for server, _ in made.values():
        server.close()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, sites: Any, servers: Any) -> Iterator[Outcome]:
    began = time.monotonic()
    folder = tmp_path_factory.mktemp("hostile")
    for kind, cases in FOLDERS.items():
        for case in cases:
            case.write(folder / kind)
        name, text = GOOD[kind]
        (folder / kind / name).write_text(text)
    (folder / "lamina.toml").write_text(STACK)
    stack = open_stack(folder / "lamina.toml")
    sources = [_input(one) for one in collect(stack, open_progress("quiet"))]
    polite = {"delay_s": 0.0, "allow_private": ("127.0.0.0/8",)}
    named = {
        kind: tuple(f"{sites[v.host].url}/{v.name}" for v in VISITS if v.kind == kind)
        for kind in ("urls", "sitemap", "feed")
    }
    crawl = polite | named | {"urls": (f"{sites['site'].url}/neighbour", *named["urls"])}
    crawl |= {"timeout_s": 1.0, "max_bytes": 1 << 20, "extract": "fast"}
    sources.append(SourceInput(name="site", use="web", parameters=crawl))
    for name, (server, place) in servers.items():
        sources.append(SourceInput(name=name, use="social", parameters=polite | place | {"base_url": server.url}))
    out = folder / "corpus"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setattr("lamina.data.social.paging._BACKOFF_S", 0.01)
        patch.setattr("lamina.kit.fetch._BACKOFF_S", 0.01)
        build_corpus(
            out, folder / "work", sources=sources, steps=[], held_out=0.0, progress=open_progress("quiet"), workers=2
        )
    documents = pl.concat([pl.read_parquet(file) for file in (out / "data").glob("*.parquet")]).to_dicts()
    unread = [json.loads(line) for line in (out / "unread.jsonl").read_text().splitlines()]
    yield Outcome(documents, unread, servers, time.monotonic() - began)
    for place in folder.rglob("secret*"):
        place.chmod(0o600)


def _input(found: Any) -> SourceInput:
    files = tuple(SourceFile(name=name, path=path) for name, path in found.files)
    return SourceInput(
        name=found.use, use=found.use, parameters=resolved(found.parameters), files=files, origin=found.origin
    )


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, cases in FOLDERS.items() for case in cases],
    ids=lambda value: getattr(value, "name", value).encode("ascii", "replace").decode(),
)
def test_a_file(outcome: Outcome, kind: str, case: Any) -> None:
    name = case.name.encode("utf-8", "replace").decode().replace("caf?", "caf\ufffd")
    rows, reasons = outcome.of(kind, name)
    assert len(rows) == len(case.keeps), reasons
    assert [r["text"].strip()[: len(k)] for r, k in zip(rows, case.keeps, strict=True)] == list(case.keeps)
    if case.says:
        assert any(case.says in reason for reason in reasons), reasons
    else:
        assert not reasons


@pytest.mark.parametrize("visit", VISITS, ids=lambda visit: visit.name)
def test_a_page(outcome: Outcome, visit: Visit) -> None:
    rows, reasons = outcome.of("site", f"/{visit.name}")
    if visit.kind == "feed" and visit.keeps:  # a document is called as its entry
        place = "/entry" if visit.says == "" else "/other"
        rows = [row for row in outcome.documents if row["source"] == "site" and row["url"].endswith(place)]
    assert len(rows) >= visit.keeps, reasons
    assert visit.keeps or not rows
    assert any(visit.says in reason for reason in reasons) if visit.says else not reasons, reasons


@pytest.mark.parametrize("network", LIVE)
def test_an_interface(outcome: Outcome, network: str) -> None:
    server, _ = outcome.live[network]
    assert [row["text"] for row in outcome.documents if row["source"] == network] == LIVE[network][2]
    assert not server.faults, "each fault was met"


@pytest.mark.parametrize("source", [*FOLDERS, "site"])
def test_what_lies_beside_is_not_harmed(outcome: Outcome, source: str) -> None:
    (row,), reasons = outcome.of(source, "neighbour")
    assert "Neighbour." in row["text"]
    assert not reasons


def test_nothing_leaks_and_nothing_takes_long(outcome: Outcome) -> None:
    told = json.dumps([outcome.documents, outcome.unread], default=str)
    assert "root:" not in told
    assert outcome.seconds < 240, "some twenty seconds on an idle machine of two cores"
