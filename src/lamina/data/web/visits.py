"""What is done at an address: fetch, parse in the jail, and say what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lamina.data.rows import unforeseen
from lamina.data.values import moment
from lamina.data.web.addresses import domain_of, host_of
from lamina.data.web.frontier import Outcome, Task
from lamina.kit.errors import DocumentError, FetchError, InputError, LaminaError, RefusedError
from lamina.kit.jail import Jail

if TYPE_CHECKING:
    from lamina.kit.fetch import Fetched, Fetcher

PAGES = ("text/html", "application/xhtml+xml")
PLAIN = ("text/plain", "text/markdown")
READER = "lamina.data.readers.page:read"
_FEED, _SITEMAP = "lamina.data.readers.feed:read", "lamina.data.readers.sitemap:read"
_KNOWN = ("title", "author", "created", "language", "license")
_FEEDLIKE = re.compile(rb"<rss|<feed|<rdf|\A\s*\{", re.IGNORECASE)
_ANSWERED = re.compile(r"answered 4(?!29)")  # the host is well, the page is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Performs tasks. ``extract``: "precise" or "fast"; ``since``: ISO 8601, what is older is left out."""

    fetcher: Fetcher
    jail: Jail
    extract: str
    since: str | None = None

    def __call__(self, task: Task) -> Outcome:
        """What came of ``task``; errors of one address are an outcome too."""
        try:
            if task.kind == "feed":
                return self._feed(task)
            return self._sitemap(task) if task.kind == "sitemap" else self._page(task)
        except FetchError as error:
            return Outcome(task=task, reason=str(error), failed=not _ANSWERED.match(error.what))
        except (InputError, RefusedError) as error:
            return Outcome(task=task, reason=str(error))
        except LaminaError:  # not this page's fault
            raise
        except Exception as error:
            return Outcome(task=task, reason=str(unforeseen(error)))

    def _page(self, task: Task) -> Outcome:
        answer = self.fetcher.get(task.url)
        about = described(answer.url, answer.headers)
        page = dict(self.jail.call(READER, about | {"extract": self.extract, "links": True}, answer.body))
        said = _hidden(answer.headers.get("x-robots-tag", ""))
        tasks: list[Task] = []
        if page.pop("follow", True) and "nofollow" not in said and task.left > 0:
            tasks = [_onward(task, url) for url in page.get("links") or []]
        if not task.first and (said & {"noindex", "none"} or page.get("index") is False):
            return Outcome(task=task, found=answer.url, tasks=tuple(tasks), reason="asks not to be indexed (noindex)")
        if page.get("text") is None:
            return Outcome(task=task, found=answer.url, tasks=tuple(tasks), reason=page.get("reason"))
        row = row_of(page, _address(answer.url, page.get("url")), [answer.robots], task.hints)
        return Outcome(task=task, found=answer.url, rows=(row,), tasks=tuple(tasks))

    def _sitemap(self, task: Task) -> Outcome:
        if urlsplit(task.url).path == "/robots.txt":
            named = self.fetcher.sitemaps(task.url)
            usual = task.url.removesuffix("/robots.txt") + "/sitemap.xml"
            return Outcome(task=task, found=task.url, tasks=tuple(_map(task, url) for url in named or [usual]))
        answer = self.fetcher.get(task.url)
        found = self.jail.call(_SITEMAP, {"since": self.since}, answer.body)
        tasks = [_listed(task, url, hints) for url, _, hints in found["pages"]]
        reason = found["fault"]
        if found["maps"] and task.left <= 0:
            reason = "holds sitemaps that are too many levels deep"
        elif found["maps"]:
            tasks += [_map(task, url) for url, _ in found["maps"]]
        return Outcome(task=task, found=answer.url, tasks=tuple(tasks), reason=reason)

    def _feed(self, task: Task) -> Outcome:
        answer = self.fetcher.get(task.url)
        kind = answer.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() in PAGES and not _FEEDLIKE.search(answer.body[:2000]):
            return self._feeds_of_page(task, answer)
        found = self.jail.call(_FEED, {"url": answer.url, "content_type": kind}, answer.body)
        rows, tasks, dull = [], [], 0
        for entry in found["entries"]:
            when = moment(entry["created"])
            if self.since and when and when.isoformat() < self.since:
                continue
            known = {name: entry.get(name) for name in _KNOWN if entry.get(name)}
            known = {"language": found["language"], "license": found["license"]} | known
            known = {name: value for name, value in known.items() if value}
            if entry["full"] or (entry["text"] and not entry["url"]):
                rows.append(row_of(known | {"text": entry["text"]}, entry["key"], [answer.robots], {}, answer.url))
            elif entry["url"]:
                tasks.append(Task(kind="page", url=entry["url"], depth=1, free=True, hints=known))
            else:
                dull += 1
        if found["next"]:
            tasks.append(Task(kind="feed", url=found["next"], depth=task.depth + 1, free=True))
        reason = found["fault"] or (f"{dull} of its entries have neither text nor address" if dull else None)
        return Outcome(task=task, found=answer.url, rows=tuple(rows), tasks=tuple(tasks), reason=reason)

    def _feeds_of_page(self, task: Task, answer: Fetched) -> Outcome:
        """A page in place of a feed may name one."""
        page = self.jail.call(READER, {"url": answer.url, "extract": "fast", "links": True}, answer.body)
        if not page.get("feeds") or task.depth > 0:
            raise DocumentError("is a page, not a feed, and names none", where=task.url)
        feed = Task(kind="feed", url=page["feeds"][0], depth=1, free=True)
        return Outcome(task=task, found=answer.url, tasks=(feed,))


