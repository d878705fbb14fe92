"""Hacker News at Firebase, as far as it is asked: items, lists, people, the highest id; ``null`` for what is gone."""

from __future__ import annotations

from typing import Any

from server_base import Answer, Clock, Request, Server


class HackerNewsServer(Server):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.window = self.left = 10**9
        self.items: dict[int, dict[str, Any]] = {}
        self.top: list[int] = []
        self.users: dict[str, dict[str, Any]] = {}

    def item(self, id: int, kind: str, by: str | None, parent: int | None = None, **more: Any) -> None:
        told: dict[str, Any] = {"id": id, "type": kind, "time": 1_700_000_000 + id * 60}
        told |= {"by": by} if by else {}
        if parent:
            told["parent"] = parent
            self.items[parent].setdefault("kids", []).insert(0, id)
        self.items[id] = told | more

    def answer(self, request: Request) -> Answer:
        _, version, kind, *rest = request.path.removesuffix(".json").split("/")
        assert version == "v0"
        if kind == "maxitem":
            return 200, {}, max(self.items)
        if kind == "item":
            return 200, {}, self.items.get(int(rest[0]))
        if kind == "user":
            return 200, {}, self.users.get(rest[0])
        return 200, {}, self.top if kind == "topstories" else []
