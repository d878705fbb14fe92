"""Worker processes for work that can be cut into pieces: our own children, JSON in and JSON out, never pickle.

    with Workers() as workers:
        for facts in workers.map("lamina.data.units:clean", payloads):
            ...

``function(payload)`` runs in a child of this process and returns a JSON value; what is large goes through files that
the payload names. Children have one thread each for the native libraries, die with this process, and are started when
they are needed. The code is trusted: for files from outside see ``kit.jail``.
"""

from __future__ import annotations

import importlib
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any

from lamina.kit import spawn
from lamina.kit.errors import StageError, restored, told
from lamina.kit.jail_wire import Closed, receive, send
from lamina.kit.limits import processors
from lamina.kit.process import die_with_parent, how_it_ended

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


WORKER = "LAMINA_WORKER"  # set in processes that are one of many on their machine


def cores() -> int:
    """Processors that this process may use, by ``kit.limits``; one for a worker, whose neighbours use the others."""
    return 1 if os.environ.get(WORKER) else processors()


class Workers:
    """``count`` child processes (default: one a processor); with one, the work is done in this process."""

    def __init__(self, count: int | None = None) -> None:
        self.count = cores() if count is None else max(1, count)
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        self._children: list[_Child] = []
        for _ in range(self.count):
            self._idle.put(None)
        # A child is killed when the thread that started it ends: this one lives as long as the pool.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="workers keeper")
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="workers")
        self._lock = threading.Lock()

    def map(self, function: str, payloads: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
        """The value of ``function`` ("module:name") for each payload, in their order.

        Raises what the function raised (a ``LaminaError`` as itself), or ``StageError`` where a child died; what was
        not begun is not begun then.
        """
        if self.count == 1:
            call = resolve(function)
            yield from (call(dict(payload)) for payload in payloads)
            return
        waiting: deque[Future[Any]] = deque()
        try:
            for payload in payloads:
                waiting.append(self._threads.submit(self._call, function, dict(payload)))
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the children, in the middle of their work if need be."""
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            child.end()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._keeper.shutdown()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, function: str, payload: dict[str, Any]) -> Any:
        child = self._idle.get()
        try:
            if child is None or not child.alive():
                child = self._keeper.submit(_Child, function).result()
                with self._lock:
                    self._children.append(child)
            reply = child.call({"function": function, "payload": payload})
        finally:
            self._idle.put(child)
        return _value(reply)


class _Child:
    """One worker process."""

    def __init__(self, function: str) -> None:
        read, write = os.pipe()
        try:
            variables = {**dict.fromkeys(_THREADS, "1"), WORKER: "1", "PYTHONHASHSEED": "0"}
            self._process = spawn.start("lamina.kit.workers", fds=(write,), function=function, variables=variables)
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        assert self._process.stdin is not None
        self._stdin, self._read, self._ended = self._process.stdin, read, False

    def alive(self) -> bool:
        return not self._ended and self._process.poll() is None

    def call(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            send(self._stdin.fileno(), message)
            return receive(self._read)[0]
        except (Closed, ValueError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            raise StageError(f"a worker {how_it_ended(self.end())}", where=str(message["function"])) from None

    def end(self) -> int:
        self._process.kill()
        status = self._process.wait()
        if not self._ended:
            self._ended = True
            with suppress(OSError):
                self._stdin.close()
            os.close(self._read)
        return status


def call(function: str, payload: Mapping[str, Any]) -> Any:
    """The value of ``function`` for one payload, in a child: for what imports more than this process needs."""
    child = _Child(function)
    try:
        reply = child.call({"function": function, "payload": dict(payload)})
    finally:
        child.end()
    return _value(reply)


def _value(reply: dict[str, Any]) -> Any:
    if "types" in reply:
        raise restored(reply)
    return reply["value"]


def resolve(function: str) -> Callable[..., Any]:
    """The function that "module:name" names."""
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def main() -> None:
    """Answer requests until standard input ends."""
    out, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(out, False)
    die_with_parent(parent)
    while True:
        try:
            request, _ = receive(0)
        except Closed:
            return
        try:
            reply = {"value": resolve(request["function"])(request["payload"])}
        except Exception as error:
            reply = told(error)
        send(out, reply)


if __name__ == "__main__":
    main()
