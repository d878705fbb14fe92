"""Hacker News: stories with their trees of comments, from the interface at Firebase, one item a request.

https://github.com/HackerNews/API: no login, no stated limit of requests; texts are HTML; what is deleted or dead has
fields missing, what is not there is ``null``. Dumps (BigQuery) hold the same items, so their posts are read here too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from lamina.data.readers.posts import Post, text_of
from lamina.data.social.paging import Api, Found, GoneError, Page, recent
from lamina.data.social.threads import Thread, known_as, ordered
from lamina.kit.errors import ConfigError

DELAY_S = 0.1
BASE = "https://hacker-news.firebaseio.com"
_LISTS = ("top", "new", "best", "ask", "show", "job")
_USER = re.compile(r"[\w-]{2,15}")
_PAGE = 30  # items
_UP = 500  # comments above a comment
_TYPES = ("story", "comment", "job", "poll", "pollopt")
_ROOTS = ("story", "job", "poll")


@dataclass(frozen=True, slots=True)
class Place:
    """A list, everything (``all``), a person or one item."""

    kind: str  # "list", "all", "user" or "item"
    name: str


def place(text: str) -> Place:
    """``top`` (new, best, ask, show, job), ``all``, ``item:ID``, or a person: ``pg`` or ``user:top``.

    >>> place("top"), place("pg"), place("item:8863")
    (Place(kind='list', name='top'), Place(kind='user', name='pg'), Place(kind='item', name='8863'))
    """
    bare = text.strip()
    kind, colon, name = bare.partition(":")
    if bare in _LISTS:
        return Place("list", bare)
    if bare == "all":
        return Place("all", bare)
    if kind == "item" and name.isascii() and name.isdigit():
        return Place("item", name)
    user = name if colon and kind == "user" else bare
    if _USER.fullmatch(user):
        return Place("user", user)
    hint = f'{", ".join(_LISTS)}, "all", a user\'s name, or "item:ID"'
    raise ConfigError(f"'{text}' is no place of Hacker News", where="hackernews", hint=hint)


class HackerNews:
    """Collects one place. ``all`` walks down from the newest item; a comment comes with its story."""

    def __init__(self, api: Api, place: Place, *, since: datetime | None, max_posts: int = 1000) -> None:
        self.api, self._place, self._since, self._max_posts = api, place, since, max_posts
        self.name = f"hackernews {place.name}"
        self._old = False  # an item older than wanted was seen

    def page(self, cursor: Any) -> Page:
        """Some thirty items; the cursor is the ids that are left, or in ``all`` the next id."""
        if self._old:
            return Page([], None)
        if self._place.kind == "all":
            top = cursor if isinstance(cursor, int) else self.api.get("/v0/maxitem.json", int).value
            ids, following = list(range(top, max(0, top - _PAGE), -1)), max(0, top - _PAGE) or None
            return Page([Found(str(id), partial(self._thread, id, climb=False)) for id in ids], following)
        left = cursor if isinstance(cursor, list) else self._ids()
        ids, rest = left[:_PAGE], left[_PAGE:]
        return Page([Found(str(id), partial(self._thread, id, climb=True)) for id in ids], rest or None)

    def _ids(self) -> list[int]:
        if self._place.kind == "item":
            return [int(self._place.name)]
        if self._place.kind == "list":
            found = self.api.get(f"/v0/{self._place.name}stories.json", list).value
        else:
            user = self.api.get(f"/v0/user/{quote(self._place.name)}.json", (dict, type(None))).value
            if user is None:
                raise GoneError("nobody has this name", where=self.name)
            found = user.get("submitted") or []
        return [id for id in found if isinstance(id, int)]

    def _item(self, id: int) -> dict[str, Any] | None:
        value = self.api.get(f"/v0/item/{id}.json", (dict, type(None))).value
        return value if value and isinstance(value.get("id"), int) else None

    def _thread(self, id: int, *, climb: bool) -> Thread | None:
        item = self._item(id)
        if item is None:
            raise GoneError("the item is not there", where=f"{self.name}, item {id}")
        if not recent(item.get("time"), self._since):
            self._old = self._place.kind in ("all", "user")  # there the newest come first
            return None
        for _ in range(_UP):
            if item is None or item.get("type") != "comment" or not climb:
                break
            parent = item.get("parent")
            item = self._item(parent) if isinstance(parent, int) else None
        if item is None or item.get("type") not in _ROOTS:
            return None
        return self._tree(item)

    def _tree(self, item: dict[str, Any]) -> Thread:
        """The story with all below it, level by level, as far as ``max_posts`` goes."""
        first = post_of_item(item)
        posts, seen = [first], {item["id"]}
        waiting = deque(_ints(item.get("parts")) + _ints(item.get("kids")))
        while waiting and len(posts) < self._max_posts:
            id = waiting.popleft()
            if id in seen:
                continue
            seen.add(id)
            found = self._item(id)
            posts.append(post_of_item(found) if found else Post(id=str(id), parent=None, text=None))
            waiting.extend(_ints(found.get("kids")) if found else ())
        facts = {"network": "hackernews", "score": item.get("score"), "link": item.get("url")}
        return Thread(
            key=f"hackernews/{item['id']}",
            posts=ordered(posts, first),
            title=first.title,
            known=known_as(post.author for post in posts),
            facts={name: value for name, value in facts.items() if value is not None},
            channel=False,
            left=len(waiting),
        )


def is_item(record: Any) -> bool:
    """Whether a record is an item of Hacker News, as its interface and its dumps write them."""
    return isinstance(record, dict) and record.get("type") in _TYPES and "by" in record and "time" in record


def post_of_item(record: Mapping[str, Any]) -> Post:
    """A story (its title where it has no text of its own), a comment, a poll or one of its options."""
    id, title, parent = str(record.get("id")), text_of(record.get("title")), record.get("parent") or record.get("poll")
    gone = any(record.get(sign) in (True, "true", "True", 1, "1") for sign in ("deleted", "dead"))
    by = record.get("by") or record.get("author")
    return Post(
        id=id,
        parent=str(parent) if isinstance(parent, str | int) and not isinstance(parent, bool) else None,
        text=None if gone else text_of(record.get("text")) or title,
        title=title,
        author=by if isinstance(by, str) else None,
        created=record.get("time") or record.get("timestamp"),
        url=f"https://news.ycombinator.com/item?id={id}",
    )


def _ints(values: Any) -> list[int]:
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool)] if isinstance(values, list) else []
