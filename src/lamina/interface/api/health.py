"""``/health*`` and ``/metrics``."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from lamina.interface.api.context import Context, json_response
from lamina.interface.api.routes import Routes
from lamina.kit.errors import LaminaError


class HealthRoutes:
    """The endpoints, over one context."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_to(self, routes: Routes) -> None:
        """Serve them; health is public, the figures are not."""
        routes.add("GET", "/health", self.ready, scope="public")
        routes.add("GET", "/health/ready", self.ready, scope="public")
        routes.add("GET", "/health/live", self.live, scope="public")
        routes.add("GET", "/metrics", self.metrics, scope="metrics")

    async def live(self, request: Request) -> Response:
        """The process answers."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """There is a champion to ask, and the last write to the store succeeded."""
        problem = "the store failed" if self._context.store_failed else None
        if problem is None:
            try:
                await asyncio.to_thread(self._context.releases.resolve, "")
            except LaminaError:
                problem = "there is no model yet"
        if problem is None:
            return json_response({"status": "ok"})
        return json_response({"status": "unavailable", "reason": problem}, status=503, **{"retry-after": "1"})

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        text = await asyncio.to_thread(generate_latest, self._context.metrics)
        return Response(text, media_type=CONTENT_TYPE_LATEST)
