"""Web pages: a list of URLs through the one polite fetcher, or pages saved as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers.streams import kind, read_bytes
from lamina.data.sources.rows import batches, followed, in_turn
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES

if TYPE_CHECKING:
    from lamina.kit.fetch import Fetcher

_PAGES = ("text/html", "application/xhtml+xml")
_PLAIN = ("text/plain", "text/markdown")
_READER = "lamina.data.readers.page:read"
_WORKERS = 2
_HOSTS = 4  # pages on their way at a time; each host is still asked once every delay_s


@SOURCES("web", version=2)
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
    """Pages saved as .html, .htm or .xhtml (in the order of their names), then ``urls`` in the order given.

    ``urls`` are fetched obeying robots.txt, one a host every ``delay_s``, each within ``timeout_s``; ``user_agent``
    should say how to reach you; a page has at most ``max_bytes``; ``allow_private``: addresses of your own network that
    may be asked; ``limit``: the first so many pages; the parser of a page gets ``memory_mb`` MiB and ``seconds``.
    """
    inbox = followed(inbox, *urls)
    with Jail(workers=_WORKERS, memory_mb=memory_mb, seconds=seconds) as jail:
        saved = _saved(inbox, jail, max_bytes)
        if not urls:
            yield from batches(inbox, saved, limit)
            return
        from lamina.kit.fetch import Fetcher

        with Fetcher(
            user_agent=user_agent,
            cache=None,
            delay_s=delay_s,
            max_bytes=max_bytes,
            timeout_s=timeout_s,
            allow_private=allow_private,
        ) as fetcher:
            yield from batches(inbox, _both(saved, _fetched(inbox, jail, fetcher, urls, limit)), limit)


def _both(*parts: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for part in parts:
        yield from part


def _saved(inbox: Inbox, jail: Jail, max_bytes: int) -> Iterator[dict[str, Any]]:
    results = in_turn(partial(_read, jail=jail, max_bytes=max_bytes), inbox.files, workers=_WORKERS)
    for file, page in zip(inbox.files, results, strict=True):
        if not isinstance(page, dict):
            inbox.report.unread(file.name, str(page))
            continue
        inbox.report.read(file.name)
        folder = file.name.rpartition("/")[0]
        yield _row(page) | {"key": file.name, "group_id": _host(page.get("url")) or folder or inbox.origin or None}


def _read(file: SourceFile, *, jail: Jail, max_bytes: int) -> dict[str, Any]:
    if kind(file.name) not in (".html", ".htm", ".xhtml"):
        raise DocumentError(f"files of the kind '{kind(file.name)}' are not saved pages", hint="html, htm, xhtml")
    return dict(jail.call(_READER, {}, read_bytes(file.path, file.name, max_bytes)))


def _fetched(
    inbox: Inbox, jail: Jail, fetcher: Fetcher, urls: tuple[str, ...], limit: int | None
) -> Iterator[dict[str, Any]]:
    wanted = tuple(dict.fromkeys(urls))
    workers = _HOSTS if limit is None else max(1, min(_HOSTS, limit))
    results = in_turn(partial(_page, jail=jail, fetcher=fetcher), wanted, workers=workers)
    seen: set[str] = set()
    for url, page in zip(wanted, results, strict=True):
        if not isinstance(page, dict):
            inbox.report.unread(url, str(page))
            continue
        inbox.report.read(url)
        if page["found_at"] in seen:  # two addresses led to one page
            continue
        seen.add(page["found_at"])
        found = page["found_at"]
        yield _row(page) | {"key": found, "url": found, "group_id": _host(found)}


def _page(url: str, *, jail: Jail, fetcher: Fetcher) -> dict[str, Any]:
    answer = fetcher.get(url)
    header = Message()
    header["content-type"] = answer.headers.get("content-type", "text/html")
    media = header.get_content_type()
    if media not in (*_PAGES, *_PLAIN):
        hint = (
            'save it and read it with the source "books"'
            if media in ("application/pdf", "application/epub+zip")
            else None
        )
        raise DocumentError(f"is {media}, not a page", hint=hint)
    about = {"url": answer.url, "charset": header.get_content_charset(), "plain": media in _PLAIN}
    page = dict(jail.call(_READER, about, answer.body))
    signals = [signal for signal in (answer.robots, page.get("rights")) if signal]
    return page | {"found_at": answer.url, "rights": "; ".join(signals) or None}


def _row(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"meta": {"replaced_characters": page["replaced"]} if page.get("replaced") else None}


def _host(url: str | None) -> str | None:
    return urlsplit(url).hostname if url else None
