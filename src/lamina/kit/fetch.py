"""The only fetcher of web pages: polite (RFC 9309, delays, Retry-After), frugal (conditional GET) and guarded.

    with Fetcher(user_agent="pequod-bot/1.0 (+https://example.org/bot)", cache=folder) as fetcher:
        page = fetcher.get("https://example.org/")
    more = fetcher.get("https://api.example.org/v1/posts", headers={"Authorization": f"Bearer {token}"}, api=True)

Every hop of a redirect is checked anew: scheme, host, robots.txt, and the address that is connected to. Headers of the
caller's go to the origin that they were meant for and to no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType

import httpx

from lamina.kit import exchange
from lamina.kit.addresses import Guard, canonical
from lamina.kit.decompress import accepted
from lamina.kit.errors import FetchError, RefusedError
from lamina.kit.exchange import Answer, Exchange, Resolve
from lamina.kit.page_cache import PageCache
from lamina.kit.robots import LIMIT as ROBOTS_BYTES
from lamina.kit.robots import Robots

_REDIRECTS = 10
_ATTEMPTS = 3
_BACKOFF_S = 2.0
_BUSY = (429, 502, 503, 504)
_RESETS = ("x-ratelimit-reset", "ratelimit-reset")
_OURS = frozenset(("host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"))
_EPOCH_S = 10**8  # a reset of more than this is a time, not a number of seconds to wait
_SIGNALS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer of 2xx, or of a status that was asked for. ``url`` is where it was found in the end.

    Header names are in lower case.
    ``robots``: what site and page say of their use (Content-Signal, X-Robots-Tag, TDM reservation); None where nothing.
    ``unchanged``: the server said that the cached body still holds.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    fetched: datetime
    robots: str | None
    unchanged: bool = False


class Fetcher:
    """Fetches one URL after another; may be shared by threads, which then wait for each other's delays.

    ``delay_s`` between two fetches from one host (a longer Crawl-delay wins); ``max_bytes`` of a decoded body;
    ``timeout_s`` for a whole exchange; ``patience_s``: a host that asks to wait longer than this is left alone until
    then, and it is an error; ``allow_private`` names addresses, networks or hosts of an intranet.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        cache: Path | None = None,
        delay_s: float = 1.0,
        max_bytes: int = 20 * 1024 * 1024,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        allow_private: Sequence[str] = (),
        resolve: Resolve = exchange.resolve,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": accepted()}
        self._cache = PageCache(cache) if cache else None
        self._delay_s, self._max_bytes, self._patience_s = delay_s, max_bytes, patience_s
        self._clock, self._sleep = clock, sleep
        self._exchange = Exchange(Guard(allow_private), timeout_s=timeout_s, resolve=resolve)
        self._robots = Robots(user_agent, self._get_robots, clock)
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}  # host: when it may be asked again
        self._closed: dict[str, float] = {}  # host: until when it asked to be left alone

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, api: bool = False, ok: tuple[int, ...] = ()
    ) -> Fetched:
        """Fetch ``url``, following up to ten redirects.

        ``headers`` are sent to the origin of ``url`` alone; ``api``: an interface for programs, which has terms of its
        own, so robots.txt is not asked; ``ok``: statuses beside 2xx that are an answer (404 for "deleted"). Only plain
        pages are cached. Raises ``RefusedError`` naming the rule (scheme, address, robots.txt) and ``FetchError`` for
        another answer of 4xx or 5xx, a limit that was passed, or no answer.
        """
        current = canonical(url)
        own, home = _checked(headers), _origin(current)
        cache = None if api or own else self._cache
        chain: list[str] = []
        while True:
            chain.append(str(current))
            signal = None if api else self._robots.check(current)
            stored = cache.load(str(current)) if cache else None
            sent = self._sent(own if _origin(current) == home else {}) | _conditions(stored)
            answer = self._ask(current, sent, api=api, ok=ok)
            if answer.status == 304 and stored is not None:
                return self._result(current, stored, signal, unchanged=True)
            if 200 <= answer.status < 300 or answer.status in ok:
                if cache and answer.status < 300:
                    cache.save(str(current), answer)
                return self._result(current, answer, signal)
            current = self._following(current, answer, chain)

    def post(
        self,
        url: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        api: bool = True,
        ok: tuple[int, ...] = (),
    ) -> Fetched:
        """Send ``body`` to ``url``, guarded as ``get`` is; a redirect is an error, so the body goes nowhere else."""
        target = canonical(url)
        signal = None if api else self._robots.check(target)
        answer = self._ask(target, self._sent(_checked(headers)), api=api, ok=ok, body=body)
        if not (200 <= answer.status < 300 or answer.status in ok):
            raise FetchError(f"answered {answer.status}", where=str(target))
        return self._result(target, answer, signal)

    def pause(self, host: str) -> float:
        """Seconds until ``host`` may be asked again: its delay, or what it asked for (see ``closed``)."""
        with self._lock:
            return max(0.0, self._next.get(host, 0.0) - self._clock(), self._closed.get(host, 0.0) - self._clock())

    def closed(self, host: str) -> float:
        """Seconds for which ``host`` asked to be left alone; what is fetched from it before is a ``FetchError``."""
        with self._lock:
            return max(0.0, self._closed.get(host, 0.0) - self._clock())

    def sitemaps(self, url: str) -> list[str]:
        """The sitemaps that robots.txt of the site of ``url`` names. Raises as ``get`` does."""
        return self._robots.sitemaps(canonical(url))

    def close(self) -> None:
        """Close all connections."""
        self._exchange.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sent(self, own: Mapping[str, str]) -> dict[str, str]:
        """Our headers and the caller's, which win."""
        named = {name.lower() for name in own}
        return {name: value for name, value in self._headers.items() if name.lower() not in named} | dict(own)

    def _following(self, current: httpx.URL, answer: Answer, chain: list[str]) -> httpx.URL:
        """Where a redirect leads; ``FetchError`` for what is none, a circle, or one hop too many."""
        target = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or not target:
            raise FetchError(f"answered {answer.status}", where=str(current))
        try:
            following = canonical(str(current.join(_unicode(target))))
        except httpx.InvalidURL as error:
            raise FetchError(f"redirects to what is no address: {target[:200]!r}", where=str(current)) from error
        if str(following) in chain or len(chain) > _REDIRECTS:
            shown = " -> ".join([*chain, str(following)])[:1000]
            why = "redirects in a circle" if str(following) in chain else f"redirects more than {_REDIRECTS} times"
            raise FetchError(f"{why}: {shown}", where=chain[0])
        return following

    def _ask(
        self, url: httpx.URL, headers: Mapping[str, str], *, api: bool, ok: tuple[int, ...], body: bytes | None = None
    ) -> Answer:
        """One page, with patience: a busy host is asked again after what it asks for, as often as it is polite."""
        pause = 0.0
        for attempt in range(1, _ATTEMPTS + 1):
            self._wait(url, api=api)
            answer = self._exchange.ask(url, headers, limit=self._max_bytes, body=body, read=ok)
            if answer.status not in _BUSY or answer.status in ok:
                return answer
            asked = _asked(answer)
            pause = _BACKOFF_S**attempt if asked is None else asked
            if pause > self._patience_s or attempt == _ATTEMPTS:
                break
            self._sleep(pause)
        with self._lock:
            self._closed[url.host] = self._clock() + pause
        raise FetchError(
            f"answered {answer.status} and asks to wait {pause:.0f} s",
            where=str(url),
            hint="its host is left alone until then",
        )

    def _wait(self, url: httpx.URL, *, api: bool) -> None:
        """Until this host may be asked again."""
        delay = self._delay_s if api else max(self._delay_s, self._robots.delay(url))
        with self._lock:
            now = self._clock()
            closed = self._closed.get(url.host, 0.0) - now
            if closed > 0:
                raise FetchError(f"its host asked to be left alone for another {closed:.0f} s", where=str(url))
            pause = max(0.0, self._next.get(url.host, now) - now)
            self._next[url.host] = now + pause + delay
        if pause > 0:
            self._sleep(pause)

    def _get_robots(self, url: httpx.URL) -> Answer:
        return self._exchange.ask(url, self._headers, limit=ROBOTS_BYTES, truncate=True)

    def _result(self, url: httpx.URL, answer: Answer, signal: str | None, *, unchanged: bool = False) -> Fetched:
        said = [signal, *(f"{name}: {answer.headers[name]}" for name in _SIGNALS if name in answer.headers)]
        return Fetched(
            url=str(url),
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            fetched=datetime.now(UTC),
            robots="; ".join(s for s in said if s)[:1000] or None,
            unchanged=unchanged,
        )


