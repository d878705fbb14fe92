"""Bluesky's XRPC, as far as it is asked: feeds and searches with cursors, nested threads, sessions that run out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from server_base import Answer, Clock, Request, Server


class BlueskyServer(Server):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.posts: dict[str, dict[str, Any]] = {}
        self.gone: set[str] = set()
        self.blocked: set[str] = set()
        self.reposts: list[str] = []
        self.password = "abcd-efgh"
        self.token = 0
        self.uses = 10**9  # requests that a session lasts for
        self.page = 100
        self.circle = False

    def uri(self, key: str, who: str) -> str:
        return f"at://did:plc:{who.partition('.')[0]}/app.bsky.feed.post/{key}"

    def post(self, key: str, who: str, text: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
        uri = self.uri(key, who)
        made = datetime.fromtimestamp(1_700_000_000 + len(self.posts) * 60, UTC).isoformat().replace("+00:00", "Z")
        record: dict[str, Any] = {"$type": "app.bsky.feed.post", "text": text, "createdAt": made, "langs": ["en"]}
        if parent:
            above = self.posts[parent]["record"].get("reply")
            record["reply"] = {
                "root": above["root"] if above else {"uri": parent, "cid": "b"},
                "parent": {"uri": parent},
            }
        labels = more.pop("author_labels", [])
        author = {"did": f"did:plc:{who.partition('.')[0]}", "handle": who, "labels": labels, "viewer": {}}
        self.posts[uri] = {"uri": uri, "cid": "bafy", "author": author, "record": record | more, "labels": []}
        return self.posts[uri]

    def limits(self) -> dict[str, str]:
        left = str(max(0, self.left))
        return {
            "RateLimit-Limit": str(self.window),
            "RateLimit-Remaining": left,
            "RateLimit-Reset": str(int(self.resets)),
        }

    def answer(self, request: Request) -> Answer:
        method = request.path.rsplit(".", 1)[-1]
        if method == "createSession":
            told = json.loads(request.body)
            if request.method != "POST" or told.get("password") != self.password:
                return 401, {}, {"error": "AuthenticationRequired", "message": "Invalid identifier or password"}
            self.token += 1
            return 200, {}, {"accessJwt": f"token-{self.token}", "refreshJwt": "r", "did": "did:plc:me"}
        if method == "getAuthorFeed":
            mine = [p for p in self.posts.values() if p["author"]["handle"] == request.query.get("actor")]
            items: list[dict[str, Any]] = [{"post": self._view(p)} for p in mine if p["uri"] not in self.gone]
            reason = {"$type": "app.bsky.feed.defs#reasonRepost"}
            items += [{"post": self._view(self.posts[uri]), "reason": reason} for uri in self.reposts]
            return self._page(request, items, "feed")
        if method == "searchPosts":
            if request.headers.get("authorization") != f"Bearer token-{self.token}":
                return 401, {}, {"error": "AuthMissing", "message": "Authentication Required"}
            self.uses -= 1
            if self.uses < 0:
                self.uses = 10**9
                return 400, {}, {"error": "ExpiredToken", "message": "Token has expired"}
            found = [self._view(p) for p in self.posts.values() if request.query["q"] in p["record"]["text"]]
            return self._page(request, found, "posts")
        if method == "getPostThread":
            uri = request.query["uri"]
            if uri not in self.posts or uri in self.gone:
                return 400, {}, {"error": "NotFound", "message": f"Post not found: {uri}"}
            return 200, {}, {"thread": self._node(uri), "threadgate": {}}
        return 501, {}, {"error": "MethodNotImplemented"}

    def _page(self, request: Request, items: list[dict[str, Any]], name: str) -> Answer:
        items = items[::-1]
        start = int(request.query.get("cursor", 0))
        size = min(self.page, int(request.query.get("limit", 50)))
        told: dict[str, Any] = {name: items[start : start + size]}
        if start + size < len(items):
            told["cursor"] = str(start + size)
        elif self.circle:
            told["cursor"] = "0" if start else str(start + size)
        return 200, {}, told

    def _replies(self, uri: str) -> list[str]:
        return [p["uri"] for p in self.posts.values() if _parent(p) == uri]

    def _view(self, post: dict[str, Any]) -> dict[str, Any]:
        return post | {"replyCount": len(self._replies(post["uri"])), "indexedAt": "2024-01-01T00:00:00Z"}

    def _node(self, uri: str) -> dict[str, Any]:
        if uri in self.gone:
            return {"$type": "app.bsky.feed.defs#notFoundPost", "uri": uri, "notFound": True}
        if uri in self.blocked:
            return {"$type": "app.bsky.feed.defs#blockedPost", "uri": uri, "blocked": True, "author": {"did": "d"}}
        node = {"$type": "app.bsky.feed.defs#threadViewPost", "post": self._view(self.posts[uri])}
        return node | {"replies": [self._node(reply) for reply in self._replies(uri)]}


def _parent(post: dict[str, Any]) -> str | None:
    reply = (post["record"] or {}).get("reply")
    return reply["parent"]["uri"] if reply else None
