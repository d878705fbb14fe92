"""Adapters while the server runs: the routes have vLLM's names and bodies, and need the scope ``admin``."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lamina.contracts.adapters import Adapters, ServedAdapter
from lamina.interface.api.context import Context, json_response
from lamina.interface.api.routes import Routes
from lamina.interface.api.schemas import LoadAdapterRequest, UnloadAdapterRequest, read_body


class AdapterRoutes:
    """The endpoints, over one context; none where the service keeps no adapters."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_to(self, routes: Routes) -> None:
        """Serve them."""
        if self._context.adapters is not None:
            routes.add("POST", "/v1/load_lora_adapter", self.load, scope="admin", body=LoadAdapterRequest)
            routes.add("POST", "/v1/unload_lora_adapter", self.unload, scope="admin", body=UnloadAdapterRequest)

    async def load(self, request: Request) -> Response:
        """Read an adapter; from then on it is a model of that name."""
        body = await read_body(request, LoadAdapterRequest)
        told = await asyncio.to_thread(
            self._adapters.load_adapter, body.lora_name, body.lora_path, replace=body.load_inplace
        )
        return json_response(described(told, self._context.settings.name))

    async def unload(self, request: Request) -> Response:
        """Take no more requests for it; those that run end first."""
        body = await read_body(request, UnloadAdapterRequest)
        await asyncio.to_thread(self._adapters.unload_adapter, body.lora_name)
        return json_response({"id": body.lora_name, "object": "model", "deleted": True})

    @property
    def _adapters(self) -> Adapters:
        assert self._context.adapters is not None  # else there are no routes
        return self._context.adapters


def described(adapter: ServedAdapter, owner: str) -> dict[str, Any]:
    """An entry of ``/v1/models``."""
    return {
        "id": adapter.name,
        "object": "model",
        "created": int(adapter.created.timestamp()),
        "owned_by": owner,
        "root": adapter.digest,
        "parent": adapter.version,
        "rank": adapter.rank,
    }
