"""Web pages: crawled through the one polite fetcher, named by sitemaps and feeds, archived in WARC files, or saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any, Literal

import pyarrow as pa

from lamina.contracts.corpus import Inbox
from lamina.data.rows import batches, followed
from lamina.data.sources.unpacked import files_of
from lamina.data.values import moment
from lamina.data.web.archives import read_files
from lamina.data.web.crawl import Plan, crawled
from lamina.kit.errors import ConfigError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES
from lamina.kit.workers import cores

_WORKERS = cores()
_HOSTS = 8  # pages on their way at a time, each of another host
_MOST = 1000  # pages of a crawl, where max_pages does not say


@SOURCES("web", kind="separable", version=4)
def web(
    inbox: Inbox,
    *,
    urls: tuple[str, ...] = (),
    depth: int = 0,
    scope: str | tuple[str, ...] = "host",
    exclude: tuple[str, ...] = (),
    max_pages: int | None = None,
    sitemap: bool | str | tuple[str, ...] = False,
    feed: str | tuple[str, ...] = (),
    since: str | None = None,
    refresh: str = "",
    extract: Literal["precise", "fast"] = "precise",
    user_agent: str = "Lamina/0.1 (a document collector)",
    delay_s: float = 1.0,
    timeout_s: float = 30.0,
    max_bytes: int = 20 << 20,
    allow_private: tuple[str, ...] = (),
    limit: int | None = None,
    memory_mb: int = 1024,
    seconds: float = 30.0,
) -> Iterator[pa.RecordBatch]:
    """Saved pages (.html, .htm, .xhtml, also in a zip or tar) and web archives (.warc, .wet), then what is fetched.

    Fetched are ``urls`` and pages up to ``depth`` links from them within ``scope``: the "host" or "domain" of urls, the
    folder of each ("prefix"), or patterns of addresses ("https://example.org/docs/*"); not what matches ``exclude``; at
    most ``max_pages`` (1,000 where links, sitemaps or feeds are followed). ``sitemap``: addresses of sitemaps, or true
    for those that the sites of urls name; ``feed``: RSS, Atom or JSON feeds, whose entries are fetched where they are
    summaries; ``since``: a date, what sitemaps and feeds say is older is left out; ``refresh``: any word, and another
    one (such as today's date) has all fetched anew. ``extract``: "fast" for a great many pages.

    robots.txt is obeyed, and one page a host fetched every ``delay_s``, each within ``timeout_s``; ``user_agent``
    should say how to reach you; a page has at most ``max_bytes``; ``allow_private``: addresses of your own network that
    may be asked; ``limit``: the first so many documents; the parser of a page gets ``memory_mb`` MiB and ``seconds``.
    """
    plan = Plan(
        urls=tuple(dict.fromkeys(urls)),
        depth=depth,
        scope=scope,
        exclude=exclude,
        most=max_pages or (_MOST if depth or sitemap or feed else None),
        maps=(sitemap,) if isinstance(sitemap, str) else () if isinstance(sitemap, bool) else sitemap,
        discover=sitemap is True,
        feeds=(feed,) if isinstance(feed, str) else feed,
        since=since,
        refresh=refresh,
        extract=extract,
    )
    _check(inbox, plan, max_pages)
    inbox = followed(inbox, *plan.named)
    fetching = {"user_agent": user_agent, "delay_s": delay_s, "timeout_s": timeout_s}
    fetching |= {"max_bytes": max_bytes, "allow_private": allow_private}
    with ExitStack() as stack:
        jail = stack.enter_context(Jail(workers=_WORKERS, memory_mb=memory_mb, seconds=seconds))
        files = files_of(inbox, stack)
        rows = read_files(inbox, files, jail, extract=extract, max_bytes=max_bytes, workers=_WORKERS)
        if plan.named:
            rows = chain(rows, _fetched(inbox, jail, plan, stack, fetching, limit))
        yield from batches(inbox, rows, limit)


def _fetched(
    inbox: Inbox, jail: Jail, plan: Plan, stack: ExitStack, fetching: dict[str, Any], limit: int | None
) -> Iterator[dict[str, Any]]:
    from lamina.kit.fetch import Fetcher

    cache = inbox.work / "pages" if inbox.work else None
    fetcher = stack.enter_context(Fetcher(cache=cache, **fetching))
    together = _HOSTS if limit is None else max(1, min(_HOSTS, limit))
    yield from crawled(inbox, jail, fetcher, plan, workers=together)


def _check(inbox: Inbox, plan: Plan, max_pages: int | None) -> None:
    where = f"data.sources '{inbox.source}'"
    if plan.depth < 0 or (max_pages is not None and max_pages < 1):
        raise ConfigError("depth counts links from 0, max_pages counts pages from 1", where=where)
    if plan.discover and not plan.urls:
        hint = 'name them: sitemap = "https://example.org/sitemap.xml"'
        raise ConfigError("sitemap = true looks for the sitemaps of urls, and there are none", where=where, hint=hint)
    if plan.since and moment(plan.since) is None:
        raise ConfigError(f"since = '{plan.since}' is no date", where=where, hint='such as "2026-01-31"')
