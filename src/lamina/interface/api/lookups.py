"""The stack's own routes: documents behind the sources, traces, releases and jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

import lamina
from lamina.interface.api.context import Context, caller_of, json_response
from lamina.interface.api.ports import Caller
from lamina.interface.api.routes import Routes
from lamina.interface.api.schemas import BecauseRequest, JobRequest, read_body
from lamina.interface.grounding.corrections import last_question
from lamina.kit.errors import NotFoundError


class LookupRoutes:
    """The endpoints, over one context."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_to(self, routes: Routes) -> None:
        """Serve them."""
        routes.add("GET", "/v1/settings", self.settings, scope="public")
        routes.add("GET", "/v1/documents/{id}", self.document, scope="infer")
        routes.add("GET", "/v1/trace/{id}", self.trace, scope="infer")
        routes.add("GET", "/v1/releases", self.releases, scope="infer")
        routes.add("POST", "/v1/releases/{version}/promote", self.promote, scope="admin", body=BecauseRequest)
        routes.add("POST", "/v1/releases/rollback", self.rollback, scope="admin", body=BecauseRequest)
        routes.add("POST", "/v1/jobs", self.start_job, scope="train", body=JobRequest)
        routes.add("GET", "/v1/jobs/{id}", self.job, scope="train")

    async def settings(self, request: Request) -> Response:
        """What the web page must know before it can ask anything."""
        settings = self._context.settings
        await asyncio.to_thread(self._context.keys.refresh)
        return json_response(
            {
                "name": settings.name,
                "grounding": settings.grounding if self._context.retriever is not None else "weights only",
                "documents": self._context.retriever is not None,
                "examples": list(settings.examples),
                "keys": self._context.keys.in_use(),
                "lamina": lamina.__version__,
            }
        )

    async def document(self, request: Request, id: str) -> Response:
        """A document, or a correction, that was named as a source."""
        found = await asyncio.to_thread(self._document, id)
        if found is None:
            raise NotFoundError("there is no document of this id")
        return json_response(_plain(found))

    def _document(self, id: str) -> Mapping[str, Any] | None:
        found = self._context.documents.document(id)
        if found is not None:
            return found
        feedback = self._context.store.feedback(id)
        if feedback is None or feedback.kind != "correction":
            return None
        interaction = self._context.store.interaction(feedback.target)
        return {
            "id": id,
            "kind": "correction",
            "title": "Correction",
            "question": last_question(interaction.messages) if interaction else "",
            "text": json.loads(feedback.value) or "",
            "answer": feedback.target,
            "author": None,
            "url": None,
            "source": "feedback",
            "license": None,
            "created": feedback.created,
        }

    async def trace(self, request: Request, id: str) -> Response:
        """Where an answer, version, run, document or judgement came from."""
        await asyncio.to_thread(self._check_own, id, caller_of(request))
        trace = await asyncio.to_thread(self._context.lineage.trace, id)
        links = [{"kind": link.kind, "id": link.id, "facts": _plain(link.facts)} for link in trace.links]
        return json_response({"id": trace.id, "links": links})

    def _check_own(self, id: str, caller: Caller) -> None:
        """Answers and judgements of others do not exist for a caller who is no administrator."""
        if "admin" in caller.scopes:
            return
        entry = self._context.store.interaction(id) or self._context.store.feedback(id)
        if entry is not None and entry.user != caller.user:
            raise NotFoundError("nothing is known under this id")

    async def releases(self, request: Request) -> Response:
        """Versions, the names that point at them, and why they were promoted or not."""
        return json_response(await asyncio.to_thread(self._releases))

    def _releases(self) -> dict[str, Any]:
        releases = self._context.releases
        return {
            "aliases": dict(releases.aliases()),
            "versions": [_plain(asdict(v)) for v in releases.versions()],
            "receipts": [_plain(asdict(r)) for r in releases.receipts()],
        }

    async def promote(self, request: Request, version: str) -> Response:
        """A person makes a version the champion, and says why."""
        body = await read_body(request, BecauseRequest)
        await self._context.stored(self._context.releases.promote, version, because=self._said(request, body))
        return await self.releases(request)

    async def rollback(self, request: Request) -> Response:
        """A person goes back to the champion before, and says why."""
        body = await read_body(request, BecauseRequest)
        await self._context.stored(self._context.releases.rollback, because=self._said(request, body))
        return await self.releases(request)

    @staticmethod
    def _said(request: Request, body: BecauseRequest) -> str:
        user = caller_of(request).user
        return f"{body.because} (key {user})" if user else body.because

    async def start_job(self, request: Request) -> Response:
        """Start long work."""
        body = await read_body(request, JobRequest)
        id = await asyncio.to_thread(self._context.jobs.start, body.kind)
        state = await asyncio.to_thread(self._context.jobs.state, id)
        return json_response(_plain({"id": id, **state}), status=202)

    async def job(self, request: Request, id: str) -> Response:
        """How far it is."""
        return json_response(_plain({"id": id, **await asyncio.to_thread(self._context.jobs.state, id)}))


def _plain(value: Any) -> Any:
    """``value`` as JSON has it; times in ISO 8601."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
