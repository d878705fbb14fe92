"""Running the app: uvicorn on h11, with a deadline for the head of a request, which uvicorn itself has not."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD = 16 * 1024
HEAD_DEADLINE_S = 10.0
_START_S = 20.0


class Protocol(H11Protocol):
    """Closes a connection whose request line and headers are not complete in time."""

    head_deadline_s = HEAD_DEADLINE_S
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            # asyncio does this only for sockets whose protocol number is given; without it each small write may wait
            # 40 ms for the acknowledgement of the one before (RFC 896 meets RFC 1122 §4.2.3.2).
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Stop the clock once a head is complete; start it with the first byte of the next one."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_clock()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        self._stop_clock()
        self._head_timer = self.loop.call_later(self.head_deadline_s, self._too_slow)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


def server(app: Any, *, host: str, port: int, drain_s: int = 60, log_level: str = "warning") -> uvicorn.Server:
    """A server for ``app``: ``.run()`` serves until SIGTERM, then finishes what runs, ``drain_s`` seconds at most."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level=log_level,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=drain_s,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    return uvicorn.Server(config)


@contextmanager
def in_thread(app: Any, *, drain_s: int = 1, backlog: int = 2048) -> Iterator[str]:
    """While inside, ``app`` answers at the address that is given, from a thread: for tests and measurements."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=backlog)) as listener:
        running = server(app, host="127.0.0.1", port=0, drain_s=drain_s)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + _START_S
            while not running.started:
                if not thread.is_alive() or time.monotonic() > deadline:
                    raise RuntimeError("the server did not start")
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join(10 + drain_s)
