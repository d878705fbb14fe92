"""The learning rate over the steps."""

from __future__ import annotations

import math

from lamina.model.train.parameters import TrainParameters

_FIRST = 0.01  # share of the peak that the very first step by the clock has


def learning_rate(step: int, steps: int, parameters: TrainParameters) -> float:
    """The rate of step ``step`` (from 0) of ``steps``.

    Linear warm-up, then "cosine" (arXiv 1608.03983) down to the floor, or "wsd": constant, then a linear fall at the
    end (warmup-stable-decay, arXiv 2404.06395).
    """
    warm = math.ceil(parameters.warmup * steps)
    peak, floor = parameters.learning_rate, parameters.learning_rate * parameters.floor
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if parameters.schedule == "cosine":
        done = (step - warm) / max(1, steps - warm)
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
    fall = math.ceil(parameters.decay * steps)
    left = (steps - step) / max(1, fall)
    return floor + (peak - floor) * min(1.0, left)


def rate_at(share: float, parameters: TrainParameters) -> float:
    """The rate where ``share`` (0 to 1) of the run's time has passed: the same curves, over the clock instead of the
    steps, so that a machine that slows down still ends its run with the low rates (arXiv 2212.14034, 4.3)."""
    share = min(1.0, max(0.0, share))
    peak, floor = parameters.learning_rate, parameters.learning_rate * parameters.floor
    if share < parameters.warmup:
        return peak * max(_FIRST, share / parameters.warmup)
    if parameters.schedule == "cosine":
        done = (share - parameters.warmup) / max(1e-9, 1.0 - parameters.warmup)
        return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))
    left = (1.0 - share) / max(1e-9, parameters.decay)
    return floor + (peak - floor) * min(1.0, left)
