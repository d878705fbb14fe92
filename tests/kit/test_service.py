"""Services are asked where the configuration says, and what they do wrong has a name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lamina.kit.errors import FetchError, RefusedError
from lamina.kit.service import Service, is_loopback

SEEN: list[tuple[str, str | None, Any]] = []


class _Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        SEEN.append((self.path, self.headers.get("Authorization"), body))
        status, said = {
            "/v1/echo": (200, json.dumps(body).encode()),
            "/v1/moved": (302, b""),
            "/v1/words": (200, b"no JSON"),
        }.get(self.path, (500, b"out   of\nmemory"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/v1/echo")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    SEEN.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/"
    server.shutdown()
    server.server_close()


def test_json_there_and_back_with_the_key(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "s3cret")
    assert Service(address, key="SOME_KEY").post("/echo", {"text": "wal 🐋"}) == {"text": "wal 🐋"}
    assert SEEN == [("/v1/echo", "Bearer s3cret", {"text": "wal 🐋"})]


@pytest.mark.parametrize(
    ("path", "what"),
    [("/broken", "answered 500: out of memory"), ("/moved", "answered 302"), ("/words", "not answer with JSON")],
)
def test_what_goes_wrong_is_named(address: str, path: str, what: str) -> None:
    with pytest.raises(FetchError, match=what):
        Service(address).post(path, {})
    assert len(SEEN) == 1  # no redirect was followed


def test_nobody_there() -> None:
    with pytest.raises(FetchError, match="did not answer"):
        Service("http://127.0.0.1:9", timeout_s=2).post("/echo", {})


@pytest.mark.parametrize("address", ["https://example.org/v1", "http://10.0.0.3/v1", "http://localhost.example.org/"])
def test_texts_stay_on_this_machine_unless_told(address: str) -> None:
    with pytest.raises(RefusedError, match="another machine"):
        Service(address)
    Service(address, remote=True)


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("0.0.0.0", False), ("example.org", False), ("", False)],
)
def test_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) is here
