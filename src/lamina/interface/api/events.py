"""Answers on their way out: server-sent events and whole bodies, with an eye on the client at the other end.

A client that leaves ends the work at once: the source is closed, which aborts the request in the engine. One that
stops reading is treated as gone after a while. An error before the first byte keeps its HTTP status; after it, it
becomes an ``error`` event and the stream closes, so that a cut answer never looks whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from lamina.interface.api.errors import error_event

T = TypeVar("T")
DONE = b"data: [DONE]\n\n"
_PING = b": ping\n\n"


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """The result of ``work``, or None (and ``work`` cancelled) when the client leaves first."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


class WholeAnswer(Response):
    """A JSON body that ``work`` computes; ``work`` is cancelled when the client leaves."""

    def __init__(self, work: Coroutine[Any, Any, Mapping[str, Any]], headers: Mapping[str, str]) -> None:
        super().__init__()
        self._work = work
        self._extra = dict(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compute, then answer; errors go to the error handlers."""
        body = await _while_connected(self._work, receive)
        if body is not None:
            response = Response(orjson.dumps(body), headers=self._extra, media_type="application/json")
            await response(scope, receive, send)


class EventStream(Response):
    """``events`` as they come.

    ``ping_s``: a comment each so many seconds while the first is awaited; ``stall_s``: patience with the reader.
    """

    def __init__(
        self, events: AsyncGenerator[bytes, None], headers: Mapping[str, str], *, ping_s: float, stall_s: float
    ) -> None:
        self._events = events
        self._ping = ping_s
        self._stall = stall_s
        self._started = False
        super().__init__(
            headers={"cache-control": "no-cache, no-store", "x-accel-buffering": "no", **headers},
            media_type="text/event-stream",
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the events end, the client leaves, or something fails."""
        try:
            await _while_connected(self._run(send), receive)
        finally:
            await self._events.aclose()

    async def _run(self, send: Send) -> None:
        async with _Reader(send, self._stall) as reader:
            try:
                first = await self._first(reader)
                if first is not None:
                    await self._send(reader, first)
                    async for data in self._events:
                        await self._send(reader, data)
            except TimeoutError:
                raise  # nobody reads: the server drops the connection
            except Exception as error:
                if not self._started:
                    raise
                await self._send(reader, error_event(error))
            await self._send(reader, b"", more=False)

    async def _first(self, send: Send) -> bytes | None:
        """The first event (None: there is none), with pings on the wire from ``ping_s`` seconds on."""
        task = asyncio.ensure_future(anext(self._events))
        try:
            while not (await asyncio.wait({task}, timeout=self._ping))[0]:
                await self._send(send, _PING)
            return task.result()
        except StopAsyncIteration:
            return None
        finally:
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": data, "more_body": more})


class _Reader:
    """``send`` to a client that has to take what it is sent: after ``stall_s`` of one send, ``TimeoutError``.

    Somebody looks now and then, four times in that while, so that a token costs no timer.
    """

    def __init__(self, send: Send, stall_s: float) -> None:
        self._send, self._stall = send, stall_s
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._since: float | None = None  # when the send began that is under way
        self._timer: asyncio.TimerHandle | None = None
        self._gone = False

    async def __call__(self, message: Message) -> None:
        self._since = self._loop.time()
        try:
            await self._send(message)
        finally:
            self._since = None

    async def __aenter__(self) -> _Reader:
        self._look()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._gone and self._task is not None and kind is asyncio.CancelledError and not self._task.uncancel():
            raise TimeoutError("nobody reads")

    def _look(self) -> None:
        if self._since is not None and self._loop.time() - self._since >= self._stall and self._task is not None:
            self._gone = True
            self._task.cancel()
            return
        self._timer = self._loop.call_later(self._stall / 4, self._look)


async def merge(sources: list[AsyncIterator[T]]) -> AsyncGenerator[tuple[int, T], None]:
    """Items of several iterators as they come, each with the number of its source; closing it closes them all."""
    if len(sources) == 1:
        try:
            async for item in sources[0]:
                yield 0, item
        finally:
            await _close(sources[0])
        return
    waiting: dict[asyncio.Future[T], int] = {_next(source): number for number, source in enumerate(sources)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                waiting[_next(sources[number])] = number
                yield number, item
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for source in sources:
            await _close(source)


def _next(source: AsyncIterator[T]) -> asyncio.Future[T]:
    async def step() -> T:
        return await anext(source)

    return asyncio.ensure_future(step())


async def _close(source: AsyncIterator[Any]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
