"""What is decided once, at the start of a run, by measurement: the precision and, for a budget, the number of steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, CorruptError
from lamina.model.train.parameters import TrainParameters
from lamina.model.transformer import Transformer

_GAIN = 1.25  # bfloat16 must be faster by this factor to be worth its rounding
_MARGIN = 0.95  # share of the budget that is filled with steps; the rest is for checkpoints and drift


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The decisions of a run, kept in ``plan.json`` so that a resumed run keeps them."""

    steps: int
    precision: Literal["float32", "bfloat16"]
    step_s: float | None  # measured; None where the steps were given
    parameters: dict[str, Any]


def settle(
    path: Path, parameters: TrainParameters, model: Transformer, rows: int, try_step: Callable[[str], None]
) -> Plan:
    """Read the plan at ``path``, or make it and write it there.

    ``rows`` is the number of tokens in a micro-batch; ``try_step(precision)`` does one step and undoes it.
    """
    if path.exists():
        try:
            plan = Plan(**json.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise CorruptError("not a plan of a training run", where=str(path)) from error
        if plan.parameters != json.loads(json.dumps(parameters.to_json())):
            raise ConfigError("the folder belongs to a run with other parameters", where=str(path.parent))
        return plan
    start = time.monotonic()
    precision = parameters.precision
    if precision == "auto":
        precision = faster_precision(model, rows)
    steps, step_s = parameters.steps, None
    if parameters.budget_s is not None:
        step_s = _time_step(lambda: try_step(precision))
        left = parameters.budget_s - (time.monotonic() - start)
        fit = max(1, int(left * _MARGIN / step_s))
        steps = fit if steps is None else min(steps, fit)
    if steps is None:
        raise ConfigError("needs 'steps' or a budget", where="model.train")
    plan = Plan(steps=steps, precision=precision, step_s=step_s, parameters=parameters.to_json())
    atomic_write(path, json.dumps(asdict(plan), indent=1).encode())
    return plan


def _time_step(step: Callable[[], None]) -> float:
    """Seconds of a step: the better of two, after one that warms up."""
    step()
    times = []
    for _ in range(2):
        start = time.monotonic()
        step()
        times.append(time.monotonic() - start)
    return max(min(times), 1e-4)


def faster_precision(model: Transformer, rows: int) -> Literal["float32", "bfloat16"]:
    """Which of float32 and bfloat16 multiplies matrices of this model's feed-forward faster, forward and backward.

    bfloat16 wins with AMX or AVX512-BF16 and on GPUs, and loses by far without them.
    """
    weight = model.stack.embeddings.token.weight
    width, inner = model.spec.stack.embeddings.width, model.spec.stack.blocks[0].feedforward.inner
    taken: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(min(rows, 1024), width, dtype=dtype, device=weight.device, requires_grad=True)
        w = torch.ones(inner, width, dtype=dtype, device=weight.device, requires_grad=True)

        def once(x: torch.Tensor = x, w: torch.Tensor = w) -> None:
            torch.nn.functional.linear(x, w).sum().backward()
            if x.device.type == "cuda":
                torch.cuda.synchronize()

        taken[dtype] = _time_step(once)
    return "bfloat16" if taken[torch.float32] > _GAIN * taken[torch.bfloat16] else "float32"
