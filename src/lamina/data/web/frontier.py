"""What is to be fetched next: breadth first, each host in its turn, nothing twice, no traps, within bounds."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from blake3 import blake3

from lamina.data.web.addresses import Scope, host_of, page_key, shape, trap

_STALE = 20  # pages of one shape in a row that brought nothing new: no more of them are fetched
_FAILED = 20  # failures of one host in a row: no more is asked of it
_TRIES = 3  # of one address of a host that asked to be left alone
Kind = Literal["page", "feed", "sitemap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to fetch. ``left``: how many links deep it goes on from here (of sitemaps: sitemaps within).

    ``first``: the user named it; ``free``: the scope is not asked; ``hints``: what a feed or a sitemap says of it.
    """

    kind: Kind
    url: str
    left: int = 0
    depth: int = 0
    first: bool = False
    free: bool = False
    hints: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a task: documents, more tasks, the reason why not (there may be all three)."""

    task: Task
    found: str | None = None  # where it was in the end
    rows: tuple[dict[str, Any], ...] = ()
    tasks: tuple[Task, ...] = ()
    reason: str | None = None
    failed: bool = False  # the host did not answer as it should


class Frontier:
    """Tasks that wait, by host. ``most`` pages are fetched at most; None for no bound."""

    def __init__(self, scope: Scope, *, most: int | None) -> None:
        self._scope, self._most = scope, most
        self._hosts: OrderedDict[str, list[tuple[int, int, int, Task]]] = OrderedDict()
        self._seen: set[bytes] = set()
        self._count = 0
        self._busy: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._tries: Counter[str] = Counter()
        self._stale: Counter[str] = Counter()
        self._texts: set[bytes] = set()
        self._done: set[bytes] = set()  # fetched before a kill
        self.pages = 0
        self.left_out: Counter[str] = Counter()  # reason: addresses

    def add(self, task: Task) -> bool:
        """Take ``task`` unless it was seen, is out of scope or looks like a trap; whether it was taken."""
        mark = _mark(f"{task.kind} {page_key(task.url)}")
        if mark in self._seen:
            return False
        named = task.first or task.free
        if self._scope.excludes(task.url) or not (named or self._scope.holds(task.url)):
            return False
        if not named and (why := trap(task.url)):
            self._seen.add(mark)
            self.left_out[f"look like traps: {why}"] += 1
            return False
        if self._most is not None and len(self._seen) > 4 * self._most + 1000:
            self.left_out["were not even noted"] += 1
            return False
        self._seen.add(mark)
        self._push(task)
        return True

    def _push(self, task: Task) -> None:
        self._count += 1
        rank = 0 if task.kind != "page" else 1
        waiting = self._hosts.setdefault(host_of(task.url), [])
        heapq.heappush(waiting, (rank, task.depth, self._count, task))

    def take(self, pause: Callable[[str], float]) -> Task | None:
        """The next task of a host that is idle and may be asked now; None where there is none at the moment."""
        if self._full():
            return None
        for host in list(self._hosts):
            if host in self._busy or pause(host) > 0:
                continue
            self._hosts.move_to_end(host)
            while waiting := self._hosts.get(host):
                task = heapq.heappop(waiting)[3]
                if not waiting:
                    del self._hosts[host]
                if _mark(f"{task.kind} {task.url}") in self._done:
                    continue
                if self._stale[shape(task.url)] >= _STALE and not task.first:
                    self.left_out["are of a sort that brought nothing new"] += 1
                    continue
                self._busy.add(host)
                self.pages += task.kind == "page"
                return task
        return None

    def _full(self) -> bool:
        return self._most is not None and self.pages >= self._most

    def wait(self, pause: Callable[[str], float]) -> float | None:
        """Seconds until a host that has tasks may be asked again; None where no task will come."""
        if self._full():
            return None
        return min((pause(host) for host in self._hosts if host not in self._busy), default=None)

    def again(self, task: Task) -> bool:
        """Put a task back whose host asked to be left alone; False when it was put back too often."""
        self._busy.discard(host_of(task.url))
        self._tries[task.url] += 1
        if self._tries[task.url] > _TRIES:
            return False
        self.pages -= task.kind == "page"
        self._push(task)
        return True

    def settle(self, outcome: Outcome, *, replayed: bool = False) -> list[dict[str, Any]]:
        """Take note of what came of a task; the rows that are new. ``replayed``: it was fetched before a kill."""
        task = outcome.task
        host = host_of(task.url)
        self._busy.discard(host)
        if replayed:
            self._done.add(_mark(f"{task.kind} {task.url}"))
            self._seen.add(_mark(f"{task.kind} {page_key(task.url)}"))
            self.pages += task.kind == "page"
        self._failures[host] = self._failures[host] + 1 if outcome.failed else 0
        if self._failures[host] >= _FAILED:
            self._give_up(host, f"were not asked for: {host} failed {_FAILED} times in a row")
        if task.first and task.kind == "page" and outcome.found:
            self._scope.widen(outcome.found)
        for more in outcome.tasks:
            self.add(more)
        return list(self._new(task, outcome.rows))

    def _new(self, task: Task, rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """Rows of addresses that no row had before."""
        fresh = False
        for row in rows:
            name = _mark(f"row {page_key(row['key'])}")
            if name in self._seen:
                continue
            self._seen.add(name)
            self._seen.add(_mark(f"page {page_key(row['key'])}"))  # found by a redirect, or rel=canonical
            words = _mark("".join(filter(str.isalpha, row["text"])))
            fresh = fresh or words not in self._texts
            self._texts.add(words)
            yield row
        sort = shape(task.url)
        self._stale[sort] = 0 if fresh else self._stale[sort] + 1

    def _give_up(self, host: str, reason: str) -> None:
        waiting = self._hosts.pop(host, [])
        if waiting:
            self.left_out[reason] += len(waiting)

    def end(self) -> list[tuple[Task, str]]:
        """Count what still waits as left out; what the user named of it, and why it was not fetched."""
        named = []
        for host in list(self._hosts):
            reason = "were not asked for: "
            reason += f"{self._most} pages are the most" if self._full() else f"{host} asked to be left alone"
            named += [(entry[3], reason) for entry in self._hosts[host] if entry[3].first]
            self._give_up(host, reason)
        return named


def _mark(text: str) -> bytes:
    """16 bytes stand for a text: a million of them take 50 MB."""
    return blake3(text.encode("utf-8", "surrogatepass")).digest(length=16)
