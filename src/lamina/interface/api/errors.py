"""Errors on the wire: OpenAI's envelope for whatever goes wrong, without paths, SQL or tracebacks."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lamina.kit.errors import BusyError, InputError, LaminaError, NotFoundError, RefusedError, StorageError

log = logging.getLogger("lamina.api")

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_exceeded",
    503: "overloaded_error",
}
#: Fields of a request that the engine may name as the place of an error.
_FIELDS = (
    "messages", "prompt", "model", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "logprobs", "min_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "min_tokens", "response_format",
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "tools", "tool_choice", "timeout", "priority",
    "input", "source", "num_beams", "no_repeat_ngram_size",
)  # fmt: skip


class ParameterError(InputError):
    """A field of the request is at fault; ``param`` names it as OpenAI does: ``messages[0].content``."""

    def __init__(self, what: str, *, param: str | None, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, hint=hint)
        self.param = param
        if code:
            self.code = code


class UnknownModelError(NotFoundError):
    """No model of this name."""

    code = "model_not_found"
    param = "model"


class NoKeyError(RefusedError):
    """No key, or one that is not known; the answer is the same for all of them."""

    status, code = 401, "invalid_api_key"


class WrongHostError(RefusedError):
    """The Host header names a host that is not served here (DNS rebinding, misrouting)."""

    status, code = 421, "wrong_host"


class SlowBodyError(InputError):
    """The body did not arrive in time."""

    status, code = 408, "request_timeout"


class MediaTypeError(InputError):
    """The body is not sent as JSON."""

    status, code = 415, "unsupported_media_type"


def body_of(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """HTTP status, OpenAI error body and headers for ``error``."""
    headers: dict[str, str] = {}
    if isinstance(error, LaminaError):
        status, code, message = error.status, error.code, _message(error)
        if isinstance(error, BusyError) or error.retryable:
            after = 1.0 if error.retry_after is None else error.retry_after
            headers = {"retry-after": str(max(1, math.ceil(after))), "x-should-retry": "true"}
            if error.retry_after is not None:
                headers["retry-after-ms"] = str(math.ceil(1000 * after))
        elif status >= 500 or status in (408, 409, 429):
            headers = {"x-should-retry": "false"}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
    elif isinstance(error, HTTPException):
        status, message = error.status_code, str(error.detail)
        code = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
        headers = dict(error.headers or {})
    else:
        status, code, message = 500, "server_error", "the server failed; its log has the reason"
        headers = {"x-should-retry": "false"}
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = getattr(error, "param", None)
    if param is None and isinstance(error, InputError) and error.where in _FIELDS:
        param = error.where
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}, headers


def _message(error: LaminaError) -> str:
    """What a remote caller may read: never ``where`` (paths), never the inside of a storage failure."""
    if isinstance(error, StorageError):
        return "the server could not store it durably, so it does not count as done"
    if error.status >= 500 and not error.retryable:
        return "the server failed; its log has the reason"
    return f"{error.what} ({error.hint})" if error.hint else error.what


def error_response(error: Exception) -> Response:
    """``error`` as a JSON response; failures of the server go to the log with their reason."""
    status, body, headers = body_of(error)
    if status >= 500:
        log.error("%s: %s", type(error).__name__, error, exc_info=None if isinstance(error, LaminaError) else error)
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")


def error_event(error: Exception) -> bytes:
    """``error`` as a server-sent event: what a stream says before it closes early."""
    status, body, _ = body_of(error)
    if status >= 500:
        log.error("mid-stream: %s: %s", type(error).__name__, error)
    return b"data: " + orjson.dumps(body) + b"\n\n"


def invalid(error: ValidationError) -> ParameterError:
    """The first mistake that pydantic found, as a parameter error."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    param = path_of(first["loc"])
    others = error.error_count() - 1
    more = f" (and {others} more)" if others else ""
    return ParameterError(f"{param}: {message}{more}" if param else message + more, param=param or None)


def path_of(location: Sequence[int | str]) -> str:
    """``("messages", 0, "content")`` as ``messages[0].content``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


async def _handle(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        error = ParameterError(str(first["msg"]), param=path_of(first["loc"][1:]) or None)
    return error_response(error)


def add_error_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every error in the one envelope."""
    for kind in (LaminaError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _handle)
