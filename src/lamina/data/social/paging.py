"""What the networks' interfaces share: JSON asked for with patience and pace, pages, and a journal to go on from."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import orjson

from lamina.data.readers.posts import Post
from lamina.data.social.threads import Tally, Thread
from lamina.data.values import moment
from lamina.kit.errors import FetchError, RefusedError

if TYPE_CHECKING:
    from lamina.kit.append_log import AppendLog
    from lamina.kit.fetch import Fetched, Fetcher

_ATTEMPTS = 4
_BACKOFF_S = 2.0
_WINDOW_S = 900.0  # the longest window of requests that is waited for; Reddit's is ten minutes
_EPOCH_S = 1e8  # a reset of more than this is a time, not a number of seconds to wait
_ANSWERS = (400, 401, 403, 404, 410, 422, 500)
_REMAINING = ("x-ratelimit-remaining", "ratelimit-remaining")
_RESETS = ("x-ratelimit-reset", "ratelimit-reset")
_EXPIRED = ("ExpiredToken", "InvalidToken", "AuthMissing")


class GoneError(FetchError):
    """What was asked for is not there, or not there any more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer's JSON value and its headers, whose names are in lower case."""

    value: Any
    headers: Mapping[str, str]


class Api:
    """One network's interface under ``base``, through the one fetcher.

    An answer that is cut short or a fault of the server is asked for again; the last request of a window waits for the
    next one. ``login`` gives the headers of a session, and is asked anew when the session has run out.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        base: str,
        *,
        login: Callable[[], Mapping[str, str]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.base = base.rstrip("/")
        self.answers = 0  # usable ones
        self._fetcher, self._login, self._sleep, self._now = fetcher, login, sleep, now
        self._headers: Mapping[str, str] | None = None

    def get(self, path: str, kind: type | tuple[type, ...] = (dict, list), /, **parameters: Any) -> Reply:
        """The JSON at ``path``, which must be of ``kind``; parameters that are None are left out.

        Raises ``GoneError`` for what is not there, ``RefusedError`` where it may not be seen, ``FetchError`` where no
        usable answer came in several attempts.
        """
        query = urlencode({name: _written(value) for name, value in parameters.items() if value is not None})
        url = f"{self.base}{path}" + (f"?{query}" if query else "")
        return self._asked(lambda headers: self._fetcher.get(url, headers=headers, api=True, ok=_ANSWERS), url, kind)

    def _asked(self, ask: Callable[[Mapping[str, str]], Fetched], url: str, kind: type | tuple[type, ...]) -> Reply:
        renewed = False
        last: FetchError | None = None
        for attempt in range(_ATTEMPTS):
            if last is not None:
                self._sleep(_BACKOFF_S**attempt)
            try:
                if self._headers is None:
                    self._headers = self._login() if self._login else {}
                answer = ask(self._headers)
            except FetchError as error:
                last = error
                continue
            self._pace(answer.headers)
            if self._login and not renewed and _expired(answer):
                self._headers, renewed = None, True
                continue
            if answer.status >= 500:
                last = FetchError(f"answered {answer.status}", where=url)
                continue
            _refuse(answer, url)
            try:
                value = orjson.loads(answer.body)
            except orjson.JSONDecodeError as error:
                last = FetchError(f"its answer is cut short, or no JSON: {error.msg}", where=url)
                continue
            if isinstance(value, kind):
                self.answers += 1
                return Reply(value, answer.headers)
            last = FetchError(f"its answer is a {type(value).__name__}, which was not to be expected", where=url)
        raise last or FetchError("no session could be had", where=url)

    def _pace(self, headers: Mapping[str, str]) -> None:
        """After the last request of a window, wait for the next."""
        remaining, reset = _first(headers, _REMAINING), _first(headers, _RESETS)
        if remaining is None or reset is None:
            return
        try:
            if float(remaining) >= 1:
                return
            wait = float(reset)
        except ValueError:
            when = moment(reset)
            if when is None:
                return
            wait = when.timestamp()
        if wait > _EPOCH_S:
            wait -= self._now()
        if wait > 0:
            self._sleep(min(wait, _WINDOW_S) + 1)  # resets are told in whole seconds


def posted(fetcher: Fetcher, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object that a login answers with. Raises ``RefusedError`` where the credentials are not taken."""
    answer = fetcher.post(url, body, headers=headers, ok=_ANSWERS)
    _refuse(answer, url)
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise FetchError("the login's answer is no JSON", where=url) from error
    if not isinstance(value, dict):
        raise FetchError("the login's answer is no object", where=url)
    return value


