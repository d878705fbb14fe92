"""Reddit: the submissions of a group or a person, each with its tree of comments, through OAuth.

https://www.reddit.com/dev/api: pages by ``after``, 100 submissions each and about 1,000 in all, whatever the group
holds; 100 requests a minute. What a tree leaves out stands in it as ``more``: a list of ids, or a place to go on from.
Dumps of Reddit hold the same objects, so their posts are read here too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from lamina.data.readers.posts import Post, text_of
from lamina.data.social.paging import Api, Found, GoneError, Page, basic, capped, posted, recent
from lamina.data.social.threads import Thread, known_as, ordered
from lamina.kit.errors import ConfigError, FetchError
from lamina.kit.fetch import Fetcher

DELAY_S = 0.7
BASE = "https://oauth.reddit.com"
LOGIN_BASE = "https://www.reddit.com"
LISTING = 1000  # submissions that a listing holds, at most
_FORM = re.compile(r"/?(?P<kind>[ru])/(?P<name>[\w-]{2,50})(?:/(?P<order>new|hot|top|rising))?/?")
_MENTION = re.compile(r"(?<![\w/])/?u/([\w-]{3,30})")
_MORE = 100  # ids that one request may ask for


@dataclass(frozen=True, slots=True)
class Place:
    """A listing: its path, and how it is called."""

    path: str
    name: str


def place(text: str) -> Place:
    """``r/name``, ``r/name/top`` (hot, rising) or ``u/name``; ``ConfigError`` for anything else.

    >>> place("r/lighthouses")
    Place(path='/r/lighthouses/new', name='r/lighthouses')
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or (match["kind"] == "u" and match["order"]):
        raise ConfigError(f"'{text}' is no place of Reddit", where="reddit", hint='"r/name", "r/name/top" or "u/name"')
    if match["kind"] == "u":
        return Place(f"/user/{match['name']}/submitted", f"u/{match['name']}")
    return Place(f"/r/{match['name']}/{match['order'] or 'new'}", text.strip().strip("/"))


def login(fetcher: Fetcher, base: str, client: str, secret: str) -> dict[str, str]:
    """The headers of a session of a program of its own (client credentials, RFC 6749 4.4)."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": basic(client, secret)}
    url = f"{base.rstrip('/')}/api/v1/access_token"
    token = posted(fetcher, url, urlencode({"grant_type": "client_credentials"}).encode(), form).get("access_token")
    if not isinstance(token, str):
        raise FetchError("the login's answer holds no token", where=url)
    return {"Authorization": f"bearer {token}"}


class Reddit:
    """Collects one listing."""

    def __init__(self, api: Api, place: Place, *, since: datetime | None, max_posts: int = 1000) -> None:
        self.api, self._place, self._since, self._max_posts = api, place, since, max_posts
        self.name = f"reddit {place.name}"

    def page(self, cursor: Any) -> Page:
        """Up to 100 submissions; the cursor is the last one's full name, with how many have been listed."""
        after, listed = cursor if isinstance(cursor, list) else (None, 0)
        value = self.api.get(self._place.path, dict, limit=100, after=after, count=listed, raw_json=1, t=self._span())
        data = value.value.get("data")
        things = [_data(child, "t3") for child in _children(data)]
        posts = [thing for thing in things if thing]
        listed += len(posts)
        wanted = [post for post in posts if recent(post.get("created_utc"), self._since)]
        after = data.get("after") if isinstance(data, dict) else None
        in_time = self._place.path.endswith(("/new", "/submitted"))
        if not isinstance(after, str) or (in_time and posts and not wanted):
            return Page([self._found(post) for post in wanted], None, self._capped(listed, after))
        return Page([self._found(post) for post in wanted], [after, listed])

    def _span(self) -> str | None:
        return "all" if self._place.path.endswith("/top") else None

    def _capped(self, listed: int, after: Any) -> str | None:
        if after is not None or listed < LISTING * 0.9:
            return None
        return f"ends after {listed:,} submissions: Reddit lists about {LISTING:,}, older ones cannot be had this way"

    def _found(self, post: Mapping[str, Any]) -> Found:
        return Found(name_of(post), partial(self._thread, post))

    def _thread(self, post: Mapping[str, Any]) -> Thread:
        posts, left = [post_of_reddit(post)], 0
        if post.get("num_comments") != 0:
            found, left = self._comments(str(post["id"]))
            posts += found
        first = posts[0]
        posts, more = capped(ordered(posts, first), self._max_posts)
        facts = {"network": "reddit", "group": post.get("subreddit"), "score": post.get("score")}
        facts |= {"sensitive": True} if post.get("over_18") is True else {}
        facts |= {"link": post["url"]} if post.get("is_self") is False and isinstance(post.get("url"), str) else {}
        return Thread(
            key=f"reddit/{name_of(post)}",
            posts=posts,
            title=text_of(post.get("title")),
            known=known_as(p.author for p in posts),
            facts={name: value for name, value in facts.items() if value is not None},
            channel=False,
            left=left + more,
        )

    def _comments(self, id: str) -> tuple[list[Post], int]:
        """The comments of a submission, as many as are wanted, and how many were left out."""
        reply = self.api.get(f"/comments/{id}", list, limit=500, raw_json=1)
        tree: list[Any] = list(_children(_listing(reply.value, 1)))
        found: dict[str, Post] = {}
        ids: list[str] = []
        places: list[str] = []  # where a branch goes on that was too deep
        left, asked = 0, set()
        while True:
            self._walk(tree, found, ids, places)
            if len(found) >= self._max_posts:
                break
            if ids:
                some, ids = ids[:_MORE], ids[_MORE:]
                tree = self._more(id, some)
            elif places:
                branch = places.pop()
                if branch in asked:  # it leads back to where it began
                    left += 1
                    continue
                asked.add(branch)
                tree = self._branch(id, branch)
            else:
                break
        return list(found.values()), left + len(ids) + len(places)

    def _walk(self, tree: list[Any], found: dict[str, Post], ids: list[str], places: list[str]) -> None:
        """Comments of a tree into ``found``; what it leaves out into ``ids`` and ``places``. Empties ``tree``."""
        while tree:  # trees are deeper than a call stack
            thing = tree.pop()
            comment = _data(thing, "t1")
            if comment:
                found.setdefault(name_of(comment), post_of_reddit(comment))
                tree += _children(_inner(comment.get("replies")))
                continue
            more = _data(thing, "more", id=False)
            if more:
                children = [c for c in more.get("children") or () if isinstance(c, str) and f"t1_{c}" not in found]
                if children:
                    ids += children
                elif isinstance(more.get("parent_id"), str) and more["parent_id"].startswith("t1_"):
                    places.append(more["parent_id"][3:])

    def _more(self, id: str, ids: list[str]) -> list[Any]:
        reply = self.api.get(
            *("/api/morechildren", dict), api_type="json", link_id=f"t3_{id}", children=",".join(ids), raw_json=1
        )
        inner = reply.value.get("json")
        data = inner.get("data") if isinstance(inner, dict) else None
        things = data.get("things") if isinstance(data, dict) else None
        return things if isinstance(things, list) else []

    def _branch(self, id: str, comment: str) -> list[Any]:
        try:
            reply = self.api.get(f"/comments/{id}/_/{comment}", list, limit=500, raw_json=1)
        except GoneError:
            return []
        return list(_children(_listing(reply.value, 1)))


