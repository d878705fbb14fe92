"""Crawls over sites on loopback: where they go, what they keep, and that a killed one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lamina.kit.errors import ConfigError

Crawl = Callable[..., Any]


def tree(site: Any) -> str:
    """A front page with two pages, of which one has a third below it."""
    site.article("/b", "/", "/a#part")
    site.article("/a", "/a/deep", "/b?utm_source=x")
    site.article("/a/deep", "/a/deep/er")
    site.article("/a/deep/er")
    return str(site.article("/", "/a", "/b", "mailto:me@example.org", "javascript:void(0)", "/paper.pdf"))


@pytest.mark.parametrize(
    ("depth", "expected"), [(0, "/"), (1, "/ /a /b"), (2, "/ /a /b /a/deep"), (9, "/ /a /b /a/deep /a/deep/er")]
)
def test_depth_is_breadth_first_and_nothing_is_asked_for_twice(
    site: Any, crawl: Crawl, depth: int, expected: str
) -> None:
    found = crawl(tree(site), depth=depth)
    assert found.titles() == [f"Page {path}" for path in expected.split()]
    assert set(site.counts().values()) == {1}
    assert not found.reasons
    assert [row["group_id"] for row in found.rows] == ["127.0.0.1"] * len(found.rows)


def test_scope_host_and_globs_and_exclude(site: Any, other: Any, crawl: Crawl) -> None:
    other.article("/x")
    site.article("/", "/docs/a", "/docs/b", "/blog/c", other.url + "/x")
    for path in ("/docs/a", "/docs/b", "/blog/c"):
        site.article(path)
    start = site.url + "/"
    assert len(crawl(start, depth=1).rows) == 4
    assert other.asked == []
    both = crawl(start, depth=1, scope=("http://127.*",), exclude=("*/blog/*", "*/docs/b"))
    assert sorted(both.titles()) == ["Page /", "Page /docs/a", "Page /x"]
    assert sorted(crawl(site.url + "/docs/a", depth=1, scope="prefix").titles()) == ["Page /docs/a"]
    site.article("/docs/a", "/docs/b", "/blog/c")
    assert sorted(crawl(site.url + "/docs/a", depth=1, scope="prefix").titles()) == ["Page /docs/a", "Page /docs/b"]


def test_max_pages_says_what_it_left(site: Any, crawl: Crawl) -> None:
    site.article("/", *(f"/{n}" for n in range(50)))
    for n in range(50):
        site.article(f"/{n}")
    found = crawl(site.url + "/", depth=1, max_pages=10)
    assert len(found.rows) == 10
    assert found.reasons == {"41 addresses": "were not asked for: 10 pages are the most"}


def test_nofollow_noindex_and_canonical(site: Any, crawl: Crawl) -> None:
    site.page(
        "/",
        f'<p>{"word " * 80}</p><a rel="nofollow" href="/n">n</a> <a href="/i">i</a> <a href="/f">f</a>'
        '<a href="/c?x=1">c</a>',
    )
    site.article("/n")
    site.article("/i", "/under", head='<meta name="robots" content="noindex">')
    site.article("/under")
    site.article("/f", "/never", head='<meta name="robots" content="nofollow">')
    site.article("/c?x=1", "/c?x=2", "/h", head='<link rel="canonical" href="/c">'.replace("/c", site.url + "/c"))
    site.article("/c?x=2", head=f'<link rel="canonical" href="{site.url}/c">')
    site.article("/h", "/never", X_Robots_Tag="noindex, nofollow")
    site.article("/never")
    found = crawl(site.url + "/", depth=3)
    titles = found.titles()
    assert sorted(t for t in titles if t) == ["Page /c?x=1", "Page /f", "Page /under"]
    assert "/never" not in site.asked
    assert "/n" not in site.asked
    assert [row["url"] for row in found.rows if row["title"] == "Page /c?x=1"] == [site.url + "/c"]
    assert "noindex" in found.reasons[site.url + "/i"]
    assert "noindex" in found.reasons[site.url + "/h"]


def test_a_page_that_calls_itself_another_site_is_not_believed(site: Any, crawl: Crawl) -> None:
    site.article("/a", head='<link rel="canonical" href="https://bank.example.com/login">')
    site.article("/b", head=f'<link rel="canonical" href="{site.url}/">')
    found = crawl((site.url + "/a", site.url + "/b"))
    assert [row["url"] for row in found.rows] == [site.url + "/a", site.url + "/b"]


def test_hosts_are_asked_in_turn_and_each_is_waited_for(site: Any, other: Any, crawl: Crawl) -> None:
    for server in (site, other):
        server.article("/", *(f"/{n}" for n in range(3)))
        for n in range(3):
            server.article(f"/{n}")
    found = crawl((site.url + "/", other.url + "/"), depth=1, delay_s=0.2)
    assert len(found.rows) == 8
    for server in (site, other):
        times = [at for at, path in zip(server.times, server.asked, strict=True) if path != "/robots.txt"]
        assert all(b - a > 0.18 for a, b in pairwise(times)), times
    assert other.times[0] < site.times[2], "the one host is asked while the other rests"


def test_a_site_that_says_wait_is_waited_for(site: Any, crawl: Crawl) -> None:
    tree(site)
    answers = iter([(429, {"Retry-After": "1"}, b""), None])
    body = site.pages["/a"]
    site.pages["/a"] = lambda _: next(answers) or body
    assert "Page /a" in crawl(site.url + "/", depth=1).titles()
    site.page("/b", b"", 503, Retry_After="3600")
    found = crawl(site.url + "/", depth=2)
    assert found.titles()[0] == "Page /"
    assert "asked to be left alone" in found.said(), found.said()


def test_a_dead_host_is_given_up(site: Any, crawl: Crawl) -> None:
    site.article("/", *(f"/{n}" for n in range(60)))
    site.pages["*"] = (500, {}, b"")
    found = crawl(site.url + "/", depth=1)
    assert len(found.rows) == 1
    assert len(site.counts()) == 21
    assert "failed 20 times in a row" in found.said()


# -- traps -------------------------------------------------------------------------------------------------------------


def test_an_endless_calendar_ends(site: Any, crawl: Crawl) -> None:
    months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]

    def calendar(handler: Any) -> tuple[int, dict[str, str], bytes]:
        number = int(handler.path.rpartition("=")[2])
        title = f"{months[number % 10]} {2000 + number // 10}"
        links = f'<a href="/cal?m={number + 1}">next</a><a href="/cal?m={number - 1}">before</a>'
        text = "There are no meetings of the society in this month, nor in others."
        return 200, {}, f"<html><body><main><h1>{title}</h1><p>{text}</p>{links}</main></body></html>".encode()

    site.pages["*"] = calendar
    found = crawl(site.url + "/cal?m=300", depth=1000, max_pages=500)
    assert 20 <= len(site.counts()) < 60
    assert "brought nothing new" in found.said() or len(site.counts()) < 40


@pytest.mark.parametrize(
    ("link", "reason"),
    [("{path}/more", "the path repeats itself"), ("{path}{mark}p{number}=1", "the query has many parameters")],
)
def test_addresses_that_grow(site: Any, crawl: Crawl, link: str, reason: str) -> None:
    def endless(handler: Any) -> tuple[int, dict[str, str], bytes]:
        number = len(site.asked)
        mark = "&" if "?" in handler.path else "?"
        onward = link.format(path=handler.path, mark=mark, number=number)
        text = f"{'abcdefghij'[number % 10]}{'klmnopqrst'[number // 10 % 10]} " * 60
        return 200, {}, f'<article><p>{text}</p></article><a href="{onward}">x</a>'.encode()

    site.pages["*"] = endless
    found = crawl(site.url + "/start", depth=100, max_pages=300)
    assert 3 <= len(site.counts()) < 20
    assert f"look like traps: {reason}" in found.said()


# -- sitemaps and feeds ------------------------------------------------------------------------------------------------


def urlset(*entries: tuple[str, str]) -> str:
    inner = "".join(f"<url><loc>{loc}</loc><lastmod>{mod}</lastmod></url>" for loc, mod in entries)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</urlset>'


def index(*entries: str) -> str:
    inner = "".join(f"<sitemap><loc>{loc}</loc></sitemap>" for loc in entries)
    return (
        f'<?xml version="1.0"?><sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</sitemapindex>'
    )


def test_sitemaps_of_robots_txt_gzipped_and_within_others(site: Any, crawl: Crawl) -> None:
    import gzip

    for n in range(4):
        site.article(f"/{n}")
    site.article("/start")
    site.page("/robots.txt", f"User-agent: *\nDisallow: /3\nSitemap: {site.url}/all.xml\n")
    site.page("/all.xml", index(site.url + "/one.xml.gz", site.url + "/two.txt"))
    site.page(
        "/one.xml.gz", gzip.compress(urlset((site.url + "/0", "2026-01-05"), (site.url + "/1", "2020-01-01")).encode())
    )
    site.page("/two.txt", f"{site.url}/2\n{site.url}/3\nhttp://elsewhere.example.org/\n", Content_Type="text/plain")
    found = crawl(site.url + "/start", sitemap=True, since="2025-01-01")
    assert sorted(found.titles()) == ["Page /0", "Page /2", "Page /start"]
    assert "robots.txt disallows" in found.reasons[site.url + "/3"]
    assert crawl(sitemap=site.url + "/one.xml.gz").titles() == ["Page /0", "Page /1"]


def test_the_usual_place_is_looked_at_where_robots_txt_names_none(site: Any, crawl: Crawl) -> None:
    site.article("/start")
    site.article("/0")
    site.page("/sitemap.xml", urlset((site.url + "/0", "")))
    assert sorted(crawl(site.url + "/start", sitemap=True).titles()) == ["Page /0", "Page /start"]
    with pytest.raises(ConfigError, match="sitemaps of urls"):
        crawl(sitemap=True)


def test_news_sitemaps_tell_title_and_date(site: Any, crawl: Crawl, page_of: Any) -> None:
    site.page("/0", page_of("").replace(b"<h1></h1>", b"").replace(b"<title></title>", b""))
    news = f"""<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:n="http://www.google.com/schemas/sitemap-news/0.9">
      <url><loc>{site.url}/0</loc><n:news><n:publication><n:name>Coast</n:name><n:language>en</n:language></n:publication>
      <n:publication_date>2026-02-03</n:publication_date><n:title>Oil runs out</n:title></n:news></url></urlset>"""
    site.page("/news.xml", news)
    (row,) = crawl(sitemap=site.url + "/news.xml").rows
    assert (row["title"], row["created"].date().isoformat()) == ("Oil runs out", "2026-02-03")


FEED = """<?xml version="1.0"?><rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>
<title>Coast</title><link>{url}/</link><language>en-gb</language>
<item><title>Whole</title><link>/whole</link><pubDate>Tue, 03 Mar 2026 10:00:00 GMT</pubDate>
<author>a@b.c (Mara Berg)</author>
<content:encoded><![CDATA[<p>{story}</p><p>Second &amp; last, {story}</p>]]></content:encoded></item>
<item><title>Part</title><link>{url}/part</link><description>It begins here … read more</description></item>
<item><title>Old</title><link>{url}/old</link><pubDate>Tue, 03 Mar 2015 10:00:00 GMT</pubDate>
<description>x</description></item>
</channel></rss>"""


def test_feeds_give_full_texts_and_fetch_what_is_a_summary(site: Any, crawl: Crawl) -> None:
    story = "The keeper lit the lamp at dusk, and wrote the hour into the book that the office had sent him. " * 3
    site.page("/feed.xml", FEED.format(url=site.url, story=story), Content_Type="application/rss+xml")
    site.article("/part")
    found = crawl(feed=site.url + "/feed.xml", since="2020-01-01")
    whole, part = found.rows
    assert whole["title"] == "Whole"
    assert whole["url"] == site.url + "/whole"
    assert whole["text"].endswith(story.strip())
    assert "Second & last" in whole["text"]
    assert whole["created"].date().isoformat() == "2026-03-03"
    assert part["title"] == "Page /part"
    assert "/whole" not in site.asked
    assert "/old" not in site.asked


def test_atom_json_feeds_next_pages_and_pages_that_name_a_feed(site: Any, crawl: Crawl) -> None:
    import orjson

    story = "The keeper lit the lamp at dusk, and wrote the hour into the book that the office had sent him. " * 3
    entry = (
        '<entry><id>urn:1</id><title>One</title><link href="one"/><updated>2026-01-01T00:00:00Z</updated>'
        f'<content type="html">&lt;p&gt;{story}&lt;/p&gt;</content></entry>'
    )
    deed = "https://creativecommons.org/licenses/by/4.0/"
    links = f'<link rel="next" href="/more.json"/><link rel="license" href="{deed}"/>'
    atom = f'<feed xmlns="http://www.w3.org/2005/Atom"><title>F</title>{links}{entry}</feed>'
    items = [
        {"id": "2", "url": "/two", "title": "Two", "content_html": f"<p>{story}</p>", "authors": [{"name": "Ada"}]},
        {"id": "3", "content_text": "short"},
        {"id": 4},
    ]
    site.page("/more.json", orjson.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "J", "items": items}))
    site.page("/dir/feed", atom, Content_Type="application/atom+xml")
    site.page("/home", '<link rel="alternate" type="application/atom+xml" href="/dir/feed"><p>x</p>')
    found = crawl(feed=site.url + "/home")
    assert found.titles() == ["One", "Two", None]
    assert found.rows[0]["url"] == site.url + "/dir/one"
    assert found.rows[0]["license"] == "CC-BY-4.0"
    assert found.rows[1]["author"] == "Ada"
    assert "neither text nor address" in found.said()


# -- after a kill ------------------------------------------------------------------------------------------------------


def big(site: Any, pages: int = 40) -> str:
    for n in range(pages):
        site.article(f"/{n}", f"/{2 * n + 1}", f"/{2 * n + 2}")
    return str(site.url + "/0")


def test_what_was_fetched_is_not_fetched_again(site: Any, crawl: Crawl, tmp_path: Path) -> None:
    start = big(site)
    first = crawl(start, depth=2, work=tmp_path / "w")
    asked = len(site.asked)
    again = crawl(start, depth=2, work=tmp_path / "w")
    assert len(site.asked) == asked
    assert again.rows == first.rows
    assert again.names == first.names
    crawl(start, depth=2, work=tmp_path / "w", refresh="2026-02")
    assert len(site.asked) > asked, "another refresh asks anew"


def test_asked_anew_only_changed_pages_are_sent(site: Any, crawl: Crawl, tmp_path: Path) -> None:
    def page(handler: Any) -> tuple[int, dict[str, str], bytes]:
        same = handler.headers.get("If-None-Match") == '"v1"'
        body = b"<article><p>" + b"The lamp burns. " * 30 + b"</p></article>"
        return (304, {"ETag": '"v1"'}, b"") if same else (200, {"ETag": '"v1"'}, body)

    site.pages["/x"] = page
    first = crawl(site.url + "/x", work=tmp_path / "w")
    second = crawl(site.url + "/x", work=tmp_path / "w", refresh="b")
    assert first.rows == second.rows
    assert site.sent[-1]["if-none-match"] == '"v1"'


PROGRAM = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from lamina.contracts.corpus import Inbox
from lamina.kit.registry import SOURCES
class Report:
    def read(self, name): pass
    def unread(self, name, reason): pass
inbox = Inbox(source="mine", files=(), origin="", collected=datetime(2026, 1, 2, tzinfo=UTC),
    report=Report(), work=Path(sys.argv[2]))
web = SOURCES.get("web").function
for batch in web(inbox, urls=(sys.argv[1],), depth=9, delay_s=0.03, allow_private=("127.0.0.0/8",), extract="fast"):
    pass
"""


def test_kill_9_and_go_on(site: Any, crawl: Crawl, tmp_path: Path) -> None:
    start = big(site)
    whole = crawl(start, depth=9)
    site.asked.clear()
    work = tmp_path / "w"
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, start, str(work)])
        before = len(site.asked)
        deadline = time.monotonic() + 20
        while len(site.asked) < before + 12 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    found = crawl(start, depth=9, work=work)
    key = lambda row: row["url"]  # noqa: E731
    assert sorted(found.rows, key=key) == sorted(whole.rows, key=key)
    counts = site.counts()
    assert sum(counts.values()) <= 40 + 2, "each kill costs at most the page that was on its way"
    assert set(counts) == {f"/{n}" for n in range(81) if f"/{n}" in counts}
