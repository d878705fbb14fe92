"""The learning rate over the steps."""

from __future__ import annotations

import math

from lamina.model.train.parameters import TrainParameters


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
