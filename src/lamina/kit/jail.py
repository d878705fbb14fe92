"""A jail for parsers of untrusted files: children that may crash, hang or eat memory at the cost of one document.

    with Jail() as jail:
        value = jail.call("lamina.data.sources.pdf:read", {"pages": 10}, data)

The function is called in a worker as ``function(payload, data)`` and returns a JSON value, or bytes. A worker has a
memory limit, no network (a namespace of its own where the kernel allows, else a hook on Python's sockets), writes no
files, starts no programs, sees no secrets of the environment, and dies with this process.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from lamina.kit.errors import BusyError, DocumentError, StageError
from lamina.kit.jail_wire import Closed, Late, is_readable, receive, send
from lamina.kit.process import how_it_ended, processor_seconds

_CALLS = 2000  # a worker is replaced after so many calls: what a library leaks goes with it
_KEPT = 4  # workers that a process keeps between jails
_START_S = 30.0
_PATIENCE = 4.0  # a call may take so many times its processor seconds by the clock: the machine may have other work
_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "TMPDIR",
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


class _Crash(DocumentError):
    """The worker died over a document, or is of no more use: what earlier documents took counts against its memory."""


class _Worker:
    """One child process."""

    def __init__(self, memory_mb: int) -> None:
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-B",
                    "-m",
                    "lamina.kit.jail_worker",
                    str(write),
                    str(os.getpid()),
                    str(memory_mb),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(write,),
                start_new_session=True,
                env=_environment(),
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._to, self._from, self.calls, self._ended = self._stdin.fileno(), read, 0, False
        for fd in (self._to, self._from):
            os.set_blocking(fd, False)
        try:
            self.facts, _ = receive(self._from, deadline=time.monotonic() + _START_S)
        except (Late, Closed) as error:
            raise StageError(f"a jail worker {how_it_ended(self.end())} before it began") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def call(self, message: dict[str, Any], data: bytes, seconds: float) -> dict[str, Any]:
        self.calls += 1
        deadline = time.monotonic() + _PATIENCE * seconds
        before = processor_seconds(self.pid)
        send(self._to, message, data, deadline=deadline)
        left = seconds
        while not is_readable(self._from, max(left, 0.02)):
            used = processor_seconds(self.pid)
            left = 0.0 if used is None or before is None else seconds - (used - before)
            if left <= 0 or time.monotonic() > deadline:
                raise Late
        reply, answer = receive(self._from, deadline=deadline)
        return reply | {"value": answer} if reply.get("bytes") else reply

    def end(self, *, patience_s: float = 0.0) -> int:
        """Kill it unless it ends within ``patience_s`` by itself; its exit status."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        self._process.kill()
        status = self._process.wait()
        if not self._ended:
            self._ended = True
            with suppress(OSError):
                self._stdin.close()
            os.close(self._from)
        return status


class _Kept:
    """Workers that outlive their jail, for the next jail of the same owner in this process."""

    owner: str | None = None  # None: none are kept
    workers: list[tuple[int, _Worker]] = []  # noqa: RUF012 - of the process: memory in MiB, worker
    lock = threading.Lock()
    keeper: ThreadPoolExecutor | None = None  # a worker is killed when the thread that started it ends


def keep(owner: str | None) -> None:
    """From now on workers of closed jails serve the next ones, which saves a second each, until the owner is another.

    For processes that read unit after unit of one source: what one source did to a parser is no matter of another's.
    """
    with _Kept.lock:
        if owner == _Kept.owner:
            return
        _Kept.owner = owner
        ended, _Kept.workers = _Kept.workers, []
        if owner is not None and _Kept.keeper is None:
            _Kept.keeper = ThreadPoolExecutor(1, thread_name_prefix="jails keeper")
    for _, worker in ended:
        worker.end()


