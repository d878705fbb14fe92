"""What stands before every route: host, origin, key and scope, size and time of the body, headers of the answer.

One ASGI middleware, deciding on the raw scope (never on a parsed URL). OWASP API Security 2023, RFC 9110 §7.4.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamina.interface.api.errors import (
    MediaTypeError,
    NoKeyError,
    SlowBodyError,
    WrongHostError,
    error_response,
)
from lamina.interface.api.ports import ApiSettings, Bounded, Caller, Keys
from lamina.interface.api.routes import Routes
from lamina.kit.errors import InputError, RefusedError, TooLargeError
from lamina.kit.identity import new_id

#: Every source is named; scripts may only make markup through the two Trusted Types policies of the web page.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "media-src 'none'",
        "object-src 'none'",
        "frame-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lamina dompurify",
    ]
)

_HEADERS = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"x-frame-options": b"DENY",
    b"cache-control": b"no-store",
}
_REFRESH_S = 0.5
_SAFE = ("GET", "HEAD", "OPTIONS")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]{1,253})(?::(?P<port>\d{1,5}))?", re.ASCII)


def allowed_hosts(settings: ApiSettings) -> frozenset[str]:
    """Names that the Host header may carry, lower case, without a port."""
    names = {"localhost", "127.0.0.1", "[::1]", *(h.lower() for h in settings.hosts)}
    if settings.host not in ("0.0.0.0", "::", ""):  # any address: the names must be given
        names.add(f"[{settings.host}]" if ":" in settings.host else settings.host.lower())
    return frozenset(names)


class Guard:
    """ASGI middleware around the whole application.

    ``bounded`` is asked for room before anything is read: under overload most requests are refused, and what that costs
    is taken from those that are answered.
    """

    def __init__(
        self, app: ASGIApp, *, routes: Routes, keys: Keys, settings: ApiSettings, bounded: Bounded | None = None
    ) -> None:
        self._app = app
        self._routes = routes
        self._keys = keys
        self._settings = settings
        self._bounded = bounded
        self._active = 0  # requests to the model that were let in and have not ended
        self._hosts = allowed_hosts(settings)
        self._refreshed = -math.inf  # when the keys were last read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on; whatever is raised is answered in OpenAI's envelope."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope["headers"])
        answer = _Answer(send, self._request_id(headers))
        try:
            self._check_host(headers)
            caller = await self._caller(scope, headers)
            self._check_origin(scope, headers)
            self._check_body(scope, headers)
            queued = self._bounded is not None and self._routes.queued(scope["method"], scope["path"])
            if queued and self._bounded is not None:
                self._bounded.check_room(caller.user, self._active)
            scope.setdefault("state", {})["caller"] = caller
            scope["state"]["request_id"] = answer.request_id
            self._active += queued
            try:
                await self._app(scope, _Body(receive, self._settings), answer)
            finally:
                self._active -= queued
        except ClientDisconnect:
            return  # before its body was whole: nobody is there to be answered, and nothing went wrong
        except Exception as error:
            if answer.started:
                raise  # the server closes the connection: an answer that was cut must not look whole
            await error_response(error)(scope, receive, answer)

    @staticmethod
    def _request_id(headers: Headers) -> str:
        """A client's id is echoed when it is well formed, and used for nothing."""
        given = headers.one(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return new_id("req")

    def _check_host(self, headers: Headers) -> None:
        host = headers.one(b"host")
        if host is None:
            raise InputError("the request has no Host header, or more than one")
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None or match["name"] not in self._hosts:
            raise WrongHostError("this host is not served here", hint="add it to interface.hosts in the stack file")

    async def _caller(self, scope: Scope, headers: Headers) -> Caller:
        needed = self._routes.scope_of(scope["method"], scope["path"])
        if needed == "public":
            return Caller(scopes=frozenset())
        begun = time.monotonic()
        if begun - self._refreshed >= _REFRESH_S:  # not a thread for every request
            await asyncio.to_thread(self._keys.refresh)
            self._refreshed = begun
        if not self._keys.in_use():
            return Caller()
        kind, _, token = (headers.one(b"authorization") or b"").decode("latin-1").partition(" ")
        caller = self._keys.check(token.strip() if kind.lower() == "bearer" else "")
        if caller is None:
            raise NoKeyError("no valid API key", hint="send it as 'Authorization: Bearer lsk_…'")
        if needed not in caller.scopes:
            raise RefusedError(f"this key has not the scope '{needed}'")
        return caller

    @staticmethod
    def _check_origin(scope: Scope, headers: Headers) -> None:
        """Unsafe methods only from our own page or from no page at all."""
        if scope["method"] in _SAFE:
            return
        origins = headers.all(b"origin")
        host = headers.one(b"host") or b""
        if origins and (len(origins) > 1 or origins[0].lower() not in (b"http://" + host, b"https://" + host.lower())):
            raise RefusedError("a page of another origin may not do this")
        site = headers.one(b"sec-fetch-site")
        if site not in (None, b"same-origin", b"none"):
            raise RefusedError("a page of another site may not do this")

    def _check_body(self, scope: Scope, headers: Headers) -> None:
        if scope["method"] in _SAFE:
            return
        length = headers.one(b"content-length")
        if length is not None and not length.isdigit():
            raise InputError("Content-Length is no number")
        if length is not None and int(length[:20]) > self._settings.max_body:
            raise _too_large(self._settings.max_body)
        if headers.one(b"content-encoding") not in (None, b"identity"):
            raise MediaTypeError("compressed bodies are not taken")
        kind = (headers.one(b"content-type") or b"").split(b";")[0].strip().lower()
        has_body = length not in (None, b"0") or headers.one(b"transfer-encoding") is not None
        if has_body and kind != b"application/json":
            raise MediaTypeError("the body must be JSON", hint="send 'Content-Type: application/json'")


class Headers:
    """Raw request headers; a name that comes twice where one is expected counts as missing."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = list(raw)

    def all(self, name: bytes) -> list[bytes]:
        """Every value of ``name`` (lower case)."""
        return [value for key, value in self._raw if key == name]

    def one(self, name: bytes) -> bytes | None:
        """The value of ``name`` where it stands exactly once."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {limit} bytes")


class _Body:
    """``receive`` with a limit on bytes and on the time until the body is whole."""

    def __init__(self, receive: Receive, settings: ApiSettings) -> None:
        self._receive = receive
        self._limit = settings.max_body
        self._deadline = time.monotonic() + settings.body_deadline_s
        self._size = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            raise SlowBodyError("the body did not arrive in time") from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            if self._size > self._limit:
                raise _too_large(self._limit)
            self._whole = not message.get("more_body", False)
        return message


class _Answer:
    """``send`` that adds the security headers and the request id to the answer's head."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = list(message.get("headers", []))
            present = {name for name, _ in headers}
            headers += [(name, value) for name, value in _HEADERS.items() if name not in present]
            headers.append((b"x-request-id", self.request_id.encode()))
            if message["status"] in (408, 413, 415):
                headers.append((b"connection", b"close"))  # what is left of the body is not read
            message = {**message, "headers": headers}
        await self._send(message)
