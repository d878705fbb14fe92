"""Reddit's OAuth interface, as far as it is asked: a session, listings of 1,000, trees with ``more`` in them."""

from __future__ import annotations

import base64
from typing import Any

from server_base import Answer, Clock, Request, Server


class RedditServer(Server):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.things: dict[str, dict[str, Any]] = {}
        self.token = 0
        self.expire = False
        self.width = 1000  # children of a thing that a tree shows, and levels
        self.depth = 1000
        self.cap = 1000
        self.page = 100

    def submission(self, id: str, author: str, title: str, text: str = "", **more: Any) -> None:
        told = {"id": id, "name": f"t3_{id}", "author": author, "title": title, "selftext": text, "subreddit": "lamps"}
        told |= {"created_utc": 1_700_000_000.0 + len(self.things) * 60, "is_self": True, "over_18": False}
        told |= {"permalink": f"/r/lamps/comments/{id}/x/", "score": 3, "some_new_field": {"a": None}}
        self.things[f"t3_{id}"] = told | more

    def comment(self, id: str, author: str, body: str, parent: str, **more: Any) -> None:
        root = parent if parent.startswith("t3_") else self.things[parent]["link_id"]
        told = {"id": id, "name": f"t1_{id}", "author": author, "body": body, "parent_id": parent, "link_id": root}
        told |= {"created_utc": 1_700_000_000.0 + len(self.things) * 60}
        self.things[f"t1_{id}"] = told | more

    def limits(self) -> dict[str, str]:
        used, left = self.window - self.left, float(max(0, self.left))
        reset = str(int(self.resets - self.clock.time))
        return {"X-Ratelimit-Used": str(used), "X-Ratelimit-Remaining": str(left), "X-Ratelimit-Reset": reset}

    def answer(self, request: Request) -> Answer:
        if request.path == "/api/v1/access_token":
            known = "Basic " + base64.b64encode(b"client:secret").decode()
            if request.headers.get("authorization") != known or b"client_credentials" not in request.body:
                return 401, {}, {"message": "Unauthorized", "error": 401}
            self.token += 1
            return (
                200,
                {},
                {"access_token": f"t{self.token}", "token_type": "bearer", "expires_in": 86400, "scope": "*"},
            )
        if self.expire or request.headers.get("authorization") != f"bearer t{self.token}":
            self.expire = False
            return 401, {}, {"message": "Unauthorized", "error": 401}
        parts = request.path.strip("/").split("/")
        if request.path == "/r/secret/new":
            return 403, {}, {"reason": "private", "message": "Forbidden", "error": 403}
        if request.path in ("/r/lamps/new", "/user/kim/submitted"):
            return self._listing(request)
        if parts[0] == "comments" and f"t3_{parts[1]}" in self.things:
            post = {"kind": "t3", "data": self.things[f"t3_{parts[1]}"]}
            top = [f"t1_{parts[3]}"] if len(parts) == 4 else self._under(f"t3_{parts[1]}")
            tree = self._tree(top, 1, parent=f"t3_{parts[1]}")
            return 200, {}, [_list([post]), _list(tree)]
        if request.path == "/api/morechildren":
            names = [f"t1_{id}" for id in request.query["children"].split(",")]
            flat = _flat(self._tree([n for n in names if n in self.things], 1, request.query["link_id"]))
            return 200, {}, {"json": {"errors": [], "data": {"things": flat}}}
        return 404, {}, {"message": "Not Found", "error": 404}

    def _listing(self, request: Request) -> Answer:
        posts = [t for n, t in self.things.items() if n.startswith("t3_")][::-1][: self.cap]
        names = [t["name"] for t in posts]
        start = names.index(request.query["after"]) + 1 if request.query.get("after") in names else 0
        some = posts[start : start + min(self.page, int(request.query.get("limit", 25)))]
        counts = [sum(t.get("link_id") == p["name"] for t in self.things.values()) for p in some]
        children = [{"kind": "t3", "data": {"num_comments": n} | p} for p, n in zip(some, counts, strict=True)]
        after = some[-1]["name"] if some and start + len(some) < len(posts) else None
        return (
            200,
            {},
            {"kind": "Listing", "data": {"after": after, "before": None, "dist": len(some), "children": children}},
        )

    def _under(self, parent: str) -> list[str]:
        return [n for n, t in self.things.items() if t.get("parent_id") == parent]

    def _tree(self, names: list[str], level: int, parent: str) -> list[dict[str, Any]]:
        """A level of a tree: what is too broad is a list of ids in it, what is too deep a place to go on from."""
        if names and level > self.depth:
            return [{"kind": "more", "data": {"id": "_", "count": 0, "children": [], "parent_id": parent}}]
        shown: list[dict[str, Any]] = []
        for name in names[: self.width]:
            below = self._tree(self._under(name), level + 1, name)
            shown.append({"kind": "t1", "data": self.things[name] | {"replies": _list(below) if below else ""}})
        rest = [name[3:] for name in names[self.width :]]
        if rest:
            shown.append(
                {"kind": "more", "data": {"id": rest[0], "count": len(rest), "children": rest, "parent_id": parent}}
            )
        return shown


def _list(children: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "Listing", "data": {"after": None, "children": children}}


def _flat(tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A tree as ``morechildren`` gives it: every thing beside its parent."""
    found: list[dict[str, Any]] = []
    for thing in tree:
        below = thing["data"].get("replies")
        found.append(
            {
                "kind": thing["kind"],
                "data": {n: v for n, v in thing["data"].items() if n != "replies"} | {"replies": ""},
            }
        )
        found += _flat(below["data"]["children"]) if below else []
    return found
