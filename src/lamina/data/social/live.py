"""Live collection: places of the networks, page by page and thread by thread, into rows; a killed run goes on.

Credentials come from the environment only: ``LAMINA_REDDIT_CLIENT_ID``, ``LAMINA_REDDIT_CLIENT_SECRET`` and
``LAMINA_REDDIT_USER``; ``LAMINA_BLUESKY_HANDLE`` and ``LAMINA_BLUESKY_PASSWORD`` (an app password);
``LAMINA_MASTODON_TOKEN`` = "host:token" for a server that shows nothing without one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from lamina.contracts.corpus import Inbox
from lamina.data.social import bluesky, hackernews, mastodon, reddit
from lamina.data.social.paging import Api, Collector, Found, GoneError, Journal
from lamina.data.social.threads import Tally, Writer
from lamina.kit.errors import ConfigError, FetchError, RefusedError
from lamina.kit.fetch import Fetcher
from lamina.kit.identity import blake3_hex

LIMIT = 1000  # threads of one place, where the stack file names no limit
_FAILURES = 3  # threads in a row that cannot be had: the network is at fault
_PATIENCE_S = 900.0
_MAX_BYTES = 64 << 20
_NETWORKS = {"mastodon": mastodon, "bluesky": bluesky, "reddit": reddit, "hackernews": hackernews}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is collected live, and how; see the source ``social``. The clocks are for tests."""

    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    since: datetime | None = None
    base_url: str | None = None
    user_agent: str = ""
    delay_s: float | None = None
    allow_private: tuple[str, ...] = ()
    opted_out: bool = False
    max_posts: int = 1000
    terms_accepted: bool = False
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic

    def __bool__(self) -> bool:
        return any(self.places.values())

    def check(self) -> None:
        """Raises ``ConfigError`` or ``RefusedError`` for what can be seen to fail before anything is asked."""
        for network, places in self.places.items():
            for text in places:
                _NETWORKS[network].place(text)
        if self.base_url and sum(map(bool, self.places.values())) > 1:
            raise ConfigError("one address cannot serve two networks", where="base_url", hint="make them two sources")
        if self.places.get("reddit"):
            if not self.terms_accepted:
                raise ConfigError(
                    "Reddit's terms must be accepted by whoever collects from it",
                    where="reddit",
                    hint="read them (models trained on posts need Reddit's permission), then terms_accepted = true",
                )
            _credentials("LAMINA_REDDIT_CLIENT_ID", "LAMINA_REDDIT_CLIENT_SECRET")
            _reddit_agent(self.user_agent)
        if any(bluesky.place(text).search for text in self.places.get("bluesky", ())):
            _credentials("LAMINA_BLUESKY_HANDLE", "LAMINA_BLUESKY_PASSWORD")


def live_rows(inbox: Inbox, wanted: Wanted, writer: Writer, limit: int | None) -> Iterator[dict[str, Any]]:
    """The documents of all places, in the order of the stack file; ``limit`` holds for each place."""
    for network, places in wanted.places.items():
        for text in places:
            with ExitStack() as stack:
                collector = _collector(network, text, wanted, stack)
                path = None
                if inbox.work is not None:
                    told = [network, text, repr(wanted.since), wanted.base_url, wanted.opted_out, wanted.max_posts]
                    told += [writer.salt, writer.min_posts, writer.links]
                    path = inbox.work / f"{network}-{blake3_hex(orjson.dumps(told))[:16]}.log"
                journal = Journal(path)
                stack.callback(journal.close)
                yield from _Walk(collector, journal, writer, limit or LIMIT, limit is None).rows(inbox)


