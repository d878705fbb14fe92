"""How fast the queue empties, and so when there will be room in it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

_WINDOW_S = 30.0
_LEAST_S = 0.5  # of measurement
_UNKNOWN_S = 2.0  # what is said before anything was measured
_MOST_S = 600.0


class Pace:
    """Tokens that left the queue while it was not empty, over the last 30 s of such time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None  # when the queue was last found empty
        self._left: deque[tuple[float, int]] = deque()
        self._rate: float | None = None  # of the last time that could be measured

    def waiting(self, some: bool) -> None:
        """Whether anybody waits now."""
        if not some:
            self._rate = self.rate()
            self._since = None
            self._left.clear()
        elif self._since is None:
            self._since = self._clock()

    def took(self, tokens: int) -> None:
        """``tokens`` were taken up."""
        self._left.append((self._clock(), tokens))

    def rate(self) -> float | None:
        """Tokens a second; None where nothing was measured yet."""
        if self._since is None:
            return self._rate
        now = self._clock()
        start = max(self._since, now - _WINDOW_S)
        while self._left and self._left[0][0] < start:
            self._left.popleft()
        tokens = sum(count for _, count in self._left)
        return tokens / (now - start) if tokens and now - start >= _LEAST_S else self._rate

    def seconds(self, tokens: int) -> float:
        """How long it takes until ``tokens`` more have left the queue.

        They leave in lumps, when answers end together: at least as long as the longest pause still has to run.
        """
        rate = self.rate()
        if rate is None:
            return _UNKNOWN_S
        times = [at for at, _ in self._left]
        pause = max((b - a for a, b in pairwise(times)), default=0.0)
        rest = times[-1] + pause - self._clock() if times else 0.0
        return min(max(tokens / rate, rest), _MOST_S)
