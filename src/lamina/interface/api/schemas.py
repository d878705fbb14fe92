"""Wire types: what requests may hold. Strict: "10" is no number, true is no integer, NaN is nothing.

OpenAI's routes take unknown fields and ignore them (they are named in ``x-lamina-ignored``); our own refuse them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request

from lamina.contracts.feedback import REASONS
from lamina.interface.api.errors import ParameterError, invalid
from lamina.interface.api.fields import Fields, Text
from lamina.interface.api.forms import Forms
from lamina.interface.api.ports import Grounding
from lamina.interface.api.turns import ChatMessage, Offer

MAX_SEED = 2**63 - 1
MAX_BIASED = 1024  # tokens whose scores a request may change
MAX_SALT = 256  # characters
MAX_COMMENT = 8 * 1024
MAX_CORRECTION = 32 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

W = TypeVar("W", bound=BaseModel)


def _stop(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        if len(value) > 4:
            raise ValueError("at most 4 stop strings")
        for text in value:
            if not isinstance(text, str) or not 0 < len(text) <= 64:
                raise ValueError("a stop string has 1 to 64 characters")
    return value


def _bias(value: Any) -> Any:
    """OpenAI's object of token ids, written as text, to numbers: made an object of integers."""
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_BIASED:
        raise ValueError(f"at most {MAX_BIASED} tokens")
    for token in value:
        if not isinstance(token, str) or not token.isascii() or not token.isdigit() or len(token) > 9:
            raise ValueError("its names are token ids")
    return {int(token): number for token, number in value.items()}


def prompts(value: Any) -> Any:
    """A text, a list of texts, token ids, or a list of lists of token ids: made a list of prompts."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError("a text, a list of texts, or token ids")
    if all(isinstance(item, str) for item in value):
        return value
    rows = value if all(isinstance(item, list) for item in value) else [value]
    for row in rows:
        for place, token in enumerate(row):
            if type(token) is not int or not 0 <= token < 2**31:
                raise ValueError(f"token ids are integers from 0 (at place {place})")
        if not row:
            raise ValueError("a prompt of token ids is empty")
    return rows


def _model(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise ValueError("a model name has letters, digits and . _ : @ / - and at most 128 characters")
    return value


def _conversation(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("a UUID") from None


ModelName = Annotated[str, AfterValidator(_model)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _Own(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def ignored(body: BaseModel) -> list[str]:
    """Names of fields that were sent and are not known, harmless to repeat in a header."""
    return [_UNSAFE.sub("?", name[:64]) for name in sorted(body.model_extra or {})][:20]


class StreamOptions(Fields):
    """What a stream tells beside the answer."""

    include_usage: bool = False


class Sampling(Forms):
    """The fields that both routes share."""

    model: ModelName = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[int, Bias] | None, BeforeValidator(_bias)] = None
    seed: Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)] | None = None
    stop: Annotated[list[str] | None, BeforeValidator(_stop)] = None
    n: Positive | None = None
    max_tokens: Positive | None = None
    # beyond OpenAI, as vLLM has them
    top_k: Positive | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    min_tokens: Positive | None = None
    ignore_eos: bool | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    cache_salt: Annotated[Text, Field(min_length=1, max_length=MAX_SALT)] | None = None
    # our own
    timeout: Annotated[float, Field(gt=0, le=3600)] | None = None
    grounding: Grounding | None = None
    conversation: Annotated[str, AfterValidator(_conversation)] | None = None

    def ignored(self) -> list[str]:
        """Names of fields that were sent and are not known, harmless to repeat in a header."""
        return ignored(self)


class ChatRequest(Sampling, Offer):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    functions: Any = None
    modalities: Any = None


class CompletionRequest(Sampling):
    """``POST /v1/completions``."""

    prompt: Annotated[list[Text] | list[list[int]], BeforeValidator(prompts)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Positive | None = None
    suffix: str | None = None


def _reasons(value: list[str]) -> list[str]:
    for reason in value:
        if reason not in REASONS:
            raise ValueError(f"a reason is one of {', '.join(REASONS)}")
    return list(dict.fromkeys(value))


class FeedbackRequest(_Own):
    """``POST /v1/feedback``: what somebody says of the answer ``target``. A ``value`` of null takes it back."""

    target: Annotated[str, Field(min_length=1, max_length=128)]
    kind: Literal["boolean", "correction", "comment", "rating"]
    value: bool | int | Text | None = None
    reasons: Annotated[list[str], AfterValidator(_reasons)] = []
    comment: Annotated[Text, Field(max_length=MAX_COMMENT)] | None = None
    supersedes: Annotated[str, Field(max_length=128)] | None = None


class BecauseRequest(_Own):
    """Why a person promotes or rolls back."""

    because: Annotated[Text, Field(min_length=1, max_length=2000)]


class LoadAdapterRequest(_Own):
    """``POST /v1/load_lora_adapter``, as vLLM has it; ``load_inplace``: in place of one of the same name."""

    lora_name: Annotated[Text, Field(min_length=1, max_length=128)]
    lora_path: Annotated[Text, Field(min_length=1, max_length=4096)]
    load_inplace: bool = False


class UnloadAdapterRequest(_Own):
    """``POST /v1/unload_lora_adapter``, as vLLM has it; its number is not needed."""

    lora_name: Annotated[Text, Field(min_length=1, max_length=128)]
    lora_int_id: int | None = None


class JobRequest(_Own):
    """``POST /v1/jobs``."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z-]{0,31}$")]


async def read_body(request: Request, wire: type[W]) -> W:
    """The request's JSON as ``wire``; ``ParameterError`` names the field, or where the JSON breaks."""
    raw = await request.body()
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        offset = len(error.doc[: error.pos].encode("utf-8", "replace")) if isinstance(error.doc, str) else error.pos
        raise ParameterError(f"the body is not JSON at byte {offset}: {error.msg}", param=None) from None
    if not isinstance(data, dict):
        raise ParameterError("the body must be a JSON object", param=None)
    try:
        return wire.model_validate(data)
    except ValidationError as error:
        raise invalid(error) from None
