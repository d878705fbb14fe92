"""The training loop, for pre-training and fine-tuning alike: ``objectives`` says what a batch teaches.

The loss of a step is the sum over all learned tokens of its micro-batches divided by their number, and the same for
labels, so that accumulation equals one large batch exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lamina.contracts.tokens import Batch, BatchStream
from lamina.kit.errors import ConfigError, StageError
from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import Progress
from lamina.model.lora import add_lora, merge_lora
from lamina.model.train.guard import GOINGS_BACK, Guard
from lamina.model.train.objectives import Aims, Counts, batch_loss, check_teacher
from lamina.model.train.observers import Observer, Observers
from lamina.model.train.optimizers import Average, make_optimizer
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.plan import Plan, settle
from lamina.model.train.schedule import learning_rate
from lamina.model.train.state import TrainState, load_state, save_state
from lamina.model.train.stopping import terminated
from lamina.model.transformer import Transformer

_PATIENCE = 5  # steps in a row with a gradient that is not finite
_EMPTY = 1000  # micro-batches in a row without a learned token
_SAVING_SHARE = 0.05  # of the run's time that may go into checkpoints


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """How a run ended. ``tokens``: learned, labels counted with them; ``loss``: the mean over the last tenth of the
    steps (nats a token, or a label)."""

    steps: int
    tokens: int
    seconds: float
    loss: float
    precision: str


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
) -> TrainResult:
    """Train ``model`` in place; with ``method = "lora"`` its adapters, which are then merged (unless not ``merge``).

    ``teacher``: a model of the same vocabulary, whose scores it is to come near (see ``parameters.distill``).

    ``work`` keeps ``plan.json`` and the checkpoints: called again after a kill, the run goes on from the newest whole
    checkpoint and ends with the very weights of an uninterrupted run. SIGTERM saves a checkpoint first. ``planned`` is
    told the number of steps before the first one, ``observers`` see each of them and change nothing.
    """
    check_teacher(model, teacher)
    run = _Run(model, stream, parameters, work, teacher)
    run.observers = Observers(model, observers, progress)
    try:
        result = run.go(progress, metrics, planned)
    finally:
        run.observers.close()
        model.eval()
    if parameters.method == "lora" and merge:
        merge_lora(model)
    return result


class _Run:
    """One life of a run: from its newest checkpoint, or the start, to its end."""

    def __init__(
        self,
        model: Transformer,
        stream: BatchStream,
        parameters: TrainParameters,
        work: Path,
        teacher: Transformer | None,
    ) -> None:
        self.model, self.stream, self.parameters, self.work = model, stream, parameters, work
        torch.manual_seed(parameters.seed)
        if parameters.method == "lora":
            add_lora(model, rank=parameters.rank, alpha=parameters.alpha, targets=parameters.targets)
        model.train()
        for stack in (model.encoder, model.decoder):
            if stack is not None:
                stack.recompute = parameters.recompute
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.device = model.stack.embeddings.token.weight.device
        self.aims = Aims(
            temperature=parameters.temperature,
            beta=parameters.beta,
            smoothing=parameters.smoothing,
            weights=(parameters.desirable, parameters.undesirable),
            teacher=None if teacher is None else teacher.eval(),
            share=parameters.distill,
            softness=parameters.softness,
        )
        self.optimizer = make_optimizer(self.weights, parameters, self.device)
        self.average = Average(self.weights, parameters.average) if parameters.average is not None else None
        self.state = TrainState(step=0, tokens=0, seconds=0.0, skipped=0, stream=stream.state())
        self.save_s = 0.0
        self.observers = Observers(model)

    def go(self, progress: Progress, metrics: MetricsWriter, planned: Callable[[int], None] | None) -> TrainResult:
        began = self.stream.state()
        first = next(self.stream)
        self.stream.restore(began)
        self.plan = self._settle(first)
        if planned is not None:
            planned(self.plan.steps)
        resumed = load_state(self.work / "checkpoints", self.weights, self.optimizer, self.average)
        if resumed is not None:
            self.state = resumed
            self.stream.restore(resumed.stream)
        metrics.truncate_after(self.state.step)
        self.guard = Guard(row["loss_nats"] for row in read_metrics(metrics.path))
        self.observers.begin(self.state.step, self.plan)
        with (
            progress.task("train", total=self.plan.steps, unit="steps", done=self.state.step) as task,
            terminated() as stop,
        ):
            self.saved_at = time.monotonic()
            while self.state.step < self.plan.steps:
                facts = self._step()
                metrics.write(**facts)
                shown = {"loss": f"{facts['loss_nats']:.3f}", "tokens/s": f"{facts['tokens_per_s']:.0f}"}
                task.advance(1, **shown, **self.observers.see(facts))
                if self.guard.lost(facts["loss_nats"]) and self._go_back(metrics):
                    progress.say(f"the loss rose and stayed up: back to step {self.state.step}, past the data since")
                    task.advance(self.state.step - facts["step"])
                elif stop.is_set() or self._save_is_due():
                    self._save()
                if stop.is_set():
                    break
        if stop.is_set():  # and whoever handles SIGTERM lets the process live
            raise StageError(
                f"stopped after step {self.state.step} of {self.plan.steps}",
                where=str(self.work),
                hint="run it again to go on from there",
            )
        if self.average is not None:
            self.average.put()
        return TrainResult(
            steps=self.state.step,
            tokens=self.state.tokens,
            seconds=self.state.seconds,
            loss=_last_loss(metrics.path, self.plan.steps),
            precision=self.plan.precision,
        )

    def _go_back(self, metrics: MetricsWriter) -> bool:
        """To the newest checkpoint, if there is one, but on with the data; whether it was done."""
        times, place = self.state.returns, self.stream.state()
        found = load_state(self.work / "checkpoints", self.weights, self.optimizer, self.average)
        if found is None:
            return False
        if times >= GOINGS_BACK:
            raise StageError(
                f"the loss rose and stayed up {times + 1} times, last at step {self.state.step}",
                where=str(self.work),
                hint="lower model.train.learning_rate",
            )
        self.state = replace(found, returns=times + 1, skipped=0, stream=place)
        metrics.truncate_after(self.state.step)
        self.guard = Guard(row["loss_nats"] for row in read_metrics(metrics.path))
        self.observers.begin(self.state.step, self.plan)
        self._save()
        return True

    def _settle(self, first: Batch) -> Plan:
        """The plan; the steps that it tries leave no trace in the weights, the generator or the stream."""
        began, random = self.stream.state(), torch.get_rng_state()

        def try_step(precision: str) -> None:
            self._backward(self._take(), precision)
            self.optimizer.zero_grad(set_to_none=True)

        plan = settle(self.work / "plan.json", self.parameters, self.model, first.inputs.size, try_step)
        self.stream.restore(began)
        torch.set_rng_state(random)
        return plan

    def _take(self) -> list[Batch]:
        """The micro-batches of one step; at least one token of them is learned."""
        for _ in range(_EMPTY):
            batches = [next(self.stream) for _ in range(self.parameters.accumulate)]
            if any(batch.learned for batch in batches):
                return batches
        raise ConfigError(
            f"{_EMPTY} steps' batches hold not one token to learn", where="model.train", hint="is the loss mask empty?"
        )

    def _backward(self, batches: list[Batch], precision: str) -> float:
        """Gradients of the mean loss over all learned tokens, plus that over all labels; returns that loss (nats)."""
        counts, total = Counts.of(batches), 0.0
        for batch in batches:
            if batch.learned:
                with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                    loss = batch_loss(self.model, batch, self.device, counts, self.aims)
                loss.backward()
                total += loss.item()
        return total

    def _step(self) -> dict[str, Any]:
        began, state = time.monotonic(), self.state
        rate = learning_rate(state.step, self.plan.steps, self.parameters)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batches = self._take()
        loss = self._backward(batches, self.plan.precision)
        limit = self.parameters.clip if self.parameters.clip is not None else math.inf
        norm = float(nn.utils.clip_grad_norm_(self.weights.values(), limit))
        skipped = 0
        if math.isfinite(norm) and math.isfinite(loss):
            self.optimizer.step()
            if self.average is not None:
                self.average.update(state.step)
        else:
            skipped = state.skipped + 1
        self.optimizer.zero_grad(set_to_none=True)
        if skipped >= _PATIENCE:
            raise StageError(
                f"the loss or its gradient was not finite in {skipped} steps in a row, up to step {state.step + 1}",
                where=str(self.work),
                hint="lower model.train.learning_rate",
            )
        tokens, taken = sum(batch.learned for batch in batches), time.monotonic() - began
        self.state = replace(
            state,
            step=state.step + 1,
            tokens=state.tokens + tokens,
            seconds=state.seconds + taken,
            skipped=skipped,
            stream=self.stream.state(),
        )
        return {
            "step": state.step + 1,
            "loss_nats": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": self.state.tokens,
            "tokens_per_s": tokens / taken,
            "step_s": taken,
            "places": sum(batch.places for batch in batches),
        }

    def _save_is_due(self) -> bool:
        every_steps, every_s = self.parameters.checkpoint_steps, self.parameters.checkpoint_s
        if every_steps is not None and self.state.step % every_steps == 0:
            return True
        if self.state.step == self.plan.steps:  # what is left to do with the weights may fail, too
            return every_steps is not None or every_s is not None
        if every_s is None:
            return False
        return time.monotonic() - self.saved_at >= max(every_s, self.save_s / _SAVING_SHARE)

    def _save(self) -> None:
        began = time.monotonic()
        save_state(self.work / "checkpoints", self.state, self.weights, self.optimizer, self.average)
        self.saved_at = time.monotonic()
        self.save_s = self.saved_at - began


def _last_loss(path: Path, steps: int) -> float:
    """The mean loss (nats a token) of the last tenth of the steps, over all lives of the run."""
    losses = [row["loss_nats"] for row in read_metrics(path) if row["step"] > steps - max(1, steps // 10)]
    losses = [loss for loss in losses if loss is not None]
    return sum(losses) / len(losses) if losses else math.nan
