"""What a long piece of work shows while it runs: a live bar, plain lines, JSON lines, or nothing.

    with open_progress().task("train", total=400, unit="steps") as task:
        task.advance(1, loss_nats=2.31)

On a terminal every task has a bar with rate and ETA; in a pipe each task writes at most one line in five seconds and
a last one; ``json`` writes one object a line. Tasks may be advanced from any thread.
"""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol, TextIO

Mode = Literal["auto", "plain", "json", "quiet"]
Fact = float | str
_WINDOW_S = 30.0  # the rate is that of the last half minute
_PLAIN_S = 5.0
_JSON_S = 1.0
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # a document's title must not drive the terminal


class Task(Protocol):
    """A piece of work that gets done bit by bit."""

    def advance(self, n: float = 1, **facts: Fact) -> None:
        """``n`` more units are done; ``facts`` are shown beside the bar and stand until they are replaced."""
        ...


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, name: str, *, total: float | None, unit: str, done: float = 0.0) -> AbstractContextManager[Task]:
        """Show a task of ``total`` units (None: unknown); ``done`` were done before, by an interrupted run."""
        ...

    def say(self, text: str) -> None:
        """Write a line for the reader, above the bars."""
        ...


class Meter:
    """A task's figures: how much is done, how fast it goes (units per second), how long it will take (seconds)."""

    def __init__(
        self, name: str, total: float | None, unit: str, done: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self.facts: dict[str, Fact] = {}
        self._clock, self._before, self.started = clock, done, clock()
        self._marks: deque[tuple[float, float]] = deque([(self.started, done)])
        self._lock = threading.Lock()

    def add(self, n: float, facts: dict[str, Fact]) -> None:
        """Count ``n`` more units."""
        with self._lock:
            now = self._clock()
            self.done += n
            self.facts.update(facts)
            if now - self._marks[-1][0] >= 0.1:
                self._marks.append((now, self.done))
            while len(self._marks) > 2 and now - self._marks[1][0] > _WINDOW_S:
                self._marks.popleft()

    @property
    def elapsed(self) -> float:
        """Seconds since the task began."""
        return self._clock() - self.started

    @property
    def rate(self) -> float:
        """Units per second over the last half minute; 0.0 while nothing is known."""
        with self._lock:
            then, before = self._marks[0]
            seconds = self._clock() - then
            return (self.done - before) / seconds if seconds > 0 else 0.0

    @property
    def mean_rate(self) -> float:
        """Units per second over the whole task."""
        return (self.done - self._before) / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds still to go, None while nobody can know."""
        rate = self.rate
        return max(self.total - self.done, 0.0) / rate if self.total is not None and rate > 0 else None


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


class _Nothing:
    def show(self, meter: Meter) -> None:
        pass

    def end(self, meter: Meter, ok: bool) -> None:
        pass


class _Lines:
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

    def line(self, meter: Meter) -> str:
        raise NotImplementedError

    def last(self, meter: Meter, ok: bool) -> str:
        raise NotImplementedError


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


def clean(text: str) -> str:
    """``text`` without control characters, so that it cannot steer a terminal."""
    return _CONTROL.sub(" ", text)


def count(meter: Meter) -> str:
    """How much is done: ``1,200/4,000 documents (30%)``."""
    if meter.total is None:
        return f"{number(meter.done)} {meter.unit}"
    share = f" ({100 * meter.done / meter.total:.0f}%)" if meter.total > 0 else ""
    return f"{number(meter.done)}/{number(meter.total)} {meter.unit}{share}"


def rate(value: float, unit: str) -> str:
    """``12.3 steps/s``, or nothing where the rate is not known."""
    return f"{number(value)} {unit}/s" if value > 0 else ""


def facts(meter: Meter) -> list[str]:
    """The task's facts as ``name value``."""
    return [f"{k.replace('_', ' ')} {v if isinstance(v, str) else number(v)}" for k, v in meter.facts.items()]


def number(value: float) -> str:
    """A number as a person reads it: 12,345 and 1.23 M, not 12345.0."""
    if not math.isfinite(value):
        return str(value)
    for limit, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {letter}"
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def clock(seconds: float) -> str:
    """A duration: ``0.4 s``, ``37 s``, ``2:05``, ``1:02:05``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
