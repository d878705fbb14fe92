"""When requests come, and how long they are.

Arrivals are an open loop: their times are fixed before the first request is sent, whatever the server does. A client
that waits for an answer before it asks again leaves out the requests that a stall would have met (coordinated omission:
Tene 2013, "How not to measure latency"; Schroeder et al. 2006, "Open versus closed: a cautionary tale").
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from lamina.kit.errors import InputError

_LENGTHS = re.compile(r"(?P<low>\d+)(?:-(?P<high>\d+)|~(?P<spread>\d+(?:\.\d+)?))?")
_LONGEST = 1_000_000


def poisson(rate: float, seconds: float, generator: np.random.Generator, *, most: int) -> list[float]:
    """The times of a Poisson process of ``rate`` events a second within ``seconds``, ``most`` of them at most."""
    times: list[float] = []
    now = float(generator.exponential(1.0 / rate))
    while now < seconds and len(times) < most:
        times.append(now)
        now += float(generator.exponential(1.0 / rate))
    return times


@dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts: all ``low``; even between ``low`` and ``high``; or log-normal around the median ``low``.

    ``spread`` is the standard deviation of the logarithm; lengths beyond ``high`` are cut to it.
    """

    low: int
    high: int
    spread: float = 0.0

    @classmethod
    def read(cls, text: str, *, where: str) -> Lengths:
        """``256``, ``64-512`` or ``256~0.5``. Raises ``InputError``."""
        match = _LENGTHS.fullmatch(text.strip())
        if match is None:
            raise InputError(
                f"'{text}' is no length", where=where, hint="256, 64-512, or 256~0.5 (median and spread of the log)"
            )
        low = int(match["low"])
        spread = float(match["spread"] or 0.0)
        high = 16 * low if spread else int(match["high"] or low)
        if not 1 <= low <= high <= _LONGEST:
            raise InputError(f"'{text}': lengths go from 1 to {_LONGEST}, the shorter one first", where=where)
        return cls(low, high, spread)

    def draw(self, generator: np.random.Generator) -> int:
        """One of them."""
        if self.spread:
            return int(np.clip(round(self.low * generator.lognormal(0.0, self.spread)), 1, self.high))
        return int(generator.integers(self.low, self.high, endpoint=True))
