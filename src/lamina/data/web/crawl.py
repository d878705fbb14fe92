"""The crawl: tasks of the frontier on a few threads, each outcome written down before it counts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from lamina.contracts.corpus import Inbox, Report
from lamina.data.rows import LISTED
from lamina.data.web.addresses import Scope, host_of
from lamina.data.web.frontier import Frontier, Outcome, Task
from lamina.data.web.journal import Journal
from lamina.data.web.visits import Visitor
from lamina.kit.jail import Jail

if TYPE_CHECKING:
    from lamina.kit.fetch import Fetcher

_LEVELS = 4  # of sitemaps within sitemaps
_PATIENCE_S = 600.0  # for a host that asked to be left alone; longer ones are reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a crawl is asked to do; another plan is another crawl."""

    urls: tuple[str, ...] = ()
    depth: int = 0
    scope: str | tuple[str, ...] = "host"
    exclude: tuple[str, ...] = ()
    most: int | None = None  # pages
    maps: tuple[str, ...] = ()
    discover: bool = False  # the sitemaps that the sites of urls name
    feeds: tuple[str, ...] = ()
    since: str | None = None
    refresh: str = ""
    extract: str = "precise"

    @property
    def named(self) -> tuple[str, ...]:
        """What the user named."""
        return tuple(dict.fromkeys((*self.urls, *self.maps, *self.feeds)))

    def tasks(self) -> list[Task]:
        """What to begin with."""
        hints = {"depth": self.depth}
        roots = dict.fromkeys(urljoin(url, "/robots.txt") for url in self.urls if self.discover and host_of(url))
        return [
            *(Task(kind="page", url=url, left=self.depth, first=True) for url in self.urls),
            *(Task(kind="feed", url=url, first=True) for url in self.feeds),
            *(Task(kind="sitemap", url=url, left=_LEVELS, first=True, hints=hints) for url in self.maps),
            *(Task(kind="sitemap", url=url, left=_LEVELS, free=True, hints=hints) for url in roots),
        ]


def crawled(inbox: Inbox, jail: Jail, fetcher: Fetcher, plan: Plan, *, workers: int) -> Iterator[dict[str, Any]]:
    """The documents of a plan; with a folder to work in, what was fetched before a kill is not fetched again."""
    scope = Scope(plan.scope, plan.exclude)
    for url in plan.urls or plan.maps:
        scope.widen(url)
    journal = Journal(inbox.work, asdict(plan))
    try:
        crawl = Crawl(
            Frontier(scope, most=plan.most),
            journal,
            inbox.report,
            work=Visitor(fetcher=fetcher, jail=jail, extract=plan.extract, since=plan.since),
            pause=fetcher.pause,
            closed=fetcher.closed,
            workers=workers,
        )
        yield from crawl.rows(plan.tasks())
    finally:
        journal.close()


class Crawl:
    """Runs ``work`` over the tasks of ``frontier``; what ``work`` raises stops the whole crawl.

    ``pause(host)``: seconds until a host may be asked again; ``closed(host)``: for which it asked to be left alone.
    """

    def __init__(
        self,
        frontier: Frontier,
        journal: Journal,
        report: Report,
        *,
        work: Callable[[Task], Outcome],
        pause: Callable[[str], float],
        closed: Callable[[str], float],
        workers: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._frontier, self._journal, self._work = frontier, journal, work
        self._pause, self._closed, self._workers, self._sleep = pause, closed, workers, sleep
        self._notes = _Notes(report)

    def rows(self, tasks: list[Task]) -> Iterator[dict[str, Any]]:
        """The rows of what was fetched before, then of what is fetched now, as it comes."""
        for task in tasks:
            self._frontier.add(task)
        for outcome in self._journal:
            yield from self._settled(outcome, replayed=True)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="crawl")
        try:
            for outcome in self._outcomes(pool):
                self._journal.add(outcome)
                yield from self._settled(outcome)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        for task, reason in self._frontier.end():
            self._notes(task, reason)
        self._notes.close(self._frontier.left_out)

    def _outcomes(self, pool: ThreadPoolExecutor) -> Iterator[Outcome]:
        running: dict[Future[Outcome], Task] = {}
        while True:
            while len(running) < self._workers and (task := self._frontier.take(self._pause)):
                running[pool.submit(self._work, task)] = task
            rest = self._frontier.wait(self._pause)
            if not running:
                if rest is None or rest > _PATIENCE_S:
                    return
                self._sleep(rest)
                continue
            timeout = rest if rest and len(running) < self._workers else None
            done, _ = wait(running, timeout=timeout, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                outcome = future.result()
                if outcome.failed and self._closed(host_of(task.url)) > 0 and self._frontier.again(task):
                    continue
                yield outcome

    def _settled(self, outcome: Outcome, *, replayed: bool = False) -> Iterator[dict[str, Any]]:
        rows = self._frontier.settle(outcome, replayed=replayed)
        if outcome.reason:
            self._notes(outcome.task, outcome.reason)
        elif outcome.rows or outcome.task.kind != "page":
            self._notes.read(outcome.task.url)
        yield from rows


class _Notes:
    """What was not read and why: what the user named, and the first addresses of each reason; the rest is counted."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._counts: Counter[str] = Counter()

    def read(self, url: str) -> None:
        self._report.read(url)

    def __call__(self, task: Task, reason: str) -> None:
        self._counts[reason] += not task.first
        if task.first or self._counts[reason] <= LISTED:
            self._report.unread(task.url, reason)

    def close(self, left_out: Counter[str]) -> None:
        for reason, times in self._counts.items():
            if times > LISTED:
                self._report.unread(f"{times - LISTED:,} more addresses", reason)
        for reason, times in left_out.items():
            self._report.unread(f"{times:,} addresses", reason)