def basic(name: str, password: str) -> str:
    """The value of an ``Authorization`` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _written(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _first(headers: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((headers[name].strip() for name in names if name in headers), None)


def _said(answer: Fetched) -> str:
    """What an answer of 4xx says of itself."""
    try:
        value = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(value, dict):
        return ""
    said = [value[name] for name in ("error", "message", "error_description") if isinstance(value.get(name), str)]
    return ": ".join(said)[:200]


def _expired(answer: Fetched) -> bool:
    return answer.status == 401 or (answer.status == 400 and _said(answer).partition(":")[0] in _EXPIRED)


def _refuse(answer: Fetched, url: str) -> None:
    """An exception for an answer that is none."""
    if answer.status < 400:
        return
    said = _said(answer)
    what = f"answered {answer.status}" + (f" ({said})" if said else "")
    if answer.status in (404, 410) or "NotFound" in said:
        raise GoneError(what, where=url)
    if answer.status in (401, 403):
        raise RefusedError(what, where=url, hint="it asks for a login, or the login has no right to it")
    raise FetchError(what, where=url)


@dataclass(frozen=True, slots=True)
class Found:
    """A post on a page: its id, and how its whole thread is asked for (None: it is no part of a document)."""

    id: str
    thread: Callable[[], Thread | None]


@dataclass(frozen=True, slots=True)
class Page:
    """What a page held, and the cursor of the next: a JSON value, None at the end. ``note``: why it ends early."""

    found: Sequence[Found]
    following: Any
    note: str | None = None


class Collector(Protocol):
    """One account, tag, group or list of a network; ``name`` stands in reports."""

    name: str
    api: Api

    def page(self, cursor: Any) -> Page:
        """The page at ``cursor``; the first where it is None."""
        ...


def recent(created: Any, since: datetime | None) -> bool:
    """Whether a post is not older than ``since``; one without a time is taken."""
    when = moment(created)
    return since is None or when is None or when >= since


def capped(posts: list[Post], most: int) -> tuple[list[Post], int]:
    """The first ``most`` posts, and how many more there are."""
    return posts[:most], max(0, len(posts) - most)


class Journal:
    """What was collected from one place, kept so that a killed run goes on where it stopped.

    Each thread is written down with its rows before they are given away, each page's cursor after its threads: what
    was seen twice is known by its id, and nothing lies between two pages. Without a folder nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self.cursor: Any = None
        self.ended = False
        self.tally = Tally()
        self.notes: dict[str, str] = {}
        self._seen: set[str] = set()
        self._log: AppendLog | None = None
        if path is not None:
            from lamina.kit.append_log import AppendLog

            self._log = AppendLog(path)

    def replay(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of each thread of earlier runs; at the end of them ``cursor`` stands where those stopped."""
        for payload in self._log or ():
            entry = orjson.loads(payload)
            self._note(entry)
            yield entry["rows"]

    def __contains__(self, id: str) -> bool:
        return id in self._seen

    def thread(
        self,
        ids: Sequence[str],
        rows: Sequence[Mapping[str, Any]] = (),
        tally: Tally | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """These posts are done: their thread gave ``rows``."""
        counts = [tally.gone, tally.short, tally.left] if tally else [0, 0, 0]
        self._write({"ids": ids, "rows": rows, "tally": counts, "notes": notes or {}})

    def page(self, cursor: Any, *, note: tuple[str, str] | None = None) -> None:
        """A page is done: the next is at ``cursor``; None: there is none."""
        notes = dict([note]) if note else {}
        self._write({"ids": [], "rows": [], "tally": [0, 0, 0], "notes": notes, "page": [cursor]})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.append(orjson.dumps(entry, default=str))
        self._note(entry)

    def _note(self, entry: Mapping[str, Any]) -> None:
        self._seen.update(entry["ids"])
        self.notes |= entry["notes"]
        for name, count in zip(("gone", "short", "left"), entry["tally"], strict=True):
            setattr(self.tally, name, getattr(self.tally, name) + count)
        if "page" in entry:
            self.cursor = entry["page"][0]
            self.ended = self.cursor is None

    def close(self) -> None:
        """Give the file back."""
        if self._log is not None:
            self._log.close()
