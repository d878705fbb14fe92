"""What a long piece of work shows while it runs: a live bar, plain lines, JSON lines, or nothing.

    with open_progress().task("train", total=400, unit="steps") as task:
        task.advance(1, loss_nats=2.31)

On a terminal every task has a bar with rate and ETA; in a pipe each task writes at most one line in five seconds and
a last one; ``json`` writes one object a line. Tasks may be advanced from any thread.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol, TextIO

from lamina.kit.progress_meter import Fact, Meter, clean, clock, count, facts, rate

Mode = Literal["auto", "plain", "json", "quiet"]
_PLAIN_S = 5.0
_JSON_S = 1.0


class Task(Protocol):
    """A piece of work that gets done bit by bit."""

    def advance(self, n: float = 1, **facts: Fact) -> None:
        """``n`` more units are done; ``facts`` are shown beside the bar and stand until they are replaced."""
        ...

    def expect(self, total: float) -> None:
        """The task has ``total`` units, as far as can be told now: of work that ends by the clock."""
        ...


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> AbstractContextManager[Task]:
        """Show a task of ``total`` units (None: unknown); ``done`` were done before, by an interrupted run."""
        ...

    def say(self, text: str) -> None:
        """Write a line for the reader, above the bars."""
        ...


def open_progress(mode: Mode = "auto", *, stream: TextIO | None = None) -> Progress:
    """The progress display for ``mode``; ``auto`` draws bars on a terminal and writes plain lines elsewhere."""
    out = stream or sys.stdout
    if mode == "quiet":
        return _Shown(lambda meter: None, lambda text: None, _Nothing())
    if mode == "json":
        lines = _JsonLines(out)
        return _Shown(lines.begin, lines.say, lines)
    if mode == "auto" and out.isatty():
        from lamina.kit.progress_bar import Bars

        bars = Bars(out)
        return _Shown(bars.begin, bars.say, bars)
    plain = _PlainLines(out)
    return _Shown(plain.begin, plain.say, plain)


class Display(Protocol):
    """What a mode does with a task's figures."""

    def show(self, meter: Meter) -> None:
        """The task moved."""

    def end(self, meter: Meter, ok: bool) -> None:
        """The task is over; ``ok`` is false where an exception ended it."""


class _Shown:
    """Progress over a display."""

    def __init__(self, begin: Callable[[Meter], None], say: Callable[[str], None], display: Display) -> None:
        self._begin, self._say, self._display = begin, say, display

    @contextmanager
    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> Iterator[Task]:
        meter = Meter(clean(name), total, unit, done)
        self._begin(meter)
        try:
            yield _Moving(meter, self._display)
        except BaseException:
            self._display.end(meter, False)
            raise
        self._display.end(meter, True)

    def say(self, text: str) -> None:
        self._say(clean(text))


class _Moving:
    def __init__(self, meter: Meter, display: Display) -> None:
        self._meter, self._display = meter, display

    def advance(self, n: float = 1, **facts: Fact) -> None:
        self._meter.add(n, facts)
        self._display.show(self._meter)

    def expect(self, total: float) -> None:
        self._meter.total = total


class _Nothing:
    def show(self, meter: Meter) -> None:
        pass

    def end(self, meter: Meter, ok: bool) -> None:
        pass


class _Lines(ABC):
    """Text to a stream, whole lines at a time, each task no oftener than every ``every`` seconds."""

    every = 0.0

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._last: dict[int, float] = {}

    def begin(self, meter: Meter) -> None:
        self._last[id(meter)] = time.monotonic()

    def show(self, meter: Meter) -> None:
        with self._lock:
            now = time.monotonic()
            due = now - self._last.get(id(meter), now) >= self.every
            if due:
                self._last[id(meter)] = now
        if due:
            self.write(self.line(meter))

    def end(self, meter: Meter, ok: bool) -> None:
        self._last.pop(id(meter), None)
        self.write(self.last(meter, ok))

    def write(self, text: str) -> None:
        with self._lock:
            self._out.write(text + "\n")
            self._out.flush()

    @abstractmethod
    def line(self, meter: Meter) -> str: ...

    @abstractmethod
    def last(self, meter: Meter, ok: bool) -> str: ...


class _PlainLines(_Lines):
    every = _PLAIN_S

    def say(self, text: str) -> None:
        self.write(text)

    def line(self, meter: Meter) -> str:
        eta = meter.eta
        parts = [count(meter), rate(meter.rate, meter.unit), f"ETA {clock(eta)}" if eta is not None else ""]
        return f"{meter.name}: " + ", ".join([*(part for part in parts if part), *facts(meter)])

    def last(self, meter: Meter, ok: bool) -> str:
        verb = "done" if ok else "stopped at"
        parts = [f"{verb} {count(meter)} in {clock(meter.elapsed)}", rate(meter.mean_rate, meter.unit), *facts(meter)]
        return f"{meter.name}: " + ", ".join(part for part in parts if part)


class _JsonLines(_Lines):
    every = _JSON_S

    def say(self, text: str) -> None:
        self.write(json.dumps({"event": "say", "text": text}, ensure_ascii=False))

    def begin(self, meter: Meter) -> None:
        super().begin(meter)
        self.write(self._object("begin", meter))

    def line(self, meter: Meter) -> str:
        return self._object("progress", meter, per_second=meter.rate, eta_s=meter.eta)

    def last(self, meter: Meter, ok: bool) -> str:
        return self._object("end", meter, ok=ok, elapsed_s=round(meter.elapsed, 3), per_second=meter.mean_rate)

    def _object(self, event: str, meter: Meter, **more: Any) -> str:
        values = {"event": event, "task": meter.name, "done": meter.done, "total": meter.total, "unit": meter.unit}
        numbers = {k: _finite(v) for k, v in more.items()}
        facts = {k: _finite(v) for k, v in meter.facts.items()}
        return json.dumps({**values, **numbers, "facts": facts}, ensure_ascii=False)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
