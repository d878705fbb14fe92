"""What drawing a token asks of all scores: by the native library, some microseconds for a row; by numpy without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.deployment.engine.native import binding as native
from lamina.kit.errors import LaminaError

Scores = NDArray[np.float32]
Facts = Sequence[float]  # see Kernels::summarize


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a row of scores the greatest, where it stands first, the sum of e^(score - greatest), and the entropy of the
    distribution that they stand for, in nats."""

    greatest: float
    likeliest: int
    mass: float
    entropy: float

    @classmethod
    def of(cls, facts: Facts) -> Summary:
        """What is impossible (-inf) weighs nothing. Raises ``LaminaError`` where a score is no number."""
        greatest, mass, weighted, place = facts
        if not mass > 0.0 or weighted != weighted:
            raise LaminaError("the model's scores are not numbers", where="sampling")
        return cls(greatest, int(place), mass, math.log(mass) - weighted / mass)

    def logprob(self, score: float) -> float:
        """The log-probability of a token with this score."""
        return score - self.greatest - math.log(self.mass)


def summarize(scores: Scores) -> Sequence[Facts]:
    """``Summary.of`` takes what is told of each row of ``scores`` (B, V)."""
    scores = np.ascontiguousarray(scores, np.float32)
    library = native.open_library()
    if library is None:
        return [_summarized(row) for row in scores]
    found = np.empty((len(scores), 4))
    library.lamina_summarize(scores.ctypes.data, *scores.shape, native.wanted_level(), found.ctypes.data)
    facts: Sequence[Facts] = found.tolist()
    return facts


def _summarized(scores: Scores) -> Facts:
    with np.errstate(invalid="ignore"):  # what is infinite becomes no number
        below = scores - scores.max()
    shares = np.exp(below)
    weighted = float((shares * np.maximum(below, -1e30)).sum())
    return float(scores.max()), float(shares.sum()), weighted, float(scores.argmax())


def shares_of(scores: Scores, temperature: float) -> NDArray[Any]:
    """The share (V,) float32 of each token at ``temperature`` (at least 1e-30), relative to the likeliest one's."""
    scores = np.ascontiguousarray(scores, np.float32)
    library = native.open_library()
    if library is None:
        shares: NDArray[Any] = np.exp((scores - scores.max()) / temperature)
        return shares
    shares = np.empty_like(scores)
    library.lamina_shares(scores.ctypes.data, len(scores), temperature, native.wanted_level(), shares.ctypes.data)
    return shares
