"""What is decided once, at the start of a run, by measurement: precision, compiled or not, the number of steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, CorruptError
from lamina.kit.progress import Progress
from lamina.model.train.clock import Clock
from lamina.model.train.compiled import can_compile, compare, set_compiled, worth_trying
from lamina.model.train.distributed import Team
from lamina.model.train.parameters import TrainParameters
from lamina.model.transformer import Transformer

_GAIN = 1.25  # bfloat16 must be faster by this factor to be worth its rounding
_MARGIN = 0.95  # share of the budget that is filled with steps; the rest is for checkpoints and drift
_MANY = 300  # steps: so many cost little beside the few that a measurement takes


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The decisions of a run, kept in ``plan.json`` so that a resumed run keeps them.

    ``steps``: of a run by the clock, how many are expected. ``step_s``: measured; None where nothing was to measure.
    ``spent_s``: what measuring took, of the run's time.
    """

    steps: int
    precision: Literal["float32", "bfloat16"]
    step_s: float | None
    parameters: dict[str, Any]
    spent_s: float = 0.0
    compiled: bool = False
    compiling: str | None = None  # what the comparison found


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a plan is measured with: ``rows`` is the number of tokens in a micro-batch; ``step(precision)`` does one
    step and undoes it."""

    model: Transformer
    rows: int
    step: Callable[[str], None]
    team: Team
    clock: Clock

    def step_s(self, precision: str) -> float:
        """Seconds of a step, as the leading process has them."""
        return float(self.team.agree(_time_step(lambda: self.step(precision))))

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device


def settle(path: Path, parameters: TrainParameters, trial: Trial, progress: Progress) -> Plan:
    """Read the plan at ``path``, or make it and write it there."""
    known = trial.team.agree(_read(path, parameters) if trial.team.lead else None)
    if known is not None:
        plan = Plan(**known)
        if plan.compiled:
            _compile_again(trial, plan, progress)
        return plan
    precision = parameters.precision
    if precision == "auto":
        precision = trial.team.agree(faster_precision(trial.model, trial.rows))
    steps, step_s = parameters.steps, None
    if parameters.budget_s is not None or (parameters.compile == "auto" and (steps or 0) >= _MANY):
        step_s = trial.step_s(precision)
    compiled, compiling = False, None
    if _wants_compiling(parameters, step_s, trial):
        step_s = trial.step_s(precision) if step_s is None else step_s
        compiled, taken, compiling = compare(trial.model, lambda: trial.step_s(precision), step_s)
        step_s = taken if compiled and taken is not None else step_s
        progress.say(compiling)
    if parameters.budget_s is not None and step_s is not None:
        left = parameters.budget_s - trial.clock.seconds
        fit = max(1, int(left * (1.0 if parameters.pace == "clock" else _MARGIN) / step_s))
        steps = trial.team.agree(fit if steps is None else min(steps, fit))
    if steps is None:
        raise ConfigError("needs 'steps' or a budget", where="model.train")
    plan = Plan(
        steps=steps,
        precision=precision,
        step_s=step_s,
        parameters=parameters.to_json(),
        spent_s=trial.team.agree(trial.clock.seconds),
        compiled=compiled,
        compiling=compiling,
    )
    if trial.team.lead:
        atomic_write(path, json.dumps(asdict(plan), indent=1).encode())
    return plan


def _read(path: Path, parameters: TrainParameters) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        plan = Plan(**json.loads(path.read_bytes()))
        same = TrainParameters.from_json(plan.parameters) == parameters
    except (ValueError, TypeError, ConfigError) as error:
        raise CorruptError("not a plan of a training run", where=str(path)) from error
    if not same:
        raise ConfigError("the folder belongs to a run with other parameters", where=str(path.parent))
    return asdict(plan)


def _wants_compiling(parameters: TrainParameters, step_s: float | None, trial: Trial) -> bool:
    if parameters.compile == "never" or not trial.team.alone:
        return False
    if parameters.compile == "always":
        return can_compile(trial.device)
    run_s = parameters.budget_s if step_s is None else (parameters.steps or 0) * step_s or parameters.budget_s
    shortest = min(run_s or 0.0, parameters.budget_s or run_s or 0.0)
    return worth_trying(shortest, trial.device)


def _compile_again(trial: Trial, plan: Plan, progress: Progress) -> None:
    """As the plan has it, unless the compiler is no longer to be had; the weights then differ by rounding."""
    compiled, _, found = compare(trial.model, lambda: trial.step_s(plan.precision), float("inf"))
    if not compiled:
        set_compiled(trial.model, on=False)
        progress.say(found)


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
    device = model.stack.embeddings.token.weight.device
    most, repeats = (8192, 20) if device.type == "cuda" else (1024, 1)  # one alone on a GPU is mostly its beginning
    width, inner = model.spec.stack.embeddings.width, model.spec.stack.blocks[0].feedforward.inner
    taken = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    for dtype in (*taken, *taken, *taken):  # in turns: beside other work one comparison says little
        x = torch.ones(min(rows, most), width, dtype=dtype, device=device, requires_grad=True)
        w = torch.ones(inner, width, dtype=dtype, device=device, requires_grad=True)

        def once(x: torch.Tensor = x, w: torch.Tensor = w) -> None:
            for _ in range(repeats):
                torch.nn.functional.linear(x, w).sum().backward()
            if x.device.type == "cuda":
                torch.cuda.synchronize()

        taken[dtype] = min(taken[dtype], _time_step(once))
    return "bfloat16" if taken[torch.float32] > _GAIN * taken[torch.bfloat16] else "float32"