class Jail:
    """``workers`` child processes, started when they are needed; ``call`` may be used from as many threads.

    ``memory_mb`` bounds a worker's address space beyond what Python itself takes, ``seconds`` the processor time of a
    call, so that what a document may take does not depend on what else the machine does; by the clock four times that.
    """

    def __init__(self, *, workers: int = 2, memory_mb: int = 1024, seconds: float = 30.0) -> None:
        self.memory_mb, self.seconds = memory_mb, seconds
        self._slots: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self._workers = workers
        self._owner = _Kept.owner
        # A child is killed when the thread that started it ends: this one lives as long as the jail.
        own = _Kept.keeper if self._owner is not None else None
        self._keeper = own or ThreadPoolExecutor(1, thread_name_prefix="jail keeper")
        self._lock = threading.Lock()
        self._closed = False

    def call(self, function: str, payload: dict[str, Any], data: bytes | None = None) -> Any:
        """The JSON value (or the bytes) of ``function(payload, data)``, called in a worker.

        Raises ``DocumentError``: what the function raised, "took longer than 30 s", "needs more than 1,024 MiB of
        memory", or how the worker died. The next call finds a fresh worker.
        """
        message = {"function": function, "payload": payload, "data": data is not None}
        worker = self._slots.get()
        try:
            if self._closed:
                raise BusyError("the jail is closed")
            worker = self._ready(worker)
            used = worker.calls > 0
            try:
                reply = self._ask(worker, message, data or b"")
            except _Crash:
                if not used:
                    raise
                worker = self._ready(worker)  # an earlier document may be to blame: ask a fresh one
                reply = self._ask(worker, message, data or b"")
        finally:
            self._slots.put(worker)
        if "error" in reply:
            raise DocumentError(str(reply["error"]), where=reply.get("where"), hint=reply.get("hint"))
        return reply.get("value")

    def _ask(self, worker: _Worker, message: dict[str, Any], data: bytes) -> dict[str, Any]:
        """The worker's reply; a worker that cannot be used any more is ended (and replaced at the next call)."""
        try:
            reply = worker.call(message, data, self.seconds)
        except Late:
            worker.end()
            raise DocumentError(f"took longer than {self.seconds:g} s") from None
        except Closed:  # a crash closes the pipes a moment before the process is gone
            raise _Crash(f"the parser {how_it_ended(worker.end(patience_s=1.0))}") from None
        except BaseException:
            worker.end()  # an interrupt: the pipes may hold half a frame
            raise
        if reply.get("memory"):
            worker.end()
            raise _Crash(f"needs more than {self.memory_mb:,} MiB of memory")
        return reply

    def _ready(self, worker: _Worker | None) -> _Worker:
        if worker is not None and worker.alive() and worker.calls < _CALLS:
            return worker
        if worker is not None:
            worker.end()
        elif (kept := self._found()) is not None:
            return kept
        return self._keeper.submit(_Worker, self.memory_mb).result()

    def _found(self) -> _Worker | None:
        """A worker that an earlier jail of this owner left."""
        with _Kept.lock:
            if self._owner is not None and self._owner == _Kept.owner:
                for place, (memory_mb, worker) in enumerate(_Kept.workers):
                    if memory_mb == self.memory_mb and worker.alive() and worker.calls < _CALLS:
                        return _Kept.workers.pop(place)[1]
        return None

    def _left(self, worker: _Worker) -> bool:
        """Whether ``worker`` is kept for the next jail."""
        with _Kept.lock:
            wanted = self._owner is not None and self._owner == _Kept.owner
            if wanted and worker.alive() and len(_Kept.workers) < _KEPT:
                _Kept.workers.append((self.memory_mb, worker))
                return True
        return False

    def close(self) -> None:
        """End the workers, after the calls that are under way."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for worker in [self._slots.get() for _ in range(self._workers)]:
            if worker is not None and not self._left(worker):
                worker.end()
            self._slots.put(None)  # whoever waits for a worker learns that there is none
        if self._keeper is not _Kept.keeper:
            self._keeper.shutdown()

    def __enter__(self) -> Jail:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONHASHSEED": "0"}
