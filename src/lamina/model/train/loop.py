"""The training loop, for pre-training and fine-tuning alike: ``objectives`` says what a batch teaches.

The loss of a step is the sum over all learned tokens of its micro-batches divided by their number, and the same for
labels, so that accumulation equals one large batch exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from lamina.contracts.tokens import Batch, BatchStream
from lamina.kit.errors import InputError
from lamina.kit.log import MetricsWriter
from lamina.kit.process_lock import hold
from lamina.kit.progress import Progress
from lamina.model.lora import merge_lora
from lamina.model.train.compiled import set_compiled
from lamina.model.train.distributed import Team
from lamina.model.train.memory import keep_freed_memory
from lamina.model.train.objectives import check_teacher
from lamina.model.train.observers import Observer, Observers
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.result import TrainResult, Unwritten
from lamina.model.train.run import Run
from lamina.model.transformer import Transformer

__all__ = ["TrainResult", "train"]


def train(
    model: Transformer,
    stream: BatchStream,
    *,
    parameters: TrainParameters,
    work: Path,
    progress: Progress,
    metrics: MetricsWriter,
    merge: bool = True,
    planned: Callable[[int], None] | None = None,
    teacher: Transformer | None = None,
    observers: Sequence[Observer] = (),
    held_out: Sequence[Batch] = (),
) -> TrainResult:
    """Train ``model`` in place; with ``method = "lora"`` its adapters, which are then merged (unless not ``merge``).

    ``teacher``: a model of the same vocabulary, whose scores it is to come near (see ``parameters.distill``).

    ``work`` keeps ``plan.json`` and the checkpoints: called again after a kill, the run goes on from the newest whole
    checkpoint and ends with the very weights of an uninterrupted run. SIGTERM saves a checkpoint first. ``planned`` is
    told the number of steps before the first one, ``observers`` see each of them and change nothing. With
    ``pace = "clock"`` the run ends by the clock, and a resumed one with other weights. ``held_out``: what
    ``validate_every`` measures the loss of; with ``patience`` the run ends where that stays, with the best weights.

    Where several processes have joined (see ``distributed``), each calls this with the same arguments.
    """
    check_teacher(model, teacher)
    check_weights(model)
    if model.stack.embeddings.token.weight.device.type == "cpu":
        keep_freed_memory()
    team = Team()
    with hold(work / "run.lock", "training in this folder") if team.lead else nullcontext():
        run = Run(model, stream, parameters, work, teacher, held_out)
        watching = [o for o in observers if team.alone or (team.lead and not o.needs_model)]
        run.observers = Observers(model, watching, progress)
        well = False
        try:
            result = run.go(progress, metrics if team.lead else Unwritten(metrics.path), planned)
            well = True
        finally:
            run.observers.close(well=well)
            run.step.forget()
            set_compiled(run.model, on=False)
            model.eval()
        team.collect(run.model, model)
    if parameters.method == "lora" and merge:
        merge_lora(model)
    return result


def check_weights(model: Transformer) -> None:
    """Raise ``InputError`` where a weight is NaN or infinite before the first step: no step would mend it."""
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise InputError(
                f"the model to begin with has weights that are not finite: '{name}'",
                where="model.train",
                hint="import the base again, or take an earlier version",
            )
