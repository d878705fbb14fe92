"""Which addresses a crawl goes to: one name for each page, the scope that was asked for, and no traps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, urlsplit

from lamina.data.values import canonical_url
from lamina.kit.errors import ConfigError

_CHARACTERS = 1000
_SEGMENTS = 16
_PARAMETERS = 8
_REPEATS = 3  # of one segment of the path
_YEAR = re.compile(r"(?<!\d)(\d{4})(?!\d)")
_FIRST_YEAR = 1970
_CALENDAR = re.compile(r"(?:^|[^a-z])(?:calendar|agenda|events?|year|month|date|day|week|archive)", re.IGNORECASE)
_NAMED_SCOPES = ("host", "domain", "prefix")


def page_key(url: str) -> str:
    """What addresses of one page have in common: http and https, tracking parameters and fragments don't count.

    >>> page_key("https://Example.org/a?utm_source=x#top") == page_key("http://example.org:80/a")
    True
    """
    return canonical_url(url).partition("://")[2]


def host_of(url: str) -> str:
    """The host, or "" where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def domain_of(url: str) -> str:
    """The registrable domain by the public suffix list, or the host where there is none (an address, a local name).

    >>> domain_of("https://news.example.co.uk/a")
    'example.co.uk'
    """
    from courlan import extract_domain

    host = host_of(url)
    found = (
        extract_domain(f"http://{host}/", fast=False) if "." in host and not host.replace(".", "").isdigit() else None
    )
    return str(found or host)


def trap(url: str) -> str | None:
    """Why ``url`` looks like one of endlessly many, in words; None where it doesn't.

    >>> trap("https://example.org/a/b/a/b/a/b/a/b")
    'the path repeats itself'
    >>> trap("https://example.org/blog/2019/03/hello")
    """
    if len(url) > _CHARACTERS:
        return "the address is very long"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address is malformed"
    segments = [part for part in parts.path.split("/") if part]
    if len(segments) > _SEGMENTS:
        return "the path is very deep"
    repeated = Counter(segments)
    if repeated and max(repeated.values()) > _REPEATS:
        return "the path repeats itself"
    query = parse_qsl(parts.query, keep_blank_values=True)
    if len(query) > _PARAMETERS or len({name for name, _ in query}) < len(query) - 2:
        return "the query has many parameters"
    if _CALENDAR.search(f"{parts.path}?{parts.query}") and (found := _YEAR.findall(f"{parts.path}?{parts.query}")):
        latest = datetime.now(UTC).year + 1
        if any(not _FIRST_YEAR <= int(year) <= latest for year in found):
            return "it is a calendar far from today"
    return None


def shape(url: str) -> str:
    """What is left of an address when its numbers go: pages of one sort have one shape.

    >>> shape("https://example.org/calendar?month=11&year=2031")
    'example.org/calendar?month&year'
    """
    key = page_key(url)
    path, _, query = key.partition("?")
    names = "&".join(sorted({part.partition("=")[0] for part in query.split("&")})) if query else ""
    return re.sub(r"\d+", "0", path) + (f"?{names}" if names else "")


class Scope:
    """Where a crawl may go: the hosts, domains or folders of its first pages, or addresses that match a pattern.

    ``exclude`` and patterns are globs over the whole address: ``https://example.org/docs/*``.
    """

    def __init__(self, scope: str | Sequence[str], exclude: Sequence[str] = ()) -> None:
        if isinstance(scope, str) and scope not in _NAMED_SCOPES and "*" not in scope:
            raise ConfigError(
                f"'{scope}' is no scope", where="scope", hint="host, domain, prefix, or patterns of addresses"
            )
        self._named = scope if isinstance(scope, str) and scope in _NAMED_SCOPES else None
        self._patterns = () if self._named else ((scope,) if isinstance(scope, str) else tuple(scope))
        self._exclude = tuple(exclude)
        self._known: set[str] = set()

    def widen(self, url: str) -> None:
        """``url`` is one of the first pages."""
        if self._named and host_of(url):
            self._known.add(self._name(url))

    def holds(self, url: str) -> bool:
        """Whether a crawl may go to ``url``."""
        if self.excludes(url):
            return False
        if self._patterns:
            return any(fnmatchcase(url, pattern) for pattern in self._patterns)
        if self._named == "prefix":
            key = page_key(url)
            return any(key.startswith(known) for known in self._known)
        return self._name(url) in self._known

    def excludes(self, url: str) -> bool:
        """Whether a pattern of ``exclude`` forbids ``url``, wherever it was found."""
        return any(fnmatchcase(url, pattern) for pattern in self._exclude)

    def _name(self, url: str) -> str:
        if self._named == "prefix":
            return page_key(url).partition("?")[0].rpartition("/")[0] + "/"
        return domain_of(url) if self._named == "domain" else _netloc(url).removeprefix("www.")


def _netloc(url: str) -> str:
    """Host and port, or "" where the address is malformed."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
