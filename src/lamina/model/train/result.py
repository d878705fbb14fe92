"""What a run comes back with, and what it writes of each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lamina.kit.log import MetricsWriter, read_metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """How a run ended. ``tokens``: learned, labels counted with them; ``loss``: the mean over the last tenth of the
    steps (nats a token, or a label). ``held_out``: the lowest loss on held-out batches, which the weights of
    ``best_step`` have (those that are kept, where there is a patience). ``attention``: calls in a forward pass, by
    kernel (see ``layers.kernels``)."""

    steps: int
    tokens: int
    seconds: float
    loss: float
    precision: str
    compiled: bool = False
    attention: Mapping[str, int] = field(default_factory=dict)
    held_out: float | None = None
    best_step: int | None = None
    ended: Literal["steps", "clock", "patience"] = "steps"


class Unwritten(MetricsWriter):
    """Of a process that does not write: another does."""

    def write(self, step: int, **values: float | str) -> None:
        """Nothing."""

    def truncate_after(self, step: int) -> None:
        """Nothing."""


def last_loss(path: Path, steps: int) -> float:
    """The mean loss (nats a token) of the last tenth of the steps, over all lives of the run."""
    losses = [row["loss_nats"] for row in read_metrics(path) if row["step"] > steps - max(1, steps // 10)]
    losses = [loss for loss in losses if loss is not None]
    return sum(losses) / len(losses) if losses else math.nan
