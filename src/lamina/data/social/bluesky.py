"""Bluesky: the posts of an account, or a search, each with its thread, from the public interface (XRPC).

https://docs.bsky.app/docs/category/http-reference: pages by a cursor, 100 posts each. A search wants a login, whose
handle and app password the environment holds. Reposts are left out; so are posts of people who ask to be shown to
nobody that is not signed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from lamina.data.readers.posts import Post, text_of
from lamina.data.social.paging import Api, Found, GoneError, Page, capped, posted, recent
from lamina.data.social.threads import Thread, known_as, ordered
from lamina.kit.errors import ConfigError, FetchError
from lamina.kit.fetch import Fetcher
from lamina.kit.identity import blake3_hex

DELAY_S = 0.2
BASE = "https://public.api.bsky.app"
LOGIN_BASE = "https://bsky.social"
_HANDLE = re.compile(r"@?((?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*|did:[a-z]+:[\w.:%-]+)")
_URI = re.compile(r"at://([^/]+)/app\.bsky\.feed\.post/([\w.~:-]+)")
_SIGNED_IN = "!no-unauthenticated"


@dataclass(frozen=True, slots=True)
class Place:
    """An account (handle or DID), or what is searched for."""

    actor: str | None = None
    search: str | None = None


def place(text: str) -> Place:
    """``name.bsky.social``, ``did:plc:…``, ``#tag`` or ``search:words``; ``ConfigError`` for anything else.

    >>> place("@grane.example.org"), place("search:whale oil")
    (Place(actor='grane.example.org', search=None), Place(actor=None, search='whale oil'))
    """
    bare = text.strip()
    if bare.startswith("#") and len(bare) > 1:
        return Place(search=bare)
    if bare.startswith("search:") and bare[7:].strip():
        return Place(search=bare[7:].strip())
    match = _HANDLE.fullmatch(bare)
    if match is None:
        raise ConfigError(f"'{text}' is no place of Bluesky", where="bluesky", hint='"handle", "#tag", "search:words"')
    return Place(actor=match[1])


def login(fetcher: Fetcher, base: str, handle: str, password: str) -> dict[str, str]:
    """The headers of a new session."""
    body = orjson.dumps({"identifier": handle, "password": password})
    url = f"{base.rstrip('/')}/xrpc/com.atproto.server.createSession"
    token = posted(fetcher, url, body, {"Content-Type": "application/json"}).get("accessJwt")
    if not isinstance(token, str):
        raise FetchError("the login's answer holds no token", where=url)
    return {"Authorization": f"Bearer {token}"}


class Bluesky:
    """Collects one place; ``opted_out``: whether posts for signed-in people are taken all the same."""

    def __init__(
        self, api: Api, place: Place, *, since: datetime | None, opted_out: bool = False, max_posts: int = 1000
    ) -> None:
        self.api, self._place, self._since = api, place, since
        self._opted_out, self._max_posts = opted_out, max_posts
        self.name = f"bluesky {place.actor or place.search}"

    def page(self, cursor: Any) -> Page:
        """Up to 100 posts, the newest first; the cursor is the server's own."""
        if self._place.search is None:
            path, name = "/xrpc/app.bsky.feed.getAuthorFeed", "feed"
            mine = {"actor": self._place.actor, "filter": "posts_with_replies"}
        else:
            path, name = "/xrpc/app.bsky.feed.searchPosts", "posts"
            mine = {"q": self._place.search, "sort": "latest"}
        value = self.api.get(path, dict, limit=100, cursor=cursor, **mine).value
        listed = value.get(name)
        entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        views = [entry.get("post") if name == "feed" else entry for entry in entries if not _repost(entry)]
        posts = [view for view in views if isinstance(view, dict) and _uri(view)]
        wanted = [view for view in posts if recent(_record(view).get("createdAt"), self._since)]
        following = value.get("cursor")
        if not isinstance(following, str) or not following or (posts and not wanted):
            following = None
        return Page([Found(_uri(view), partial(self._thread, view)) for view in wanted], following)

    def _thread(self, view: Mapping[str, Any]) -> Thread | None:
        root = _root(view) or _uri(view)
        views: list[Mapping[str, Any] | None] = [view]
        if root != _uri(view) or view.get("replyCount") != 0:
            views = self._tree(root) or (self._tree(_uri(view)) if root != _uri(view) else [])
        if not views or views[0] is None:
            raise GoneError("the thread's first post is deleted, or not to be seen", where=root)
        posts = [self._post(found) for found in views]
        first, mine = posts[0], {post.id for post in posts}
        if _uri(view) not in mine:
            posts.append(self._post(view))
        posts, left = capped(ordered(posts, first), self._max_posts)
        labelled = any(_labels(found) - {_SIGNED_IN} for found in views if found)
        return Thread(
            key=f"bluesky/{blake3_hex(first.id or root)[:20]}",
            posts=posts,
            known=known_as(post.author for post in posts),
            facts={"network": "bluesky"} | ({"sensitive": True} if labelled else {}),
            channel=False,
            left=left,
        )

    def _tree(self, uri: str) -> list[Mapping[str, Any] | None]:
        """The posts under ``uri``, itself first; None stands for one that is deleted or blocked; empty: it is gone."""
        try:
            value = self.api.get("/xrpc/app.bsky.feed.getPostThread", dict, uri=uri, depth=1000, parentHeight=0).value
        except GoneError:
            return []
        found: list[Mapping[str, Any] | None] = []
        waiting = [value.get("thread")]
        while waiting:  # threads are deeper than a call stack
            node = waiting.pop()
            if not isinstance(node, dict):
                continue
            view = node.get("post")
            if not isinstance(view, dict) or not _uri(view):  # notFoundPost, blockedPost
                if not found:
                    return []
                found.append(None)
                continue
            found.append(view)
            replies = node.get("replies")
            waiting += reversed(replies) if isinstance(replies, list) else ()
        return found

    def _post(self, view: Mapping[str, Any] | None) -> Post:
        if view is None:
            return Post(id=None, parent=None, text=None)
        refused = not self._opted_out and _SIGNED_IN in _labels(view.get("author"))
        return replace(post_of_view(view), text=None) if refused else post_of_view(view)


