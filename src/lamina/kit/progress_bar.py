"""Live bars on a terminal, one a task, with rate and ETA (rich)."""

from __future__ import annotations

import threading
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from lamina.kit.progress_meter import Meter, clean, clock, count, facts, rate


class _Figures(ProgressColumn):
    """Count, rate, ETA and facts, computed when the bar is drawn."""

    max_refresh = 0.25

    def render(self, task: Task) -> Text:
        meter: Meter = task.fields["meter"]
        eta = meter.eta
        time = f"ETA {clock(eta)}" if eta is not None else f"{clock(meter.elapsed)} so far"
        parts = [count(meter), rate(meter.rate, meter.unit), time, *facts(meter)]
        return Text(clean(" · ".join(part for part in parts if part)), style="progress.remaining")


class Bars:
    """The bars of the tasks that run now; ended tasks leave one line each."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False)
        self._lock = threading.RLock()
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}

    def begin(self, meter: Meter) -> None:
        """Draw a bar for the task."""
        with self._lock:
            if self._bars is None:
                self._bars = Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=24),
                    _Figures(),
                    console=self._console,
                    transient=True,
                    refresh_per_second=5,
                )
                self._bars.start()
            self._tasks[id(meter)] = self._bars.add_task(
                meter.name, total=meter.total, completed=int(meter.done), meter=meter
            )

    def show(self, meter: Meter) -> None:
        """Move the bar; the drawing is done a few times a second by rich's own thread."""
        bars, task = self._bars, self._tasks.get(id(meter))
        if bars is not None and task is not None:
            bars.update(task, completed=meter.done, total=meter.total)

    def end(self, meter: Meter, ok: bool) -> None:
        """Replace the bar by one line that stays."""
        with self._lock:
            task = self._tasks.pop(id(meter), None)
            if self._bars is None or task is None:
                return
            self._bars.remove_task(task)
            parts = [f"{count(meter)} in {clock(meter.elapsed)}", rate(meter.mean_rate, meter.unit), *facts(meter)]
            mark = Text("✓ " if ok else "✗ ", style="green" if ok else "red")
            self._console.print(mark + Text(clean(f"{meter.name}  " + " · ".join(part for part in parts if part))))
            if not self._tasks:
                self._bars.stop()
                self._bars = None

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(Text(text), soft_wrap=True)