def described(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """What the reader of pages is told of an answer with these headers; ``DocumentError`` for what is no page."""
    header = Message()
    header["content-type"] = headers.get("content-type", "text/html")
    media = header.get_content_type()
    if media not in (*PAGES, *PLAIN):
        books = media in ("application/pdf", "application/epub+zip")
        hint = 'save it and read it with the source "books"' if books else None
        raise DocumentError(f"is {media}, not a page", where=url, hint=hint)
    return {"url": url, "charset": header.get_content_charset(), "plain": media in PLAIN}


def row_of(
    page: Mapping[str, Any],
    address: str,
    signals: Iterable[str | None],
    hints: Mapping[str, Any],
    group: str | None = None,
) -> dict[str, Any]:
    """The document columns of a page at ``address``; ``hints`` where the page itself says nothing."""
    told = {name: page.get(name) or hints.get(name) for name in _KNOWN}
    rights = [signal for signal in (*signals, page.get("rights")) if signal]
    return told | {
        "key": address,
        "url": address,
        "text": page["text"],
        "group_id": host_of(group or address) or None,
        "rights": "; ".join(rights) or None,
        "meta": {"replaced_characters": page["replaced"]} if page.get("replaced") else None,
    }


def _hidden(header: str) -> set[str]:
    """The words of X-Robots-Tag that are for everybody; those for one robot ("bot: noindex") are not."""
    words = {part.strip().lower() for part in header.split(",") if ":" not in part}
    return words | ({"nofollow"} if "none" in words else set())


def _address(found: str, canonical: str | None) -> str:
    """What a page calls itself, where that can be believed: the same site, and not its front page."""
    if not canonical or domain_of(canonical) != domain_of(found):
        return found
    front = urlsplit(canonical).path in ("", "/") and not urlsplit(canonical).query
    return found if front and urlsplit(found).path not in ("", "/") else canonical


def _onward(task: Task, url: str) -> Task:
    return Task(kind="page", url=url, left=task.left - 1, depth=task.depth + 1)


def _map(task: Task, url: str) -> Task:
    return Task(kind="sitemap", url=url, left=task.left - 1, depth=task.depth + 1, free=True, hints=task.hints)


def _listed(task: Task, url: str, hints: dict[str, Any]) -> Task:
    """A page of a sitemap. When it was last changed is no date of publication, so that is no hint."""
    known = {name: value for name, value in hints.items() if name in _KNOWN and value}
    return Task(kind="page", url=url, left=int(task.hints.get("depth", 0)), depth=1, hints=known)
