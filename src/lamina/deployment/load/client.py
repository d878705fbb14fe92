"""One request to an OpenAI-compatible server, with the time of every piece of its answer.

Times are taken where the bytes arrive, before anything else runs in this process, and every request has a connection of
its own, as separate users have.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import h11
import orjson

from lamina.deployment.load.outcome import Outcome
from lamina.kit.errors import InputError

_MOST_BODY = 1 << 20  # of an answer that is no stream


@dataclass(frozen=True, slots=True)
class Target:
    """A server's address (``http://host:port/v1``), the key for it, and the path before ``/chat/completions``."""

    url: str
    key: str | None = None
    host: str = field(init=False)
    port: int = field(init=False)
    path: str = field(init=False)
    secure: ssl.SSLContext | None = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError(f"'{self.url}' is no address of a server", hint="for example http://127.0.0.1:8000")
        path = parts.path.rstrip("/")
        secure = parts.scheme == "https"
        values = {
            "host": parts.hostname,
            "port": parts.port or (443 if secure else 80),
            "path": path if path.endswith("/v1") else f"{path}/v1",
            "secure": ssl.create_default_context() if secure else None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def head(self, path: str, size: int) -> h11.Request:
        """The head of a POST with a body of ``size`` bytes."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        headers = [
            ("host", f"{host}:{self.port}"),
            ("content-type", "application/json"),
            ("content-length", str(size)),
            ("accept", "text/event-stream, application/json"),
            ("connection", "close"),
            *([("authorization", f"Bearer {self.key}")] if self.key else []),
        ]
        return h11.Request(method="POST", target=self.path + path, headers=headers)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the route below ``/v1`` and its body."""

    route: str
    body: dict[str, Any]


class _Exchange(asyncio.Protocol):
    """A connection that asks once."""

    def __init__(self, head: h11.Request, body: bytes, outcome: Outcome, clock: Callable[[], float]) -> None:
        self._head, self._body, self._outcome, self._clock = head, body, outcome, clock
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_BODY)
        self._text = bytearray()
        self._stream = self._whole = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        out = [self._http.send(part) or b"" for part in (self._head, h11.Data(data=self._body), h11.EndOfMessage())]
        cast(asyncio.Transport, transport).write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        """A part of the answer."""
        self._read(data, self._clock())

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, early or not."""
        if not self.over.done():
            self._read(b"", self._clock())
        self._end(None if self._whole else "cut")

    def _read(self, data: bytes, now: float) -> None:
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._text += event.data
                    if self._stream:
                        self._events(now)
                    elif len(self._text) > _MOST_BODY:
                        self._end("too long")
                        return
                elif isinstance(event, h11.EndOfMessage):
                    self._finish(now)
                    return
                else:  # ConnectionClosed: before the answer was whole
                    self._end("cut")
                    return
        except h11.RemoteProtocolError as error:
            self._end("cut" if not data else "protocol", str(error))

    def _begin(self, response: h11.Response) -> None:
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        self._outcome.status = response.status_code
        self._outcome.retry_after = _retry_after(headers)
        self._stream = response.status_code == 200 and "text/event-stream" in headers.get("content-type", "")

    def _events(self, now: float) -> None:
        """The lines of server-sent events that are whole; those of one arrival have one time. One line an event."""
        while (place := self._text.find(b"\n")) >= 0:
            line = bytes(self._text[:place])
            del self._text[: place + 1]
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self._whole = True
            else:
                self._outcome.take(data, now)

    def _finish(self, now: float) -> None:
        """The message is complete."""
        if not self._stream:
            self._whole = True
            self._outcome.take(bytes(self._text), now)
            if self._outcome.status != 200:
                self._outcome.fail(str(self._outcome.status))
        self._end(None if self._whole else "cut")

    def _end(self, kind: str | None, said: str = "") -> None:
        if not self.over.done():
            if kind is not None:
                self._outcome.fail(kind, said)
            self._outcome.ended = self._clock()
            self.over.set_result(None)


async def ask(target: Target, asked: Asked, outcome: Outcome, clock: Callable[[], float]) -> None:
    """Send it and fill ``outcome`` in; nothing is raised for what the server or the network does."""
    body = orjson.dumps(asked.body)
    head = target.head(asked.route, len(body))
    outcome.sent = clock()
    transport: asyncio.BaseTransport | None = None
    try:
        transport, exchange = await asyncio.get_running_loop().create_connection(
            lambda: _Exchange(head, body, outcome, clock), target.host, target.port, ssl=target.secure
        )
        await exchange.over
    except OSError as error:
        outcome.fail("connection", str(error))
        outcome.ended = clock()
    finally:
        if transport is not None:
            transport.close()


def _retry_after(headers: dict[str, str]) -> float | None:
    """Seconds, by OpenAI's header in milliseconds or HTTP's in seconds."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
    return None
