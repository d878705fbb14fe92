"""What every route works with, and the one way to call what blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import orjson
from prometheus_client import CollectorRegistry, Counter
from starlette.requests import Request
from starlette.responses import Response

from lamina.contracts.adapters import Adapters
from lamina.contracts.inference import InferenceService, Retriever
from lamina.contracts.lineage import Jobs, Lineage, Releases
from lamina.contracts.replay import Replays
from lamina.contracts.texts import TextService
from lamina.interface.api.ports import ApiSettings, Caller, Documents, Keys, Store
from lamina.kit.errors import StorageError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True, kw_only=True)
class Context:
    """What ``create_app`` was given."""

    service: InferenceService
    releases: Releases
    lineage: Lineage
    jobs: Jobs
    retriever: Retriever | None
    store: Store
    documents: Documents
    keys: Keys
    metrics: CollectorRegistry
    settings: ApiSettings
    texts: TextService | None = None  # what is asked beside chats
    adapters: Adapters | None = None  # what can be loaded beside a model
    replays: Replays | None = None  # stored answers, made again
    answers: Counter = field(init=False)
    judgements: Counter = field(init=False)
    store_failed: bool = False  # the last write failed: not ready until one succeeds

    def __post_init__(self) -> None:
        self.answers = Counter(
            "lamina:api_answers", "Answers given, by how they ended.", ["finished_reason"], registry=self.metrics
        )
        self.judgements = Counter("lamina:api_feedback", "Feedback stored, by kind.", ["kind"], registry=self.metrics)

    async def stored(self, write: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a write of the store in a thread; durable when it returns."""
        try:
            result = await asyncio.to_thread(write, *args, **kwargs)
        except StorageError:
            self.store_failed = True
            raise
        self.store_failed = False
        return result


def caller_of(request: Request) -> Caller:
    """Who asks, as the guard found out."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def json_response(data: Any, status: int = 200, **headers: str) -> Response:
    """``data`` as JSON."""
    return Response(orjson.dumps(data), status_code=status, headers=headers or None, media_type="application/json")
