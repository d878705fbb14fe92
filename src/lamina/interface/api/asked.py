"""What a request's body asks of the service, in the words of the contracts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, TypedDict

from starlette.requests import Request

from lamina.contracts import inference
from lamina.interface.api.context import caller_of
from lamina.interface.api.errors import ParameterError
from lamina.interface.api.ports import ApiSettings
from lamina.interface.api.schemas import MAX_SEED, ChatRequest, Sampling


class Standing(TypedDict):
    """Fields of ``inference.Request`` that say how it stands among others."""

    key: str
    cache_salt: str
    priority: int
    timeout: float | None


def standing_of(body: Sampling, request: Request, settings: ApiSettings) -> Standing:
    """Whose request it is, with whom it shares the cache of prompts, its priority and its time. To come before others
    needs the scope ``admin``."""
    caller = caller_of(request)
    priority = body.priority or 0
    if priority < 0 and "admin" not in caller.scopes:
        raise ParameterError("priority: below 0 only with a key of the scope 'admin'", param="priority")
    salt = body.cache_salt or ""
    if settings.caches_apart:
        salt = f"{caller.user}\0{salt}"  # whatever salt is asked for, it is this key's own
    return {"key": caller.user, "cache_salt": salt, "priority": priority, "timeout": body.timeout}


def sampling_of(
    body: Sampling,
    index: int,
    logprobs: int | None,
    settings: ApiSettings,
    *,
    temperature: float | None = None,
) -> inference.SamplingParams:
    """The settings of answer number ``index``; ``temperature`` where the request names none."""
    limit = body.max_tokens
    if isinstance(body, ChatRequest) and body.max_completion_tokens is not None:
        limit = body.max_completion_tokens
    base = 0 if body.seed is None and settings.deterministic else body.seed
    seed = None if base is None else (base + index) % (MAX_SEED + 1)
    return inference.SamplingParams(
        temperature=temperature if body.temperature is None else body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        seed=seed,
        max_tokens=limit if limit is not None else settings.default_max_tokens,
        stop=tuple(body.stop or ()),
        logprobs=logprobs,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=tuple((body.logit_bias or {}).items()),
        min_tokens=body.min_tokens,
        ignore_eos=bool(body.ignore_eos),
        constraint=body.constraint(),
    )


def parameters_of(request: inference.Request) -> dict[str, Any]:
    """What is kept of them with the interaction."""
    given: Iterable[tuple[str, Any]] = asdict(request.sampling).items()
    kept = {name: value for name, value in given if value not in (None, ()) and value is not False}
    return kept | ({"tools": [tool.name for tool in request.tools]} if request.tools else {})