@dataclass(slots=True)
class _Walk:
    """One place, from where its journal ends."""

    collector: Collector
    journal: Journal
    writer: Writer
    limit: int
    unasked: bool  # the limit is not the user's own
    failed: list[tuple[str, str]] = field(default_factory=list)  # threads that could not be had, one after another

    def rows(self, inbox: Inbox) -> Iterator[dict[str, Any]]:
        count = 0
        name = self.collector.name
        for rows in self._threads():
            yield from rows[: self.limit - count]
            count += len(rows)
            if count >= self.limit:
                if self.unasked and not self.journal.ended:
                    hint = "limit = … in the stack file asks for more"
                    inbox.report.unread(f"{name}, older posts", f"only {self.limit:,} threads were taken; {hint}")
                break
        if count or not self.journal.notes:
            inbox.report.read(name)
        for where, reason in self.journal.notes.items():
            inbox.report.unread(where, reason)
        for what, why in self.journal.tally.told(self.writer.min_posts):
            inbox.report.unread(f"{name}, {what}", why)

    def _threads(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of each thread, once each."""
        yield from self.journal.replay()
        cursor = self.journal.cursor
        passed: set[bytes] = set()
        while not self.journal.ended:
            passed.add(orjson.dumps(cursor))
            try:
                page = self.collector.page(cursor)
            except GoneError as error:
                self.journal.page(None, note=(self.collector.name, str(error)))
                return
            except (FetchError, RefusedError) as error:
                raise _interrupted(self.collector, error) from error
            if self.journal.cursor != cursor:  # only now is the page before done, with what failed in it
                self._settle()
                self.journal.page(cursor)
            for found in page.found:
                if found.id not in self.journal:
                    yield self._thread(found)
            cursor, note = page.following, page.note
            if cursor is not None and orjson.dumps(cursor) in passed:
                cursor, note = None, "its pages lead in a circle"
            if cursor is None:
                self._settle()
                self.journal.page(None, note=(f"{self.collector.name}, older posts", note) if note else None)

    def _thread(self, found: Found) -> list[dict[str, Any]]:
        """One thread, written down; what cannot be had of it is noted and costs no other thread."""
        tally = Tally()
        answers = self.collector.api.answers
        try:
            thread = found.thread()
        except GoneError:
            self.journal.thread([found.id], tally=Tally(gone=1))
            return []
        except (FetchError, RefusedError) as error:
            self.failed.append((found.id, str(error)))
            if len(self.failed) >= _FAILURES:  # it is not the threads: they are asked for again by the next run
                raise _interrupted(self.collector, error) from error
            return []
        if self.collector.api.answers > answers:
            self._settle()
        if thread is None or thread.key in self.journal:
            self.journal.thread([found.id])
            return []
        rows = list(self.writer.rows(thread, thread.key, tally))
        ids = [found.id, thread.key, *(post.id for post in thread.posts if post.id)]
        self.journal.thread(list(dict.fromkeys(ids)), rows, tally)
        return rows

    def _settle(self) -> None:
        """Threads that failed, each for a reason of its own, are done."""
        for id, reason in self.failed:
            self.journal.thread([id], notes={f"{self.collector.name}, thread {id}": reason})
        self.failed.clear()


def _interrupted(collector: Collector, error: FetchError | RefusedError) -> FetchError | RefusedError:
    hint = "what was collected is kept: run it again, and it goes on here"
    kind = RefusedError if isinstance(error, RefusedError) else FetchError
    return kind(error.what, where=f"{collector.name}: {error.where}", hint=hint)


def _collector(network: str, text: str, wanted: Wanted, stack: ExitStack) -> Collector:
    agent = _reddit_agent(wanted.user_agent) if network == "reddit" else wanted.user_agent
    delay = wanted.delay_s if wanted.delay_s is not None else _NETWORKS[network].DELAY_S
    fetcher = stack.enter_context(
        Fetcher(
            user_agent=agent,
            delay_s=delay,
            max_bytes=_MAX_BYTES,
            patience_s=_PATIENCE_S,
            allow_private=wanted.allow_private,
            sleep=wanted.sleep,
            clock=wanted.clock,
        )
    )
    api = partial(Api, fetcher, sleep=wanted.sleep, now=wanted.now)
    since, most = wanted.since, wanted.max_posts
    if network == "mastodon":
        where = mastodon.place(text)
        host, _, token = os.environ.get("LAMINA_MASTODON_TOKEN", "").rpartition(":")
        login = (lambda: {"Authorization": f"Bearer {token}"}) if token and host == where.host else None
        base = wanted.base_url or f"https://{where.host}"
        return mastodon.Mastodon(api(base, login=login), where, since=since, opted_out=wanted.opted_out, max_posts=most)
    if network == "bluesky":
        return _bluesky(fetcher, api, bluesky.place(text), wanted)
    if network == "reddit":
        client, secret = _credentials("LAMINA_REDDIT_CLIENT_ID", "LAMINA_REDDIT_CLIENT_SECRET")
        door = wanted.base_url or reddit.LOGIN_BASE
        session = api(wanted.base_url or reddit.BASE, login=partial(reddit.login, fetcher, door, client, secret))
        return reddit.Reddit(session, reddit.place(text), since=since, max_posts=most)
    base = wanted.base_url or hackernews.BASE
    return hackernews.HackerNews(api(base), hackernews.place(text), since=since, max_posts=most)


def _bluesky(fetcher: Fetcher, api: Callable[..., Api], place: bluesky.Place, wanted: Wanted) -> Collector:
    """The public interface for an account; a search goes through a login."""
    login, base = None, wanted.base_url or bluesky.BASE
    if place.search is not None:
        handle, password = _credentials("LAMINA_BLUESKY_HANDLE", "LAMINA_BLUESKY_PASSWORD")
        base = wanted.base_url or bluesky.LOGIN_BASE
        login = partial(bluesky.login, fetcher, base, handle, password)
    return bluesky.Bluesky(
        api(base, login=login), place, since=wanted.since, opted_out=wanted.opted_out, max_posts=wanted.max_posts
    )


def _credentials(*names: str) -> tuple[str, ...]:
    values = tuple(os.environ.get(name, "") for name in names)
    missing = [name for name, value in zip(names, values, strict=True) if not value]
    if missing:
        raise RefusedError(f"{' and '.join(missing)} must be set in the environment", where="social", hint="a login")
    return values


def _reddit_agent(given: str) -> str:
    """Reddit wants to know who asks: platform, program, version and a person's name there."""
    user = os.environ.get("LAMINA_REDDIT_USER")
    if user:
        return f"linux:lamina:v0.1 (by /u/{user.removeprefix('/u/').removeprefix('u/')})"
    if "/u/" in given:
        return given
    raise RefusedError("LAMINA_REDDIT_USER must be set in the environment", where="reddit", hint="your name at Reddit")
