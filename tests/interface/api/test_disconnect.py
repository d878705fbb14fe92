"""Clients that leave, and clients that do not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest

from lamina.interface.api.events import EventStream, merge
from lamina.testing import EchoService

LONG = {"messages": [{"role": "user", "content": "word " * 500}]}


def test_a_client_that_leaves_a_stream_aborts_it(serve, eventually) -> None:
    api = serve(service=EchoService(delay=0.02))
    with (
        api.http() as client,
        client.stream("POST", "/v1/chat/completions", json=LONG | {"stream": True, "n": 2}) as answer,
    ):
        lines = answer.iter_lines()
        while '"content":"word"' not in next(lines):
            pass
    assert eventually(lambda: api.service.aborted == 2)
    assert api.service.running == 0
    assert eventually(lambda: any(i.finish_reason == "abort" for i in api.store.interactions.values()))


def test_a_client_that_leaves_before_a_whole_answer_aborts_it(serve, eventually) -> None:
    api = serve(service=EchoService(delay=0.02))
    import json

    body = json.dumps(LONG).encode()
    raw = socket.create_connection(("127.0.0.1", api.port))
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    raw.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
    assert eventually(lambda: api.service.running == 1)
    raw.close()
    assert eventually(lambda: api.service.aborted == 1)


def test_a_client_that_leaves_before_its_body_is_whole_is_no_failure_of_the_server(serve, eventually, caplog) -> None:
    api = serve()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    raw = socket.create_connection(("127.0.0.1", api.port))
    raw.sendall(head.encode() + b'content-length: 1000\r\n\r\n{"messages": ')
    raw.close()
    with api.http() as client:
        assert eventually(lambda: client.get("/health/live").status_code == 200)
    assert not eventually(lambda: any(record.levelname == "ERROR" for record in caplog.records), seconds=0.3)


async def _endless(closed: list[bool]) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield b"data: {}\n\n"
    finally:
        closed.append(True)


def test_a_reader_that_stalls_is_given_up() -> None:
    closed: list[bool] = []

    async def never() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def send(message: object) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        events = _endless(closed)
        with pytest.raises(TimeoutError):
            await EventStream(events, {}, ping_s=1, stall_s=0.05)({}, never, send)
        assert closed == [True]  # at once, not when the garbage is collected
        await events.aclose()

    asyncio.run(asyncio.wait_for(run(), 5))


def test_pings_keep_a_slow_start_alive() -> None:
    sent: list[bytes] = []

    async def slow() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(0.1)
        yield b"data: 1\n\n"

    async def never() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message.get("body", b""))  # type: ignore[arg-type]

    asyncio.run(EventStream(slow(), {}, ping_s=0.03, stall_s=1)({}, never, send))  # type: ignore[arg-type]
    assert sent.count(b": ping\n\n") >= 2
    assert sent[-2:] == [b"data: 1\n\n", b""]


def test_merging_closes_every_source_when_one_fails() -> None:
    closed: list[bool] = []

    async def fails() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise ValueError("broken")

    async def run() -> None:
        async for _ in merge([_slowly(closed), fails(), _slowly(closed)]):
            pass

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(run())
    assert closed == [True, True]


async def _slowly(closed: list[bool]) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            await asyncio.sleep(0.01)
            yield b"y"
    finally:
        closed.append(True)
