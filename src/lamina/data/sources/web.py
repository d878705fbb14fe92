"""Web pages: a list of URLs through the one polite fetcher, or pages saved as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.sources.rows import batches, first, read_bytes
from lamina.kit.errors import DocumentError, FetchError, LaminaError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES

_KINDS = ("text/html", "application/xhtml+xml", "text/plain")


@SOURCES("web", version=1)
def web(
    inbox: Inbox,
    *,
    urls: tuple[str, ...] = (),
    user_agent: str = "Lamina/0.1 (a document collector)",
    delay_s: float = 1.0,
    timeout_s: float = 30.0,
    max_bytes: int = 20 << 20,
    allow_private: tuple[str, ...] = (),
    limit: int | None = None,
    memory_mb: int = 1024,
    seconds: float = 30.0,
) -> Iterator[pa.RecordBatch]:
    """``urls`` are fetched obeying robots.txt, one request a host every ``delay_s``; a page has at most ``max_bytes``.

    ``allow_private``: addresses of your own network to allow; ``memory_mb``, ``seconds``: of a page's parser.
    """
    fetching = {
        "user_agent": user_agent,
        "delay_s": delay_s,
        "timeout_s": timeout_s,
        "max_bytes": max_bytes,
        "allow_private": allow_private,
    }
    with Jail(workers=1, memory_mb=memory_mb, seconds=seconds) as jail:
        yield from batches(inbox, first(_rows(inbox, jail, urls, fetching, max_bytes), limit))


def _rows(
    inbox: Inbox, jail: Jail, urls: tuple[str, ...], fetching: dict[str, Any], max_bytes: int
) -> Iterator[dict[str, Any]]:
    for file in inbox.files:
        try:
            row = _saved(file, jail, max_bytes)
        except (DocumentError, OSError) as error:
            inbox.report.unread(file.name, str(error))
            continue
        inbox.report.read(file.name)
        yield row
    if urls:
        yield from _fetched(inbox, jail, urls, fetching)


def _saved(file: SourceFile, jail: Jail, max_bytes: int) -> dict[str, Any]:
    if file.path.suffix.lower() not in (".html", ".htm", ".xhtml"):
        raise DocumentError(f"files of the kind '{file.path.suffix}' are not saved pages")
    page = jail.call("lamina.data.readers.page:read", {}, read_bytes(file, max_bytes))
    return dict(page) | {"key": file.name}


def _fetched(inbox: Inbox, jail: Jail, urls: tuple[str, ...], fetching: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from lamina.kit.fetch import Fetcher

    fetcher = Fetcher(cache=None, **fetching)
    for url in dict.fromkeys(urls):
        try:
            page = fetcher.get(url)
            kind = page.headers.get("content-type", "").split(";")[0].strip().lower()
            if page.status != 200:
                raise FetchError(f"answered {page.status}")
            if kind and kind not in _KINDS:
                raise DocumentError(f"is {kind}, not a page")
            row = jail.call("lamina.data.readers.page:read", {"url": page.url}, page.body)
        except LaminaError as error:
            inbox.report.unread(url, str(error))
            continue
        inbox.report.read(url)
        yield dict(row) | {"key": page.url, "url": page.url, "rights": page.robots}
