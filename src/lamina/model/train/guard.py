"""A watch on the loss: a run that has left the road goes back to its last checkpoint, past the data that threw it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np

_SEEN = 64  # losses that a new one is measured by
_NOW = 8  # the last of them, whose median says where the loss stands
_ENOUGH = 32  # of them before anything is said
_APART = 8.0  # robust standard deviations of the steps' differences above that
_SHARE = 0.2  # and at least so much of it
_IN_A_ROW = 3
GOINGS_BACK = 3  # in one run


class Guard:
    """Told the loss of each step; a single bad batch is let pass, several in a row are not."""

    def __init__(self, losses: Iterable[float | None] = ()) -> None:
        self._seen: deque[float] = deque(maxlen=_SEEN)
        self._high = 0
        for loss in losses:
            self.lost(math.nan if loss is None else loss)

    def lost(self, loss: float) -> bool:
        """Whether the losses of the last steps are far above those before: take in one more (nats)."""
        high = not math.isfinite(loss)
        if not high and len(self._seen) >= _ENOUGH:
            seen = np.array(self._seen)
            now = float(np.median(seen[-_NOW:]))
            noise = 1.4826 * float(np.median(np.abs(np.diff(seen))))  # of differences, so that a fall is no noise
            high = loss > now + max(_APART * noise, _SHARE * now)
        self._high = self._high + 1 if high else 0
        if not high:
            self._seen.append(loss)
        return self._high >= _IN_A_ROW and len(self._seen) >= _ENOUGH
