"""robots.txt as RFC 9309 has it: absent (4xx) allows all, unreachable (5xx, no answer) allows nothing.

Kept for a day at most. What a site says beyond it (Content-Signal, Content-Usage) is carried along as it stands.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import httpx
from protego import Protego

from lamina.kit.addresses import canonical
from lamina.kit.errors import FetchError, RefusedError
from lamina.kit.exchange import Answer

LIMIT = 512 * 1024  # bytes that are parsed; RFC 9309 asks for at least 500 KiB
_REDIRECTS = 5
_DAY_S = 24 * 3600.0
_RETRY_S = 600.0  # an unreachable file is asked for again after this
_MAX_DELAY_S = 60.0
_COLLECTORS = (
    *("GPTBot", "CCBot", "Google-Extended", "ClaudeBot", "anthropic-ai", "Applebot-Extended", "Bytespider"),
    *("meta-externalagent", "Amazonbot", "cohere-ai", "PerplexityBot", "AI2Bot", "Diffbot"),
)
_SIGNAL = re.compile(r"^[ \t]*(content-(?:signal|usage))[ \t]*:[ \t]*([^\r\n#]+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a site's robots.txt says to us. ``refusal``: why nothing is allowed, where that is so."""

    parsed: Protego | None
    refusal: str | None
    signal: str | None
    until: float
    named: tuple[str, ...] = ()  # robots of language models that it speaks of


class Robots:
    """The rules of sites, fetched when first needed. ``get`` performs one exchange without following redirects."""

    def __init__(self, user_agent: str, get: Callable[[httpx.URL], Answer], clock: Callable[[], float]) -> None:
        self._agent, self._get, self._clock = user_agent, get, clock
        self._known: dict[str, Rules] = {}
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def check(self, url: httpx.URL) -> str | None:
        """Refuse a ``url`` that robots.txt disallows (``RefusedError``); the site's signal, where it has one."""
        rules = self._rules(url)
        if rules.refusal:
            raise RefusedError(rules.refusal, where=str(url))
        if rules.parsed is not None and not rules.parsed.can_fetch(str(url), self._agent):
            raise RefusedError("robots.txt disallows it", where=str(url))
        return "; ".join(filter(None, (rules.signal, self._others(rules, url)))) or None

    @staticmethod
    def _others(rules: Rules, url: httpx.URL) -> str | None:
        """Which robots that collect for language models may not have what we may: a reservation by other means."""
        if rules.parsed is None or not rules.named:
            return None
        out = [agent for agent in rules.named if not rules.parsed.can_fetch(str(url), agent)]
        return f"disallowed: {', '.join(out)}" if out else None

    def delay(self, url: httpx.URL) -> float:
        """Seconds between two fetches that the site asks for, a minute at most."""
        rules = self._rules(url)
        wanted = rules.parsed.crawl_delay(self._agent) if rules.parsed is not None else None
        return min(float(wanted or 0.0), _MAX_DELAY_S)

    def sitemaps(self, url: httpx.URL) -> list[str]:
        """Sitemaps that the site of ``url`` names, 100 at most; ``RefusedError`` where it allows nothing."""
        rules = self._rules(url)
        if rules.refusal:
            raise RefusedError(rules.refusal, where=str(url))
        found = rules.parsed.sitemaps if rules.parsed is not None else ()
        return [str(url.join(address)) for address in islice(found, 100) if len(address) < 2000]

    def _rules(self, url: httpx.URL) -> Rules:
        origin = f"{url.scheme}://{url.netloc.decode()}"
        with self._lock:
            lock = self._locks.setdefault(origin, threading.Lock())
        with lock:
            rules = self._known.get(origin)
            if rules is None or self._clock() >= rules.until:
                rules = self._fetch(canonical(origin + "/robots.txt"))
                self._known[origin] = rules
            return rules

    def _fetch(self, url: httpx.URL) -> Rules:
        first = str(url)
        for hop in range(_REDIRECTS + 1):
            try:
                answer = self._get(url)
                if answer.status not in (301, 302, 303, 307, 308) or "location" not in answer.headers:
                    return self._read(answer, first)
                url = canonical(str(url.join(answer.headers["location"])))
            except RefusedError as error:
                if hop == 0:
                    raise
                return self._closed(f"{first} leads where nothing is fetched: {error.what}")
            except (FetchError, httpx.InvalidURL) as error:
                return self._closed(f"{first} cannot be read, so nothing is allowed: {error}")
        return self._closed(f"{first} redirects more than {_REDIRECTS} times, so nothing is allowed")

    def _read(self, answer: Answer, where: str) -> Rules:
        until = self._clock() + _DAY_S
        if 400 <= answer.status < 500:
            return Rules(parsed=None, refusal=None, signal=None, until=until)
        if not 200 <= answer.status < 300:
            return self._closed(f"{where} answered {answer.status}, so nothing is allowed")
        text = answer.body[:LIMIT].decode("utf-8", "replace").removeprefix("\ufeff")
        found = dict.fromkeys(f"{name.lower()}: {value.strip()}" for name, value in _SIGNAL.findall(text))
        signal = "; ".join(found)[:500] or None
        named = tuple(agent for agent in _COLLECTORS if agent.lower() in text.lower())
        return Rules(parsed=Protego.parse(text), refusal=None, signal=signal, until=until, named=named)

    def _closed(self, reason: str) -> Rules:
        return Rules(parsed=None, refusal=reason, signal=None, until=self._clock() + _RETRY_S)
