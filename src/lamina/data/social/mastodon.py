"""Mastodon and what speaks its interface: the public posts of an account, a tag or a server, each with its thread.

https://docs.joinmastodon.org/methods/: pages by the ``Link`` header, 300 requests in five minutes, 40 posts a page.
Boosts are left out; so is what is not public, and what people wrote who ask not to be indexed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from lamina.data.readers.posts import Post, text_of
from lamina.data.social.paging import Api, Found, Page, capped, recent
from lamina.data.social.threads import Thread, known_as, ordered
from lamina.kit.errors import ConfigError, FetchError

DELAY_S = 1.0
_FORM = re.compile(r"(?:@(?P<user>[\w.-]+)|#(?P<tag>\w+)|(?P<line>public|local))@(?P<host>[\w.-]+(?::\d+)?)")
_NEXT = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')
_OPTED_OUT = re.compile(r"#<?(?:span>)?(?:nobot|nobots|noindex|noarchive|noai)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """What is asked for: an account, a tag, or a server's public timeline (``local``: of its own people alone)."""

    host: str
    user: str | None = None
    tag: str | None = None
    local: bool = False


def place(text: str) -> Place:
    """``@user@host``, ``#tag@host``, ``public@host`` or ``local@host``; ``ConfigError`` for anything else.

    >>> place("#lighthouses@example.social")
    Place(host='example.social', user=None, tag='lighthouses', local=False)
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        hint = '"@user@host", "#tag@host", "public@host" or "local@host"'
        raise ConfigError(f"'{text}' is no place of Mastodon", where="mastodon", hint=hint)
    return Place(match["host"].lower(), match["user"], match["tag"], match["line"] == "local")


class Mastodon:
    """Collects one place; ``opted_out``: whether people who ask not to be indexed are taken all the same."""

    def __init__(
        self, api: Api, place: Place, *, since: datetime | None, opted_out: bool = False, max_posts: int = 1000
    ) -> None:
        self.api, self._place, self._since = api, place, since
        self._opted_out, self._max_posts = opted_out, max_posts
        who = f"@{place.user}" if place.user else f"#{place.tag}" if place.tag else "local" if place.local else "public"
        self.name = f"mastodon {who}@{place.host}"
        self._path: str | None = None

    def page(self, cursor: Any) -> Page:
        """Up to 40 posts, the newest first; the cursor is the id before which the next page begins."""
        if self._path is None:
            self._path = self._timeline()
        mine = True if self._place.user else None
        reply = self.api.get(
            *(self._path, list), limit=40, max_id=cursor, exclude_reblogs=mine, local=self._place.local or None
        )
        statuses = [status for status in reply.value if isinstance(status, dict) and _id(status)]
        wanted = [s for s in statuses if not s.get("reblog") and recent(s.get("created_at"), self._since)]
        old = bool(statuses) and not any(recent(s.get("created_at"), self._since) for s in statuses)
        following = None if old else _following(reply.headers, statuses)
        return Page([Found(_id(s), partial(self._thread, s)) for s in wanted], following)

    def _timeline(self) -> str:
        if self._place.tag:
            return f"/api/v1/timelines/tag/{quote(self._place.tag)}"
        if not self._place.user:
            return "/api/v1/timelines/public"
        account = self.api.get("/api/v1/accounts/lookup", dict, acct=self._place.user).value
        if not _id(account):
            raise FetchError("the account has no id", where=self.name)
        if not self._opted_out and _refuses(account):
            hint = "opted_out = true takes it all the same: ask the one whose account it is"
            raise ConfigError("this account asks not to be indexed", where=self.name, hint=hint)
        return f"/api/v1/accounts/{quote(_id(account), safe='')}/statuses"

    def _thread(self, status: Mapping[str, Any]) -> Thread | None:
        """The whole thread of a post, from its first post on, as far as the server shows it."""
        first, rest = dict(status), []
        if status.get("in_reply_to_id"):
            before = self._context(status, "ancestors")
            first = dict(before[0]) if before else first
            rest = [*before[1:], dict(status)] if before else []
        if first.get("replies_count") != 0 or rest:
            rest += self._context(first, "descendants")
        statuses: dict[str, Mapping[str, Any]] = {}
        for found in (first, *rest):
            statuses.setdefault(_id(found), found)
        shown = [s for s in statuses.values() if s.get("visibility", "public") == "public"]
        posts = [self._post(s) for s in shown]
        if not shown or shown[0] is not first:
            return None
        posts, left = capped(ordered(posts, posts[0]), self._max_posts)
        stated = first.get("replies_count")
        facts: dict[str, Any] = {"network": "mastodon", "content_warning": text_of(first.get("spoiler_text"))}
        facts |= {"sensitive": True} if any(s.get("sensitive") is True for s in shown) else {}
        facts |= {"replies": stated} if isinstance(stated, int) else {}
        return Thread(
            key=f"mastodon/{self._place.host}/{_id(first)}",
            posts=posts,
            known=known_as(post.author for post in posts),
            facts={name: value for name, value in facts.items() if value is not None},
            rights=_rights(first.get("account")),
            channel=False,
            left=left,
        )

    def _context(self, status: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
        value = self.api.get(f"/api/v1/statuses/{quote(_id(status), safe='')}/context", dict).value
        found = value.get(side)
        return [s for s in found if isinstance(s, dict) and _id(s)] if isinstance(found, list) else []

    def _post(self, status: Mapping[str, Any]) -> Post:
        account = status.get("account")
        refused = not self._opted_out and _refuses(account)
        text = text_of(status.get("content"))
        options = "\n".join(f"- {option}" for option in _options(status.get("poll")))
        said = "\n".join(part for part in (text, options) if part)
        return Post(
            id=_id(status),
            parent=_id(status, "in_reply_to_id") or None,
            text=None if refused else said or None,
            author=self._name(account),
            created=status.get("created_at"),
            url=_address(status),
            language=status.get("language") if isinstance(status.get("language"), str) else None,
            mentions=tuple(name for name in map(self._name, _list(status.get("mentions"))) if name),
        )

    def _name(self, account: Any) -> str | None:
        """A whole name: people of the server that is asked are named without its host."""
        acct = account.get("acct") if isinstance(account, Mapping) else None
        if not isinstance(acct, str) or not acct:
            return None
        return acct if "@" in acct else f"{acct}@{self._place.host}"


def _id(status: Mapping[str, Any], name: str = "id") -> str:
    value = status.get(name)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _options(poll: Any) -> Iterator[str]:
    for option in _list(poll.get("options")) if isinstance(poll, Mapping) else ():
        if isinstance(option, Mapping) and isinstance(option.get("title"), str):
            yield option["title"]


def _address(status: Mapping[str, Any]) -> str | None:
    url = status.get("url") or status.get("uri")
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None


def _following(headers: Mapping[str, str], statuses: Sequence[Mapping[str, Any]]) -> str | None:
    """Where the next page begins: what the header says; behind the last post where a proxy took the header away.

    The header's address is not followed, its ``max_id`` is: who answers shall not choose whom we ask.
    """
    link = _NEXT.search(headers.get("link", ""))
    if link:
        return next(iter(parse_qs(urlsplit(link[1]).query).get("max_id", ())), None)
    return _id(statuses[-1]) if statuses and "link" not in headers else None


def _refuses(account: Any) -> bool:
    if not isinstance(account, Mapping):
        return False
    note = account.get("note")
    said = isinstance(note, str) and _OPTED_OUT.search(note) is not None
    return said or account.get("noindex") is True or account.get("discoverable") is False


def _rights(account: Any) -> str | None:
    """What an account says of its being found."""
    if not isinstance(account, Mapping):
        return None
    said = [(name, account.get(name)) for name in ("noindex", "discoverable", "indexable")]
    return "; ".join(f"mastodon {name}: {str(v).lower()}" for name, v in said if isinstance(v, bool)) or None
