"""How far a task is, how fast it goes and how long it will take, as figures and in words."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable

Fact = float | str
_WINDOW_S = 30.0  # the rate is that of the last half minute
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # a document's title must not drive the terminal


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
