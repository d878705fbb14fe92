"""``/v1/feedback``: what people say of answers; durable before the 2xx, and a correction is found from then on."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from lamina.contracts.feedback import Feedback, Interaction
from lamina.interface.api.context import Context, caller_of, json_response
from lamina.interface.api.errors import ParameterError
from lamina.interface.api.ports import Caller, Learner
from lamina.interface.api.routes import Routes
from lamina.interface.api.schemas import MAX_CORRECTION, FeedbackRequest, read_body
from lamina.kit.errors import NotFoundError
from lamina.kit.identity import new_id


class FeedbackRoutes:
    """The endpoints, over one context."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_to(self, routes: Routes) -> None:
        """Serve them."""
        routes.add("POST", "/v1/feedback", self.give, scope="feedback", body=FeedbackRequest)
        routes.add("GET", "/v1/feedback/summary", self.summary, scope="feedback")

    async def give(self, request: Request) -> Response:
        """Store one judgement."""
        body = await read_body(request, FeedbackRequest)
        _check_value(body)
        caller = caller_of(request)
        interaction = await self._own_answer(body.target, caller)
        given = Feedback(
            id=new_id("fb"),
            target=body.target,
            kind=body.kind,
            value=json.dumps(body.value, ensure_ascii=True),
            reasons=tuple(body.reasons),
            comment=body.comment,
            user=caller.user,
            supersedes_id=body.supersedes,
            created=datetime.now(UTC),
        )
        stands = await self._context.stored(self._context.store.add_feedback, given)
        in_effect = stands.value != "null"
        if body.kind == "correction" and isinstance(self._context.retriever, Learner):
            in_effect = await asyncio.to_thread(self._context.retriever.learn, interaction, stands)
        if stands.id == given.id:
            self._context.judgements.labels(body.kind).inc()
        reply = {
            "id": stands.id,
            "target": stands.target,
            "kind": stands.kind,
            "split": interaction.split,
            "in_effect": in_effect,
        }
        return json_response(reply, status=201)

    async def _own_answer(self, target: str, caller: Caller) -> Interaction:
        """The answer, if it was given to this caller; a stranger's answer does not exist."""
        interaction = await asyncio.to_thread(self._context.store.interaction, target)
        if interaction is None or interaction.user != caller.user:
            raise NotFoundError("there is no answer of this id", hint="the target is the id of the response")
        return interaction

    async def summary(self, request: Request) -> Response:
        """Counts for the page."""
        return json_response(dict(await asyncio.to_thread(self._context.store.summary)))


def _check_value(body: FeedbackRequest) -> None:
    value, kind = body.value, body.kind
    if value is None:
        if kind == "comment" and body.comment:
            return
        if body.reasons or body.comment:
            raise ParameterError("value: null takes feedback back, without reasons and comment", param="value")
        return
    if kind == "boolean" and not isinstance(value, bool):
        raise ParameterError("value: true or false for a boolean", param="value")
    if kind == "rating" and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5):
        raise ParameterError("value: an integer from 1 to 5 for a rating", param="value")
    if kind in ("correction", "comment"):
        if not isinstance(value, str) or not value.strip():
            raise ParameterError(f"value: a text for a {kind}", param="value")
        if len(value) > MAX_CORRECTION:
            raise ParameterError(f"value: at most {MAX_CORRECTION} characters", param="value")
