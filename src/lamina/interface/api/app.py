"""The application: what answers, retrieves and stores goes in, an ASGI app comes out."""

from __future__ import annotations

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

import lamina
from lamina.contracts.adapters import Adapters
from lamina.contracts.inference import InferenceService, Retriever
from lamina.contracts.lineage import Jobs, Lineage, Releases
from lamina.contracts.replay import Replays
from lamina.contracts.texts import TextService
from lamina.interface.api.adapters import AdapterRoutes
from lamina.interface.api.context import Context, json_response
from lamina.interface.api.errors import add_error_handlers
from lamina.interface.api.feedback import FeedbackRoutes
from lamina.interface.api.gui import GuiRoutes
from lamina.interface.api.health import HealthRoutes
from lamina.interface.api.lookups import LookupRoutes
from lamina.interface.api.openai import OpenAIRoutes
from lamina.interface.api.ports import ApiSettings, Bounded, Documents, Keys, Store
from lamina.interface.api.replays import ReplayRoutes
from lamina.interface.api.routes import Routes
from lamina.interface.api.security import Guard
from lamina.interface.api.texts import TextRoutes


def create_app(
    *,
    service: InferenceService,
    releases: Releases,
    lineage: Lineage,
    jobs: Jobs,
    retriever: Retriever | None,
    store: Store,
    documents: Documents,
    keys: Keys,
    metrics: CollectorRegistry,
    settings: ApiSettings,
    texts: TextService | None = None,
    adapters: Adapters | None = None,
    replays: Replays | None = None,
) -> FastAPI:
    """Build the API. Raises ``ConfigError`` where a route declares no scope.

    A ``retriever`` that is a ``ports.Learner`` takes corrections up at once. ``texts``: what is asked about whole
    texts; ``adapters``: what is loaded beside models; ``replays``: stored answers, made again. Without them there are
    no routes for that.
    """
    context = Context(
        service=service,
        releases=releases,
        lineage=lineage,
        jobs=jobs,
        retriever=retriever,
        store=store,
        documents=documents,
        keys=keys,
        metrics=metrics,
        settings=settings,
        texts=texts,
        adapters=adapters,
        replays=replays,
    )
    app = FastAPI(title=settings.name, version=lamina.__version__, docs_url=None, redoc_url=None, openapi_url=None)
    routes = Routes(app)
    for part in (OpenAIRoutes, TextRoutes, AdapterRoutes, FeedbackRoutes, LookupRoutes, ReplayRoutes, HealthRoutes):
        part(context).add_to(routes)

    async def description(request: Request) -> Response:
        """The API in OpenAPI 3.1."""
        return json_response(routes.description())

    routes.add("GET", "/openapi.json", description, scope="infer")
    GuiRoutes().add_to(routes)
    add_error_handlers(app)
    bounded = service if isinstance(service, Bounded) else None
    app.add_middleware(Guard, routes=routes, keys=keys, settings=settings, bounded=bounded)
    app.state.routes = routes
    app.state.context = context
    routes.check()
    return app
