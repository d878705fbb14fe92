"""A local server that an interface of a network is made from: routes, limits of requests, and faults on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class Clock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.time = time.time()  # the fetcher measures resets against the true time
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class Request:
    def __init__(self, handler: Any, body: bytes) -> None:
        parts = urlsplit(handler.path)
        self.method, self.path, self.query = handler.command, parts.path, dict(parse_qsl(parts.query))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body


class Server:
    """``faults``: (part of a path, fault), each used up by the first request that it fits.

    Faults: "429" (with Retry-After), "window" (429 with the reset of the network's own headers), "500", "503", "cut"
    (JSON that ends too soon), "short" (fewer bytes than announced), "drop", "html", "other" (JSON of another kind).
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[str] = []
        self.agents: set[str] = set()
        self.faults: list[tuple[str, str]] = []
        self.down = False
        self.window, self.left = 300, 300
        self.resets = clock.time + 300
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet: otherwise each answer waits for an acknowledgement

            def do_GET(self) -> None:
                server._serve(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON value: what the network says."""
        raise NotImplementedError

    def limits(self) -> dict[str, str]:
        """The headers that tell how many requests are left."""
        return {}

    def counted(self, part: str) -> int:
        return sum(part in path for path in self.asked)

    def _serve(self, handler: Any) -> None:
        request = Request(handler, handler.rfile.read(int(handler.headers.get("Content-Length") or 0)))
        self.asked.append(handler.path)
        self.agents.add(request.headers.get("user-agent", ""))
        if self.clock.time >= self.resets:
            self.left, self.resets = self.window, self.clock.time + 300
        self.left -= 1
        fault = "500" if self.down else self._fault(handler.path)
        if fault == "drop":
            handler.close_connection = True
            return
        status, headers, value = self.answer(request)
        headers = self.limits() | {"Content-Type": "application/json; charset=utf-8"} | headers
        data = json.dumps(value).encode()
        if fault in ("429", "window") or self.left < 0:
            status, data = 429, b'{"error": "Too many requests"}'
            headers |= {"Retry-After": "7"} if fault == "429" else {}
        elif fault in ("500", "503"):
            status, data = int(fault), b"<html>We are sorry</html>"
        elif fault == "cut":
            data = data[: len(data) // 2]
        elif fault == "html":
            data = b"<!DOCTYPE html><title>Just a moment...</title>"
        elif fault == "other":
            data = b'"maintenance"'
        handler.send_response(status)
        for name, text in (headers | {"Content-Length": str(len(data))}).items():
            handler.send_header(name, text)
        handler.end_headers()
        handler.wfile.write(data[:-5] if fault == "short" else data)
        if fault == "short":
            handler.close_connection = True

    def _fault(self, path: str) -> str | None:
        for place, (part, fault) in enumerate(self.faults):
            if part in path:
                del self.faults[place]
                return fault
        return None


Answer = tuple[int, dict[str, str], Any]
Route = Callable[[Request], Answer]