def _unicode(header: str) -> str:
    """A header's bytes as UTF-8, which is what servers send where they send more than ASCII."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _checked(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's headers, less those that belong to the exchange itself."""
    wrong = [name for name in headers or () if name.lower() in _OURS]
    if wrong:
        raise RefusedError(f"the header {wrong[0]} is the fetcher's own")
    return dict(headers or {})


def _origin(url: httpx.URL) -> tuple[str, bytes]:
    return url.scheme, url.netloc


def _conditions(stored: Answer | None) -> dict[str, str]:
    """What makes a GET conditional on the stored answer (RFC 9110, 13.1)."""
    known = stored.headers if stored else {}
    pairs = (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified"))
    return {condition: known[validator] for condition, validator in pairs if validator in known}


def _asked(answer: Answer) -> float | None:
    """Seconds that a busy host asks us to wait: by Retry-After, or by the end of its window of requests."""
    asked = _retry_after(answer.headers.get("retry-after"))
    if asked is not None or answer.status != 429:
        return asked
    value = next((answer.headers[name].strip() for name in _RESETS if name in answer.headers), "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    if seconds > _EPOCH_S:
        seconds -= datetime.now(UTC).timestamp()
    return max(0.0, seconds) if seconds < _EPOCH_S else None


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number or a date (RFC 9110, 10.2.3); None where it says nothing usable."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(min(int(value.strip()[:9]), 10**8))
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
