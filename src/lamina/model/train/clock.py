"""The wall clock of a run."""

from __future__ import annotations

import time


class Clock:
    """Seconds that a run has taken, over all its lives: steps, measuring, checkpoints, all of it."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.monotonic() - self._began

    def expected(self, budget_s: float, spent_s: float, step: int) -> int:
        """How many steps a run of ``budget_s`` seconds will have had, if those to come take as long as the ``step``
        steps so far; ``spent_s`` went before the first of them."""
        each = (self.seconds - spent_s) / step
        return step + int(max(0.0, budget_s - self.seconds) / each) if each > 0 else step

    def resume(self, seconds: float) -> None:
        """Go on from what earlier lives took."""
        self._began -= seconds