def is_view(record: Any) -> bool:
    """Whether a record is a post of Bluesky's with its address, as its interface and its exports write them."""
    inner = record.get("record") if isinstance(record, dict) else None
    return isinstance(inner, dict) and "text" in inner and bool(_uri(record))


def post_of_view(view: Mapping[str, Any]) -> Post:
    """A post with its author and address."""
    record, languages = _record(view), _record(view).get("langs")
    text, mentions = _told(record)
    return Post(
        id=_uri(view),
        parent=_reply(record, "parent"),
        text=text_of(text),
        author=_handle(view.get("author")),
        created=record.get("createdAt") or view.get("indexedAt"),
        url=_address(view),
        language=languages[0] if isinstance(languages, list) and len(languages) == 1 else None,
        mentions=mentions,
    )


def _record(view: Mapping[str, Any]) -> Mapping[str, Any]:
    record = view.get("record")
    return record if isinstance(record, dict) else {}


def _uri(view: Mapping[str, Any]) -> str:
    uri = view.get("uri")
    return uri if isinstance(uri, str) and _URI.fullmatch(uri) else ""


def _reply(record: Mapping[str, Any], side: str) -> str | None:
    reply = record.get("reply")
    target = reply.get(side) if isinstance(reply, dict) else None
    return (_uri(target) or None) if isinstance(target, dict) else None


def _root(view: Mapping[str, Any]) -> str | None:
    return _reply(_record(view), "root")


def _repost(entry: Mapping[str, Any]) -> bool:
    reason = entry.get("reason")
    return isinstance(reason, dict) and "reasonPin" not in str(reason.get("$type"))


def _labels(labelled: Any) -> set[str]:
    """The labels that somebody put on a post or an account, and did not take away again."""
    labels = labelled.get("labels") if isinstance(labelled, dict) else None
    told = [label for label in labels if isinstance(label, dict)] if isinstance(labels, list) else []
    return {str(label.get("val")) for label in told if label.get("neg") is not True}


def _handle(author: Any) -> str | None:
    """A handle; the DID of an account whose handle does not hold any more."""
    if not isinstance(author, dict):
        return None
    handle, did = author.get("handle"), author.get("did")
    if isinstance(handle, str) and handle and handle != "handle.invalid":
        return handle.lower()
    return did if isinstance(did, str) else None


def _address(view: Mapping[str, Any]) -> str | None:
    match = _URI.fullmatch(_uri(view))
    return f"https://bsky.app/profile/{match[1]}/post/{match[2]}" if match else None


def _told(record: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The text with shortened links written out, and the handles that it names; facets count bytes of UTF-8."""
    text = record.get("text")
    if not isinstance(text, str):
        return None, ()
    data, mentions = text.encode(errors="replace"), []
    pieces, place = [], 0
    for start, end, feature in sorted(_facets(record), key=lambda facet: facet[:2]):
        if start < place or end > len(data):
            continue
        shown = data[start:end].decode(errors="replace")
        if isinstance(feature.get("did"), str) and shown.startswith("@"):
            mentions.append(shown[1:].lower())
            pieces += [data[place:start], b"@" + shown[1:].lower().encode()]
        elif isinstance(feature.get("uri"), str) and shown.endswith(("...", "…")):
            pieces += [data[place:start], feature["uri"].encode(errors="replace")]
        else:
            continue
        place = end
    return b"".join([*pieces, data[place:]]).decode(errors="replace"), tuple(mentions)


def _facets(record: Mapping[str, Any]) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
    facets = record.get("facets")
    for facet in facets if isinstance(facets, list) else ():
        index = facet.get("index") if isinstance(facet, dict) else None
        features = facet.get("features") if isinstance(facet, dict) else None
        if not isinstance(index, dict) or not isinstance(features, list) or not features:
            continue
        start, end = index.get("byteStart"), index.get("byteEnd")
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end and isinstance(features[0], dict):
            yield start, end, features[0]
