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

    def resume(self, seconds: float) -> None:
        """Go on from what earlier lives took."""
        self._began -= seconds
