"""The table of routes: each declares the scope that it needs; one without a declaration stops the start-up."""

from __future__ import annotations

import copy
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import Response
from starlette.routing import Route, compile_path

from lamina.interface.api.ports import Scope
from lamina.kit.errors import ConfigError

Endpoint = Callable[..., Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Declared:
    """One route: what it is reached by and what it needs."""

    method: str
    path: str
    pattern: re.Pattern[str]
    scope: Scope
    queued: bool = False  # its requests wait for the model: they are refused unread while there is no room


class Routes:
    """Adds routes to ``app`` and remembers the scope of each."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._table: list[Declared] = []
        self._schemas: dict[str, Any] = {}
        self._queued: set[tuple[str, str]] = set()

    def add(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        scope: Scope,
        body: type[BaseModel] | None = None,
        queued: bool = False,
    ) -> None:
        """Serve ``endpoint``; ``body`` is the wire type that it reads, for the API description."""
        extra: dict[str, Any] = {}
        if body is not None:
            schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
            self._schemas |= schema.pop("$defs", {})
            extra = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
        self._app.add_api_route(
            path, endpoint, methods=[method], response_model=None, response_class=Response, openapi_extra=extra
        )
        self._table.append(Declared(method, path, compile_path(path)[0], scope, queued))
        if queued:
            self._queued.add((method, path))

    def __iter__(self) -> Iterator[Declared]:
        return iter(self._table)

    def description(self) -> dict[str, Any]:
        """The API in OpenAPI 3.1, with the scope of each route as ``x-scope``."""
        text = copy.deepcopy(self._app.openapi())
        text.setdefault("components", {}).setdefault("schemas", {}).update(self._schemas)
        for declared in self._table:
            operation = text["paths"].get(declared.path.replace(":path}", "}"), {}).get(declared.method.lower())
            if operation is not None:
                operation["x-scope"] = declared.scope
        return text

    def scope_of(self, method: str, path: str) -> Scope:
        """What a request needs. A path that is not served needs the narrowest scope: it tells a stranger nothing."""
        method = "GET" if method == "HEAD" else method
        fallback: Scope | None = None
        for declared in self._table:
            if declared.pattern.match(path):
                if declared.method == method:
                    return declared.scope
                fallback = fallback or declared.scope
        return fallback if fallback not in (None, "public") else "admin"

    def queued(self, method: str, path: str) -> bool:
        """Whether a request waits for the model."""
        return (method, path) in self._queued

    def check(self) -> None:
        """Raise ``ConfigError`` for a route that the application serves and nobody declared."""
        declared = {(d.method, d.path) for d in self._table}
        for route in self._app.routes:
            methods = (route.methods or set()) - {"HEAD"} if isinstance(route, Route) else {"*"}
            for method in methods:
                path = getattr(route, "path", repr(route))
                if (method, path) not in declared:
                    raise ConfigError(
                        f"the route {method} {path} declares no scope", hint=f"one of {', '.join(get_args(Scope))}"
                    )
