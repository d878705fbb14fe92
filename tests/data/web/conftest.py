"""Web sites on loopback whose pages are made as they are asked for, and the source "web" run over them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS, Inbox, SourceFile
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES

Reply = tuple[int, dict[str, str], bytes]
STORY = (
    "The lighthouse at Grane was built in 1871 by Josef Hartung, who had seen two ships go down in one winter. "
    "It burned whale oil for eleven years, and colza oil after that, until the keeper asked for paraffin."
)


def article(title: str, *links: str, head: str = "", text: str = STORY) -> bytes:
    """A page with an own text and links in its navigation."""
    anchors = "".join(f'<a href="{link}">go</a> ' for link in links)
    return (
        f"<!DOCTYPE html><html lang=en><head><title>{title}</title>{head}</head><body><nav>{anchors}</nav>"
        f"<article><h1>{title}</h1><p>{title}. {text}</p><p>{text} That was {title}.</p></article></body></html>"
    ).encode()


class Site:
    """``pages``: path (or a function of any path, under "*") to (status, headers, body) or to what answers itself."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.pages: dict[str, Reply | Callable[[Any], Reply | None]] = {}
        self.asked: list[str] = []
        self.sent: list[dict[str, str]] = []
        self.times: list[float] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.times.append(time.monotonic())
                site.sent.append({k.lower(): v for k, v in self.headers.items()})
                page = site.pages.get(self.path) or (
                    (404, {}, b"none") if self.path == "/robots.txt" else site.pages.get("*", (404, {}, b"none"))
                )
                reply = page(self) if callable(page) else page
                if reply is None:
                    self.close_connection = True
                    return
                status, headers, body = reply
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), "Content-Type": "text/html", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None: ...

        self.server = Quiet((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def page(self, path: str, body: bytes | str = b"", status: int = 200, **headers: str) -> str:
        """Put a page there; its address."""
        data = body.encode() if isinstance(body, str) else body
        self.pages[path] = (status, {k.replace("_", "-"): v for k, v in headers.items()}, data)
        return self.url + path

    def article(self, path: str, *links: str, head: str = "", **headers: str) -> str:
        """A page whose title is its path."""
        return self.page(path, article(f"Page {path}", *links, head=head), **headers)

    def counts(self) -> Counter[str]:
        """How often each page was asked for, robots.txt apart."""
        return Counter(path for path in self.asked if path != "/robots.txt")

    def close(self) -> None:
        """No more answers."""
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Collected:
    """The rows of a source and what it reported (``contracts.corpus.Report``)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> None:
        self.names.append(name)

    def unread(self, name: str, reason: str) -> None:
        self.reasons.setdefault(name, reason)

    def titles(self) -> list[str]:
        return [row["title"] for row in self.rows]

    def said(self) -> str:
        return "\n".join(f"{name}: {reason}" for name, reason in self.reasons.items())


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Site]:
    made = Site("127.0.0.2")
    yield made
    made.close()


@pytest.fixture
def page_of() -> Callable[..., bytes]:
    return article


@pytest.fixture(scope="session")
def jail() -> Iterator[Jail]:
    with Jail(workers=2) as made:
        yield made


@pytest.fixture
def crawl(tmp_path: Path, jail: Jail, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Collected]:
    """``crawl(urls, depth=1, …)``: without delays; ``files``: name to bytes."""

    # The tests share the workers, which take half a second to start.
    monkeypatch.setattr("lamina.data.sources.web.Jail", lambda **_: nullcontext(jail))

    def run(
        urls: tuple[str, ...] | str = (),
        *,
        work: Path | None = None,
        files: Mapping[str, bytes] | None = None,
        **parameters: Any,
    ) -> Collected:
        found = Collected()
        inputs = []
        for name, content in (files or {}).items():
            (tmp_path / name).write_bytes(content)
            inputs.append(SourceFile(name=name, path=tmp_path / name))
        inbox = Inbox(
            source="mine",
            files=tuple(inputs),
            origin="",
            collected=datetime(2026, 1, 2, tzinfo=UTC),
            report=found,
            work=work,
        )
        options: dict[str, Any] = {
            "delay_s": 0.0,
            "allow_private": ("127.0.0.0/8",),
            "timeout_s": 5.0,
            "extract": "fast",
        }
        named = (urls,) if isinstance(urls, str) else urls
        for batch in SOURCES.get("web").function(inbox, urls=named, **options | parameters):
            assert isinstance(batch, pa.RecordBatch)
            assert batch.schema == DOCUMENTS
            batch.validate(full=True)
            found.rows += batch.to_pylist()
        return found

    return run
