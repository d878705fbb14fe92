"""A stage's progress and outcome, from child (``Reporter``) to parent (``Relay``), as JSON lines over a pipe."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from lamina.kit.errors import told
from lamina.kit.progress import Progress, Task
from lamina.kit.progress_meter import Fact

_EVERY_S = 0.1  # reports of one task are gathered for this long


class Reporter:
    """Progress in the child: what tasks do is told to the parent."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._count = 0

    def say(self, text: str) -> None:
        """Write a line for the reader."""
        self.tell(event="say", text=text)

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> Iterator[Task]:
        """Show a task."""
        with self._lock:
            self._count += 1
            number = self._count
        self.tell(event="begin", task=number, name=name, total=total, unit=unit, done=done)
        moving = _Gathered(self, number)
        try:
            yield moving
        except BaseException:
            moving.flush()
            self.tell(event="end", task=number, ok=False)
            raise
        moving.flush()
        self.tell(event="end", task=number, ok=True)

    def done(self) -> None:
        """The result is published."""
        self.tell(event="done")

    def failed(self, error: BaseException) -> None:
        """The stage raised ``error``."""
        self.tell(event="error", **told(error))

    def tell(self, **message: Any) -> None:
        """Send one message. A parent that is gone is no error: the kernel ends this process with it."""
        line = json.dumps(message, default=str).encode() + b"\n"
        with self._lock:
            try:
                view = memoryview(line)
                while view:
                    view = view[os.write(self._fd, view) :]
            except BrokenPipeError:
                pass


class _Gathered:
    def __init__(self, reporter: Reporter, number: int) -> None:
        self._reporter, self._number = reporter, number
        self._lock = threading.Lock()
        self._n, self._facts, self._last = 0.0, {}, 0.0  # type: tuple[float, dict[str, Fact], float]
        self._total: float | None = None  # that is expected now and was not told yet

    def advance(self, n: float = 1, **facts: Fact) -> None:
        with self._lock:
            self._n += n
            self._facts.update(facts)
            due = time.monotonic() - self._last >= _EVERY_S
        if due:
            self.flush()

    def expect(self, total: float) -> None:
        with self._lock:
            self._total = total

    def flush(self) -> None:
        with self._lock:
            n, facts, self._n, self._facts, self._last = self._n, self._facts, 0.0, {}, time.monotonic()
            total, self._total = self._total, None
        if total is not None:
            self._reporter.tell(event="expect", task=self._number, total=total)
        if n or facts:
            self._reporter.tell(event="advance", task=self._number, n=n, facts=facts)


class _Stopped(Exception):
    """A task of the child ended badly."""


class Relay:
    """The parent's end: shows the child's tasks in ``progress`` and keeps the outcome."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: dict[int, tuple[Task, ExitStack]] = {}
        self.done = False
        self.error: dict[str, Any] | None = None

    def take(self, line: bytes) -> None:
        """One message of the child. A line cut short by its death is passed over."""
        try:
            message = json.loads(line)
        except ValueError:
            return
        match message.pop("event"):
            case "say":
                self._progress.say(message["text"])
            case "begin":
                self._begin(**message)
            case "expect":
                self._open[message["task"]][0].expect(message["total"])
            case "advance":
                self._open[message["task"]][0].advance(message["n"], **message["facts"])
            case "end":
                self._end(message["task"], ok=message["ok"])
            case "done":
                self.done = True
            case "error":
                self.error = message

    def close(self) -> None:
        """End the tasks that the child left open."""
        for number in reversed(list(self._open)):
            self._end(number, ok=False)

    def _begin(self, task: int, name: str, total: float | None, unit: str, done: float) -> None:
        stack = ExitStack()
        self._open[task] = stack.enter_context(self._progress.task(name, total=total, unit=unit, done=done)), stack

    def _end(self, number: int, *, ok: bool) -> None:
        _, stack = self._open.pop(number)
        if ok:
            stack.close()
            return
        stopped = _Stopped()
        with suppress(_Stopped):
            stack.__exit__(_Stopped, stopped, None)
