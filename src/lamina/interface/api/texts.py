"""What is asked of models about whole texts: OpenAI's ``/v1/embeddings``, and our own routes for the others."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from lamina.contracts.texts import TextService, Told, Writing
from lamina.interface.api.context import Context, json_response
from lamina.interface.api.errors import ParameterError, UnknownModelError
from lamina.interface.api.routes import Routes
from lamina.interface.api.schemas import ignored, read_body
from lamina.interface.api.text_schemas import (
    EmbeddingsRequest,
    FillRequest,
    SummaryRequest,
    TextsRequest,
    TranslationRequest,
)
from lamina.kit.errors import BusyError, NotFoundError

_AT_ONCE = 128  # requests that are answered or wait; each has a thread, which mostly sleeps
R = TypeVar("R")
T = TypeVar("T", bound=Told)


class TextRoutes:
    """The endpoints, over one context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="texts")
        self._asking = 0  # changed on the event loop alone

    def add_to(self, routes: Routes) -> None:
        """Serve them, where there is a service to ask."""
        if self._context.texts is None:
            return
        routes.add("POST", "/v1/embeddings", self.embeddings, scope="infer", body=EmbeddingsRequest)
        routes.add("POST", "/v1/fill-mask", self.fill, scope="infer", body=FillRequest)
        routes.add("POST", "/v1/classify", self.classify, scope="infer", body=TextsRequest)
        routes.add("POST", "/v1/tag", self.tag, scope="infer", body=TextsRequest)
        routes.add("POST", "/v1/translate", self.translate, scope="infer", body=TranslationRequest)
        routes.add("POST", "/v1/summarize", self.summarize, scope="infer", body=SummaryRequest)

    async def embeddings(self, request: Request) -> Response:
        """``POST /v1/embeddings``: vectors of length 1, as numbers or as base64 of little-endian float32."""
        body = await read_body(request, EmbeddingsRequest)
        model = self._name(body.model)
        abilities = await asyncio.to_thread(self._found, lambda: self._texts.abilities(model), body.model)
        if body.dimensions not in (None, abilities.width) and "embeddings" in abilities.tasks:
            what = f"dimensions: this model's vectors have {abilities.width} numbers, and are not shortened"
            raise ParameterError(what, param="dimensions", code="unsupported_parameter")
        told = await self._ask(
            lambda texts: texts.embed(body.input, model=model, truncate=bool(body.truncate)), body.model
        )
        plain = body.encoding_format == "float"
        rows = [
            {"object": "embedding", "index": index, "embedding": row.tolist() if plain else _base64(row)}
            for index, row in enumerate(told.vectors)
        ]
        unknown = ignored(body)
        answer = json_response(_listed(rows, told))
        if unknown:
            answer.headers["x-lamina-ignored"] = ", ".join(unknown)
        return answer

    async def fill(self, request: Request) -> Response:
        """``POST /v1/fill-mask``: for each mask of each text the likeliest words."""
        body = await read_body(request, FillRequest)
        told = await self._ask(lambda texts: texts.fill(body.input, model=self._name(body.model), k=body.k), body.model)
        rows = [
            {"index": index, "masks": [[guess._asdict() for guess in guesses] for guesses in masks]}
            for index, masks in enumerate(told.rows)
        ]
        return json_response(_listed(rows, told))

    async def classify(self, request: Request) -> Response:
        """``POST /v1/classify``: for each text its likeliest label, and the probabilities of all."""
        body = await read_body(request, TextsRequest)
        told = await self._ask(lambda texts: texts.classify(body.input, model=self._name(body.model)), body.model)
        rows = [
            {"index": index, "label": max(row, key=lambda name: row[name]), "probabilities": row}
            for index, row in enumerate(told.rows)
        ]
        return json_response(_listed(rows, told))

    async def tag(self, request: Request) -> Response:
        """``POST /v1/tag``: for each text its words, by character offsets, with their labels."""
        body = await read_body(request, TextsRequest)
        told = await self._ask(lambda texts: texts.tag(body.input, model=self._name(body.model)), body.model)
        rows = [
            {
                "index": index,
                "words": [{"word": text[word.begin : word.end], **word._asdict()} for word in words],
            }
            for index, (text, words) in enumerate(zip(body.input, told.rows, strict=True))
        ]
        return json_response(_listed(rows, told))

    async def translate(self, request: Request) -> Response:
        """``POST /v1/translate``: one translation a text."""
        body = await read_body(request, TranslationRequest)
        return await self._write(body, body.writing(), "translate")

    async def summarize(self, request: Request) -> Response:
        """``POST /v1/summarize``: one summary a text."""
        body = await read_body(request, SummaryRequest)
        return await self._write(body, body.writing(), "summarize")

    async def _write(self, body: SummaryRequest, how: Writing, task: str) -> Response:
        name = self._name(body.model)
        told = await self._ask(lambda texts: getattr(texts, task)(body.input, how, model=name), body.model)
        rows = [
            {"index": index, "text": row.text, "finish_reason": "stop" if row.ended else "length"}
            for index, row in enumerate(told.rows)
        ]
        return json_response(_listed(rows, told, written=sum(row.tokens for row in told.rows)))

    # -- asking -------------------------------------------------------------------------------------------------------

    @property
    def _texts(self) -> TextService:
        assert self._context.texts is not None  # else there are no routes
        return self._context.texts

    def _name(self, model: str) -> str:
        return "" if model in ("", "champion", self._context.settings.name) else model

    async def _ask(self, ask: Callable[[TextService], T], model: str) -> T:
        """In a thread of our own, that waits with the others: what is asked at the same time is computed together, and
        nothing else has to wait for a thread."""
        if self._asking >= _AT_ONCE:
            raise BusyError(f"{self._asking} requests for texts are being answered", hint="ask again in a few seconds")
        self._asking += 1
        try:
            work = partial(self._found, lambda: ask(self._texts), model)
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._asking -= 1

    @staticmethod
    def _found(ask: Callable[[], R], model: str) -> R:
        try:
            return ask()
        except NotFoundError:
            raise UnknownModelError(f"there is no model '{model}'", hint="GET /v1/models lists them") from None


def _listed(rows: Sequence[Mapping[str, Any]], told: Told, *, written: int | None = None) -> dict[str, Any]:
    usage = {"prompt_tokens": told.prompt_tokens, "total_tokens": told.prompt_tokens + (written or 0)}
    if written is not None:
        usage["completion_tokens"] = written
    return {"object": "list", "data": list(rows), "model": told.version, "usage": usage}


def _base64(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode("ascii")
