"""Mastodon, as far as it is asked: accounts, timelines with Link headers, contexts, 300 requests in five minutes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from server_base import Answer, Clock, Request, Server


class MastodonServer(Server):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.accounts: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, dict[str, Any]] = {}
        self.circle = False  # the Link header leads back to the first page
        self.links = True
        self.page = 40

    def account(self, acct: str, **more: Any) -> dict[str, Any]:
        id = str(900 + len(self.accounts))
        told = {"id": id, "username": acct.partition("@")[0], "acct": acct, "note": "<p>Hi.</p>", "bot": False}
        told |= {"discoverable": True, "noindex": False, "indexable": True, "a_field_of_tomorrow": [1]}
        self.accounts[acct] = told | more
        return self.accounts[acct]

    def status(self, id: int, acct: str, content: str, parent: int | None = None, **more: Any) -> dict[str, Any]:
        account = self.accounts.get(acct) or self.account(acct)
        made = datetime.fromtimestamp(1_700_000_000 + id * 60, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {"id": str(id), "account": account, "content": content, "visibility": "public"}
        told |= {"created_at": made.replace("+00:00", "Z"), "in_reply_to_id": str(parent) if parent else None}
        told |= {"spoiler_text": "", "sensitive": False, "reblog": None, "mentions": [], "language": "en"}
        told |= {"url": f"https://example.social/@{acct}/{id}", "media_attachments": [], "poll": None, "quote": {}}
        self.statuses[str(id)] = told | more
        return self.statuses[str(id)]

    def limits(self) -> dict[str, str]:
        reset = datetime.fromtimestamp(self.resets, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        left = str(max(0, self.left))
        return {"X-RateLimit-Limit": str(self.window), "X-RateLimit-Remaining": left, "X-RateLimit-Reset": reset}

    def answer(self, request: Request) -> Answer:
        parts = request.path.strip("/").split("/")[2:]
        if parts[:2] == ["accounts", "lookup"]:
            found = self.accounts.get(request.query.get("acct", ""))
            return (200, {}, found) if found else (404, {}, {"error": "Record not found"})
        if parts[0] == "accounts" and parts[2:] == ["statuses"]:
            return self._page(request, [s for s in self.statuses.values() if s["account"]["id"] == parts[1]])
        if parts[:2] == ["timelines", "public"]:
            return self._page(request, list(self.statuses.values()))
        if parts[:2] == ["timelines", "tag"]:
            return self._page(request, [s for s in self.statuses.values() if f"#{parts[2]}" in s["content"]])
        if parts[0] == "statuses" and parts[2:] == ["context"] and parts[1] in self.statuses:
            return 200, {}, {"ancestors": self._above(parts[1]), "descendants": self._below(parts[1])}
        return 404, {}, {"error": "Record not found"}

    def _page(self, request: Request, statuses: list[dict[str, Any]]) -> Answer:
        limit = min(self.page, int(request.query.get("limit", 20)))
        below = int(request.query.get("max_id", 10**18))
        own = request.query.get("exclude_reblogs") == "true"
        some = sorted(statuses, key=lambda s: -int(s["id"]))
        some = [self._counted(s) for s in some if int(s["id"]) < below and not (own and s["reblog"])][:limit]
        links = []
        base = f"{self.url}{request.path}?limit={limit}"
        if len(some) == limit or self.circle:
            last = 10**10 if self.circle and len(some) < limit else some[-1]["id"]
            links.append(f'<{base}&max_id={last}>; rel="next"')
        if some:
            links.append(f'<{base}&min_id={some[0]["id"]}>; rel="prev"')
        headers = {"Link": ", ".join(links)} if links and self.links else {}
        return 200, headers, some

    def _counted(self, status: dict[str, Any]) -> dict[str, Any]:
        replies = sum(s.get("in_reply_to_id") == status["id"] for s in self.statuses.values())
        return {"replies_count": replies} | status

    def _above(self, id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        here = self.statuses[id].get("in_reply_to_id")
        while here in self.statuses:
            found.insert(0, self._counted(self.statuses[here]))
            here = self.statuses[here].get("in_reply_to_id")
        return found

    def _below(self, id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for status in self.statuses.values():
            if status.get("in_reply_to_id") == id:
                found += [self._counted(status), *self._below(status["id"])]
        return found