def is_reddit(record: Any) -> bool:
    """Whether a record is a submission or a comment of Reddit, as its interface and its dumps write them."""
    if not isinstance(record, dict) or "created_utc" not in record:
        return False
    return "selftext" in record or ("body" in record and str(record.get("parent_id"))[:3] in ("t1_", "t3_"))


def name_of(record: Mapping[str, Any]) -> str:
    """The full name: comments and submissions number apart."""
    name = record.get("name")
    if isinstance(name, str) and name[:3] in ("t1_", "t3_"):
        return name
    return f"{'t3' if 'body' not in record or 'selftext' in record else 't1'}_{record.get('id')}"


def post_of_reddit(record: Mapping[str, Any]) -> Post:
    """A submission (its title where it has no text of its own) or a comment."""
    name, parent, link = name_of(record), record.get("parent_id"), record.get("link_id")
    title = text_of(record.get("title"))
    body = record.get("selftext") if name.startswith("t3_") else record.get("body")
    text = text_of(body)
    removed = isinstance(body, str) and body.strip() in ("[deleted]", "[removed]", "[deleted by user]")
    author, path = record.get("author"), record.get("permalink")
    return Post(
        id=name,
        parent=parent if isinstance(parent, str) and name.startswith("t1_") else None,
        text=None if removed else text or title,
        title=title,
        author=author if isinstance(author, str) and author not in ("[deleted]", "[removed]") else None,
        created=record.get("created_utc"),
        url=f"https://www.reddit.com{path}" if isinstance(path, str) and path.startswith("/") else None,
        mentions=tuple(_MENTION.findall(text or "")),
        root=link if isinstance(link, str) and name.startswith("t1_") else name,
    )


def _children(data: Any) -> list[Any]:
    children = data.get("children") if isinstance(data, dict) else None
    return children if isinstance(children, list) else []


def _listing(value: list[Any], place: int) -> Any:
    return _inner(value[place]) if len(value) > place else None


def _inner(thing: Any) -> Any:
    """A listing's data; "replies" is an empty string where there are none."""
    return thing.get("data") if isinstance(thing, dict) else None


def _data(thing: Any, kind: str, *, id: bool = True) -> dict[str, Any]:
    """The data of a thing of this kind; empty for another."""
    if not isinstance(thing, dict) or thing.get("kind") != kind or not isinstance(thing.get("data"), dict):
        return {}
    data: dict[str, Any] = thing["data"]
    return data if not id or isinstance(data.get("id"), str) else {}
