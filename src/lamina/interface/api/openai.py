"""OpenAI's routes: ``/v1/models``, ``/v1/chat/completions``, ``/v1/completions``."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from lamina.contracts import inference
from lamina.contracts.chat import Message
from lamina.contracts.lineage import ModelVersion
from lamina.interface.api.adapters import described
from lamina.interface.api.answering import Job, collect, stream
from lamina.interface.api.asked import parameters_of, sampling_of, standing_of
from lamina.interface.api.context import Context, caller_of, json_response
from lamina.interface.api.errors import ParameterError, UnknownModelError
from lamina.interface.api.events import EventStream, WholeAnswer
from lamina.interface.api.routes import Routes
from lamina.interface.api.schemas import ChatRequest, CompletionRequest, Sampling, read_body
from lamina.interface.api.wire import ChatWire, CompletionWire, sources_of
from lamina.interface.grounding.context import Grounded, ground, opening_of
from lamina.kit.errors import LaminaError, NotFoundError
from lamina.kit.identity import new_id


class OpenAIRoutes:
    """The endpoints, over one context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = context.settings
        self._started = int(time.time())

    def add_to(self, routes: Routes) -> None:
        """Serve them."""
        routes.add("GET", "/v1/models", self.models, scope="infer")
        routes.add("GET", "/v1/models/{id}", self.model, scope="infer")
        routes.add("POST", "/v1/chat/completions", self.chat, scope="infer", body=ChatRequest, queued=True)
        routes.add("POST", "/v1/completions", self.completions, scope="infer", body=CompletionRequest, queued=True)

    async def models(self, request: Request) -> Response:
        """The versions that answer now, their aliases, and the stack's own name."""
        return json_response({"object": "list", "data": await asyncio.to_thread(self._models)})

    async def model(self, request: Request, id: str) -> Response:
        """One of them."""
        for model in await asyncio.to_thread(self._models):
            if model["id"] == id:
                return json_response(model)
        raise UnknownModelError(f"there is no model '{id[:64]}'")

    def _models(self) -> list[dict[str, Any]]:
        aliases = self._context.releases.aliases()
        found: dict[str, dict[str, Any]] = {}
        for alias, id in aliases.items():
            version = self._context.releases.resolve(id)
            found.setdefault(version.id, self._described(version.id, version))
            found[alias] = self._described(alias, version)
        if "champion" in aliases:
            found.setdefault(self._settings.name, self._described(self._settings.name, found_version(found)))
        found |= {name: self._vectors(name) for name in self._settings.vectors}
        adapters = () if self._context.adapters is None else self._context.adapters.adapters()
        return [*found.values(), *(described(adapter, self._settings.name) for adapter in adapters)]

    def _described(self, id: str, version: ModelVersion | dict[str, Any]) -> dict[str, Any]:
        if isinstance(version, dict):
            return version | {"id": id}
        return {
            "id": id,
            "object": "model",
            "created": int(version.created.timestamp()),
            "owned_by": self._settings.name,
            "root": version.id,
            "parent": version.parent,
            **self._abilities(version.id),
        }

    def _vectors(self, name: str) -> dict[str, Any]:
        """Word vectors, which have no versions: they are those of the server's start."""
        told = {"id": name, "object": "model", "created": self._started, "owned_by": self._settings.name}
        return told | {"root": name, "parent": None, **self._abilities(name)}

    def _abilities(self, version: str) -> dict[str, Any]:
        """What a version can be asked for, where that is known."""
        if self._context.texts is None:
            return {}
        try:
            known = self._context.texts.abilities(version)
        except LaminaError as error:  # its files are at fault: it is listed all the same
            return {"tasks": [], "problem": error.what}
        told: dict[str, Any] = {"tasks": list(known.tasks), "max_model_len": known.context}
        told |= {"languages": [list(pair) for pair in known.pairs]} if known.pairs else {}
        told |= {"dimensions": known.width} if known.width is not None else {}
        return told | ({"labels": list(known.labels)} if known.labels else {})

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        body = await read_body(request, ChatRequest)
        self._check_chat(body)
        model = await self._resolve(body.model)
        messages = tuple(m.contract(place) for place, m in enumerate(body.messages))
        tools, must_call = body.offered(), body.must_call()
        if self._settings.system and not any(m.role == "system" for m in messages):
            messages = (Message("system", self._settings.system), *messages)
        mode = self._mode(body)
        grounded = Grounded(messages, [], False)
        opening = ""
        if mode == "weights + documents" and self._context.retriever is not None:
            grounded = await asyncio.to_thread(
                ground,
                messages,
                self._context.retriever,
                k=self._settings.passages,
                budget_chars=self._settings.context_chars,
            )
            opening = "" if body.constraint() or tools else opening_of(messages, grounded)
        wanted = body.top_logprobs or 0 if body.logprobs else None
        count = body.n or 1
        # What stands in the sources is to be said as it stands there, unless several answers are wanted.
        temperature = 0.0 if grounded.found and count == 1 else self._settings.temperature
        id, standing = new_id("chatcmpl"), standing_of(body, request, self._settings)
        requests = [
            inference.Request(
                id=f"{id}.{index}",
                model=model,
                messages=grounded.messages,
                sampling=sampling_of(body, index, wanted, self._settings, temperature=temperature),
                tools=tools,
                tool_choice="required" if must_call else "auto",
                parallel_tool_calls=body.several_calls(),
                patient=index > 0,
                **standing,
            )
            for index in range(count)
        ]
        recited = grounded.recited if _recitable(grounded.recited, requests[0], count) else None
        found = {"mode": mode, "found": grounded.found, "recited": recited is not None}
        extras = {"grounding": found, "sources": sources_of(grounded.passages)}
        head = int(time.time()), self._settings.revision
        job = Job(
            context=self._context,
            wire=ChatWire(id, *head, extras, usage=_wants_usage(body), adapter=self._adapter(model)),
            requests=requests,
            prompts=1,
            messages=[messages] * count,
            user=caller_of(request).user,
            conversation=body.conversation or str(uuid4()),
            grounding=mode,
            passages=grounded.passages,
            opening=opening,
            recited=recited,
            parameters={"route": "chat", **parameters_of(requests[0]), **({"recited": True} if recited else {})},
            include_usage=_wants_usage(body),
        )
        return self._respond(job, body)

    async def completions(self, request: Request) -> Response:
        """``POST /v1/completions``: the prompt goes to the model as it is, without template and documents."""
        body = await read_body(request, CompletionRequest)
        self._check_completion(body)
        model = await self._resolve(body.model)
        count = body.best_of or body.n or 1
        id, standing = new_id("cmpl"), standing_of(body, request, self._settings)
        requests: list[inference.Request] = []
        messages: list[tuple[Message, ...]] = []
        for prompt in body.prompt:
            for index in range(count):
                requests.append(
                    inference.Request(
                        id=f"{id}.{len(requests)}",
                        model=model,
                        prompt=prompt if isinstance(prompt, str) else tuple(prompt),
                        sampling=sampling_of(body, index, body.logprobs, self._settings),
                        patient=len(requests) > 0,
                        **standing,
                    )
                )
                text = prompt if isinstance(prompt, str) else " ".join(map(str, prompt))
                messages.append((Message("user", text),))
        echoed = body.prompt[0] if body.echo and isinstance(body.prompt[0], str) else ""
        extras = {"grounding": {"mode": "weights only", "found": False}, "sources": []}
        head = int(time.time()), self._settings.revision
        job = Job(
            context=self._context,
            wire=CompletionWire(id, *head, extras, usage=_wants_usage(body), adapter=self._adapter(model)),
            requests=requests,
            prompts=len(body.prompt),
            best=body.n or 1,
            messages=messages,
            user=caller_of(request).user,
            conversation=body.conversation or str(uuid4()),
            grounding="weights only",
            opening=echoed,
            parameters={"route": "completions", **parameters_of(requests[0])},
            include_usage=_wants_usage(body),
        )
        return self._respond(job, body)

    def _respond(self, job: Job, body: Sampling) -> Response:
        ignored = body.ignored()
        headers = {"x-lamina-ignored": ", ".join(ignored)} if ignored else {}
        if not body.stream:
            return WholeAnswer(collect(job), headers)
        settings = self._settings
        return EventStream(stream(job), headers, ping_s=settings.ping_s, stall_s=settings.stalled_reader_s)

    async def _resolve(self, name: str) -> str:
        """The name that the service knows: "" for the champion. Raises ``UnknownModelError``."""
        if name in ("", "champion", self._settings.name):
            return ""
        if name in self._settings.vectors:
            what = f"model: {name} is word vectors, which cannot write"
            raise ParameterError(what, param="model", code="unsupported_task", hint="they can be asked: /v1/embeddings")
        if self._adapter(name):
            return name
        try:
            await asyncio.to_thread(self._context.releases.resolve, name)
        except NotFoundError:
            raise UnknownModelError(f"there is no model '{name}'", hint="GET /v1/models lists them") from None
        return name

    def _adapter(self, name: str) -> str:
        """``name``, where it is an adapter's."""
        adapters = () if self._context.adapters is None else self._context.adapters.adapters()
        return name if any(adapter.name == name for adapter in adapters) else ""

    def _mode(self, body: Sampling) -> str:
        tools = isinstance(body, ChatRequest) and body.tools  # the client's own sources
        mode = body.grounding or ("weights only" if tools else self._settings.grounding)
        return mode if self._context.retriever is not None else "weights only"

    def _check_shared(self, body: Sampling, choices: int) -> None:
        limit = self._settings.max_choices
        if choices > limit:
            raise ParameterError(f"n: at most {limit} answers in one request", param="n")
        for name in ("max_tokens", "max_completion_tokens"):
            value = getattr(body, name, None)
            if value is not None and value > self._settings.max_tokens:
                raise ParameterError(f"{name}: at most {self._settings.max_tokens}", param=name)
        if body.stream_options is not None and not body.stream:
            raise ParameterError("stream_options: only with stream = true", param="stream_options")

    def _check_chat(self, body: ChatRequest) -> None:
        self._check_shared(body, body.n or 1)
        if len(body.messages) > self._settings.max_messages:
            raise ParameterError(f"messages: at most {self._settings.max_messages}", param="messages")
        if body.top_logprobs is not None and not body.logprobs:
            raise ParameterError("top_logprobs: only with logprobs = true", param="top_logprobs")
        if body.functions:
            raise _unsupported("functions")
        if body.modalities not in (None, ["text"]):
            raise _unsupported("modalities")

    def _check_completion(self, body: CompletionRequest) -> None:
        n = body.n or 1
        self._check_shared(body, max(n, body.best_of or 0) * len(body.prompt))
        if body.best_of is not None and (body.best_of < n or (body.stream and body.best_of > n)):
            raise ParameterError("best_of: at least n, and not streamed where it is more", param="best_of")
        if body.suffix:
            raise _unsupported("suffix")
        if body.echo and (len(body.prompt) > 1 or not isinstance(body.prompt[0], str)):
            raise ParameterError("echo: only with one prompt of text", param="echo")
        if body.grounding == "weights + documents":
            raise ParameterError("grounding: documents are put into chats only", param="grounding")


def found_version(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The description of the champion."""
    return found["champion"]


def _unsupported(name: str) -> ParameterError:
    return ParameterError(f"{name}: not supported", param=name, code="unsupported_parameter")


def _recitable(text: str | None, request: inference.Request, count: int) -> bool:
    """Nothing was asked for that only a model can give: several answers, log-probabilities, a stop, few tokens."""
    sampling = request.sampling
    if text is None or count > 1 or sampling.logprobs is not None or sampling.stop:
        return False
    if sampling.constraint is not None or request.tools:
        return False
    return sampling.max_tokens is None or 2 * len(text.split()) <= sampling.max_tokens


def _wants_usage(body: Sampling) -> bool:
    return bool(body.stream and body.stream_options and body.stream_options.include_usage)
