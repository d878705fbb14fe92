"""Stored answers, made again: for whoever must show that an answer was the model's."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from lamina.interface.api.context import Context, json_response
from lamina.interface.api.routes import Routes


class ReplayRoutes:
    """The endpoint, over one context; none where nothing can be made again."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_to(self, routes: Routes) -> None:
        """Serve it."""
        if self._context.replays is not None:
            routes.add("POST", "/v1/replay/{id}", self.replay, scope="admin")

    async def replay(self, request: Request, id: str) -> Response:
        """Answer the request behind an answer again; whether it is the same, and where it first differs."""
        assert self._context.replays is not None  # else there is no route
        found = await self._context.replays.replay(id)
        return json_response({"identical": found.identical, **asdict(found)})
