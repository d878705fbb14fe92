"""One HTTP exchange with a checked peer: resolve once, check, connect to that very address, bounded in time and size.

The name stays in Host and SNI; only the socket goes to the address that was checked, so that a name which resolves
differently a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from lamina.kit.addresses import Guard, literal
from lamina.kit.decompress import body_of
from lamina.kit.errors import FetchError

Resolve = Callable[[str, int], Sequence[str]]
_HEADERS = 256
_log = logging.getLogger("lamina.fetch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, headers (names in lower case; repeated ones joined by a comma) and the decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Exchange:
    """A pool of checked connections. ``timeout_s`` bounds a whole exchange, from the lookup to the body's last byte."""

    def __init__(self, guard: Guard, *, timeout_s: float, resolve: Resolve = resolve) -> None:
        self._deadline = _Deadline()
        self._timeout_s = timeout_s
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=True),
            max_connections=64,
            max_keepalive_connections=16,
            keepalive_expiry=30.0,
            network_backend=_Backend(guard, self._deadline, resolve),
        )

    def ask(
        self,
        url: httpx.URL,
        headers: Mapping[str, str],
        *,
        limit: int,
        truncate: bool = False,
        body: bytes | None = None,
        read: Container[int] = (),
    ) -> Answer:
        """GET a canonical ``url``, or POST ``body`` to it; the body of an answer is read for 2xx and for ``read``.

        Raises ``RefusedError`` for a peer that is not allowed, ``FetchError`` for all else that goes wrong.
        """
        self._deadline.at = time.monotonic() + self._timeout_s
        where = str(url)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path or b"/")
        lines = [(b"Host", url.netloc), *((k.encode(), v.encode("latin-1", "replace")) for k, v in headers.items())]
        method = "GET" if body is None else "POST"
        if body is not None:
            lines.append((b"Content-Length", str(len(body)).encode()))
        options: dict[str, Any] = {"headers": lines, "content": body, "extensions": {"timeout": timeout}}
        try:
            with self._pool.stream(method, target, **options) as response:
                told = _headers(response.headers)
                said = b""
                if 200 <= response.status < 300 or response.status in read:
                    _check_length(told, limit, truncate)
                    coding = told.get("content-encoding", "")
                    said = body_of(response.iter_stream(), coding, limit=limit, truncate=truncate)
                return Answer(status=response.status, headers=told, body=said)
        except FetchError as error:
            raise FetchError(error.what, where=where, hint=error.hint) from error
        except httpcore.TimeoutException as error:
            raise FetchError(f"took longer than {self._timeout_s:g} s", where=where) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise FetchError(f"the connection failed: {error or type(error).__name__}", where=where) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for count, (name, value) in enumerate(raw):
        if count >= _HEADERS:
            raise FetchError(f"the answer has more than {_HEADERS} headers")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _check_length(headers: Mapping[str, str], limit: int, truncate: bool) -> None:
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit and not truncate:
        raise FetchError(f"the body has {stated} bytes; at most {limit} are fetched")


class _Deadline(threading.local):
    """When the exchange of this thread must have ended (monotonic seconds)."""

    at = 0.0

    def left(self, timeout: float | None) -> float:
        """Seconds that an operation may take; raises the library's timeout when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("deadline")
        return left if timeout is None else min(left, timeout)


class _Backend(httpcore.NetworkBackend):
    """Resolves, checks and connects; nothing else in the process opens a connection for the fetcher."""

    def __init__(self, guard: Guard, deadline: _Deadline, resolve: Resolve) -> None:
        self._guard, self._deadline, self._resolve = guard, deadline, resolve
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        given = literal(host)
        try:
            addresses = [str(given)] if given else list(self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise FetchError(f"the host '{host}' cannot be found: {error}") from error
        for address in addresses:  # one that is not allowed refuses them all
            self._guard.check(host, ip_address(address))
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in addresses[:4]:
            try:
                stream = self._plain.connect_tcp(
                    address, port, self._deadline.left(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            peer = stream.get_extra_info("server_addr")
            self._guard.check(host, ip_address(peer[0]))
            _log.debug("connected to %s at %s port %s", host, address, port)
            return _Stream(stream, self._deadline)
        raise failure

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise FetchError("the fetcher opens no local sockets")

    def sleep(self, seconds: float) -> None:
        self._plain.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """A connection whose every operation ends by the deadline: a slow drip of bytes does not renew it."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
