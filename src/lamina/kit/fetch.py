"""The only fetcher of web pages: polite (RFC 9309, delays, Retry-After), frugal (conditional GET) and guarded.

    with Fetcher(user_agent="pequod-bot/1.0 (+https://example.org/bot)", cache=folder) as fetcher:
        page = fetcher.get("https://example.org/")

Every hop of a redirect is checked anew: scheme, host, robots.txt, and the address that is connected to.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType

import httpx
from blake3 import blake3

from lamina.kit import exchange
from lamina.kit.addresses import Guard, canonical
from lamina.kit.decompress import accepted
from lamina.kit.durable import atomic_write
from lamina.kit.errors import FetchError
from lamina.kit.exchange import Answer, Exchange, Resolve
from lamina.kit.robots import LIMIT as ROBOTS_BYTES
from lamina.kit.robots import Robots

_REDIRECTS = 10
_ATTEMPTS = 3
_PATIENCE_S = 60.0  # a longer Retry-After is an error, and the host is left alone until then
_BACKOFF_S = 2.0
_BUSY = (429, 502, 503, 504)
_SIGNALS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer of 2xx. ``url`` is where it was found in the end; header names are in lower case.

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
    ``timeout_s`` for a whole exchange; ``allow_private`` names addresses, networks or hosts of an intranet.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        cache: Path | None = None,
        delay_s: float = 1.0,
        max_bytes: int = 20 * 1024 * 1024,
        timeout_s: float = 30.0,
        allow_private: Sequence[str] = (),
        resolve: Resolve = exchange.resolve,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": accepted()}
        self._cache = PageCache(cache) if cache else None
        self._delay_s, self._max_bytes = delay_s, max_bytes
        self._clock, self._sleep = clock, sleep
        self._exchange = Exchange(Guard(allow_private), timeout_s=timeout_s, resolve=resolve)
        self._robots = Robots(user_agent, self._get_robots, clock)
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}  # host: when it may be asked again
        self._closed: dict[str, float] = {}  # host: until when it asked to be left alone

    def get(self, url: str) -> Fetched:
        """Fetch ``url``, following up to ten redirects.

        Raises ``RefusedError`` naming the rule (scheme, address, robots.txt) and ``FetchError`` for an answer of 4xx
        or 5xx, a limit that was passed, or no answer.
        """
        current = canonical(url)
        chain: list[str] = []
        while True:
            chain.append(str(current))
            signal = self._robots.check(current)
            stored = self._cache.load(str(current)) if self._cache else None
            answer = self._ask(current, stored)
            if answer.status == 304 and stored is not None:
                return self._result(current, stored, signal, unchanged=True)
            if 200 <= answer.status < 300:
                if self._cache:
                    self._cache.save(str(current), answer)
                return self._result(current, answer, signal)
            current = self._following(current, answer, chain)

    def close(self) -> None:
        """Close all connections."""
        self._exchange.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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

    def _ask(self, url: httpx.URL, stored: Answer | None) -> Answer:
        """One page, with patience: a busy host is asked again after what it asks for, as often as it is polite."""
        headers = dict(self._headers)
        if stored and "etag" in stored.headers:
            headers["If-None-Match"] = stored.headers["etag"]
        if stored and "last-modified" in stored.headers:
            headers["If-Modified-Since"] = stored.headers["last-modified"]
        pause = 0.0
        for attempt in range(1, _ATTEMPTS + 1):
            self._wait(url)
            answer = self._exchange.get(url, headers, limit=self._max_bytes)
            if answer.status not in _BUSY:
                return answer
            asked = _retry_after(answer.headers.get("retry-after"))
            pause = _BACKOFF_S**attempt if asked is None else asked
            if pause > _PATIENCE_S or attempt == _ATTEMPTS:
                break
            self._sleep(pause)
        with self._lock:
            self._closed[url.host] = self._clock() + pause
        raise FetchError(
            f"answered {answer.status} and asks to wait {pause:.0f} s",
            where=str(url),
            hint="its host is left alone until then",
        )

    def _wait(self, url: httpx.URL) -> None:
        """Until this host may be asked again."""
        delay = max(self._delay_s, self._robots.delay(url))
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
        return self._exchange.get(url, self._headers, limit=ROBOTS_BYTES, truncate=True)

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


class PageCache:
    """Answers with a validator, each in one file: a line of JSON, then the body. A damaged file is as good as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def load(self, url: str) -> Answer | None:
        """What was answered before."""
        try:
            head, _, body = self._place(url).read_bytes().partition(b"\n")
            about = json.loads(head)
            if about["url"] != url or about["blake3"] != blake3(body).hexdigest():
                return None
            return Answer(status=int(about["status"]), headers=dict(about["headers"]), body=body)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, url: str, answer: Answer) -> None:
        """Keep ``answer``, unless the server forbids it or gives nothing to ask by the next time."""
        kept = {"etag", "last-modified"} & answer.headers.keys()
        if not kept or "no-store" in answer.headers.get("cache-control", "").lower():
            return
        about = {"url": url, "status": answer.status, "headers": dict(answer.headers)}
        about["blake3"] = blake3(answer.body).hexdigest()
        atomic_write(self._place(url), json.dumps(about).encode() + b"\n" + answer.body)

    def _place(self, url: str) -> Path:
        name = blake3(url.encode()).hexdigest()[:40]
        return self._folder / name[:2] / name


def _unicode(header: str) -> str:
    """A header's bytes as UTF-8, which is what servers send where they send more than ASCII."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


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
