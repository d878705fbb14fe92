"""One life of a training run: from its newest checkpoint, or the start, to its end. See ``loop.train``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lamina.contracts.tokens import Batch, BatchStream
from lamina.kit.errors import StageError
from lamina.kit.log import MetricsWriter, read_metrics
from lamina.kit.progress import Progress
from lamina.model.lora import add_lora
from lamina.model.train.clock import Clock
from lamina.model.train.distributed import Team, whole
from lamina.model.train.guard import GOINGS_BACK, Guard
from lamina.model.train.held_out import HeldOut
from lamina.model.train.objectives import Aims
from lamina.model.train.observers import Observers
from lamina.model.train.optimizers import Average, make_optimizer
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.plan import Trial, settle
from lamina.model.train.result import TrainResult, last_loss
from lamina.model.train.schedule import learning_rate, rate_at
from lamina.model.train.state import TrainState, load_state, random_state, restore_random, save_state
from lamina.model.train.step import Step, take
from lamina.model.train.stopping import terminated
from lamina.model.transformer import Transformer

_PATIENCE = 5  # steps in a row with a gradient that is not finite
_SAVING_SHARE = 0.05  # of the run's time that may go into checkpoints


class Run:
    """One life of a run; its model may be shared out over several processes (``Team``)."""

    def __init__(
        self,
        model: Transformer,
        stream: BatchStream,
        parameters: TrainParameters,
        work: Path,
        teacher: Transformer | None,
        held_out: Sequence[Batch],
    ) -> None:
        self.stream, self.parameters, self.work = stream, parameters, work
        self.clock, self.team = Clock(), Team()
        torch.manual_seed(parameters.seed)
        if parameters.method == "lora":
            add_lora(model, rank=parameters.rank, alpha=parameters.alpha, targets=parameters.targets)
        model.train()
        self.device = model.stack.embeddings.token.weight.device
        self.model = self.team.shard(model)
        for stack in (self.model.encoder, self.model.decoder):
            if stack is not None:
                stack.recompute = parameters.recompute
        self.weights = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        aims = Aims(
            temperature=parameters.temperature,
            beta=parameters.beta,
            smoothing=parameters.smoothing,
            weights=(parameters.desirable, parameters.undesirable),
            teacher=None if teacher is None else teacher.eval(),
            share=parameters.distill,
            softness=parameters.softness,
        )
        self.step = Step(self.model, aims, self.device, self.team)
        self.held: HeldOut | None = None
        if parameters.validate_every is not None:
            self.held = HeldOut(
                batches=held_out, every=parameters.validate_every, patience=parameters.patience, folder=work / "best"
            )
        self.optimizer = make_optimizer(self.weights, parameters, self.device)
        self.average = Average(self.weights, parameters.average) if parameters.average is not None else None
        self.state = TrainState(step=0, tokens=0, seconds=0.0, skipped=0, stream=stream.state())
        self.save_s = 0.0
        self.observers = Observers(model)

    def go(self, progress: Progress, metrics: MetricsWriter, planned: Callable[[int], None] | None) -> TrainResult:
        """To the end."""
        self._settle(progress)
        if planned is not None:
            planned(self.plan.steps)
        self._resume(metrics)
        with (
            progress.task("train", total=self._expected(), unit="steps", done=self.state.step) as task,
            terminated() as stop,
        ):
            self.saved_at = time.monotonic()
            while (ended := self._ended()) is None:
                facts = self._step()
                metrics.write(**facts)
                task.expect(self._expected())
                shown = {"loss": f"{facts['loss_nats']:.3f}", "tokens/s": f"{facts['tokens_per_s']:.0f}"}
                task.advance(1, **shown, **self.observers.see(facts))
                asked = self.team.any(stop.is_set())
                if self.guard.lost(facts["loss_nats"]) and self._go_back(metrics):
                    progress.say(f"the loss rose and stayed up: back to step {self.state.step}, past the data since")
                    task.advance(self.state.step - facts["step"])
                elif asked or self._save_is_due():
                    self._save()
                if asked:
                    break
        if ended is None:  # and whoever handles SIGTERM lets the process live
            raise StageError(
                f"stopped after step {self.state.step} of {self._expected()}",
                where=str(self.work),
                hint="run it again to go on from there",
            )
        self._finish(ended, progress)
        return TrainResult(
            steps=self.state.step,
            tokens=self.state.tokens,
            seconds=self.state.seconds,
            loss=self.team.agree(last_loss(metrics.path, self.state.step)),
            precision=self.plan.precision,
            compiled=self.plan.compiled,
            attention=self.attention,
            held_out=self.state.best,
            best_step=self.state.best_step,
            ended=ended,
        )

    def _expected(self) -> int:
        """How many steps there will have been; of a run by the clock, as far as can be told."""
        most, step = self.parameters.steps, self.state.step
        if self.parameters.pace == "steps" or not step:
            return self.plan.steps
        steps = self.clock.expected(self.parameters.budget_s or 0.0, self.plan.spent_s, step)
        return steps if most is None else min(steps, most)

    def _ended(self) -> Literal["steps", "clock", "patience"] | None:
        """Whether the run is over, and by what."""
        state, most = self.state, self.parameters.steps
        if self.held is not None and self.held.tired(state):
            return "patience"
        if self.parameters.pace == "clock":
            if most is not None and state.step >= most:
                return "steps"
            step_s = state.seconds / state.step if state.step else 0.0
            over = self.clock.seconds + step_s > (self.parameters.budget_s or 0.0)
            return "clock" if state.step and self.team.agree(over) else None
        return "steps" if state.step >= self.plan.steps else None

    def _finish(self, ended: str, progress: Progress) -> None:
        """The last measurement and checkpoint, and the weights that the run ends with: the best, or their average."""
        if self.held is not None and self.state.measured != self.state.step:
            self._measure()
        if self.saved != self.state.step and (self.parameters.checkpoint_s or self.parameters.checkpoint_steps):
            self._save()  # what is left to do with the weights may fail, too
        if self.held is not None and self.parameters.patience is not None:
            self.held.restore(self.state, self.weights)
            early = f"no better in {self.state.worse} measurements: ended early; " if ended == "patience" else ""
            progress.say(f"{early}the weights are those of step {self.state.best_step:,}, the best by held-out loss")
        elif self.average is not None:
            self.average.put()

    def _resume(self, metrics: MetricsWriter) -> None:
        """From the newest checkpoint, if there is one."""
        resumed = load_state(self.work / "checkpoints", self.weights, self.optimizer, self.average)
        self.saved = None if resumed is None else resumed.step
        if resumed is not None:
            self.state = resumed
            self.stream.restore(resumed.stream)
            self.clock.resume(resumed.clock)
        self._look_back(metrics)

    def _look_back(self, metrics: MetricsWriter) -> None:
        metrics.truncate_after(self.state.step)
        self.team.wait()
        self.guard = Guard(row["loss_nats"] for row in read_metrics(metrics.path))
        self.observers.begin(self.state.step, self.plan)

    def _go_back(self, metrics: MetricsWriter) -> bool:
        """To the newest checkpoint, if there is one, but on with the data; whether it was done."""
        before = self.state
        found = load_state(self.work / "checkpoints", self.weights, self.optimizer, self.average)
        if found is None:
            return False
        if before.returns >= GOINGS_BACK:
            raise StageError(
                f"the loss rose and stayed up {before.returns + 1} times, last at step {before.step}",
                where=str(self.work),
                hint="lower model.train.learning_rate",
            )
        best: dict[str, Any] = {"best": before.best, "best_step": before.best_step, "worse": before.worse}
        self.state = replace(found, returns=before.returns + 1, skipped=0, stream=self.stream.state(), **best)
        self._look_back(metrics)
        self._save()
        return True

    def _settle(self, progress: Progress) -> None:
        """Make the plan; the steps that it tries leave no trace in the weights, the generator or the stream."""
        began, random = self.stream.state(), random_state(self.device)
        first = next(self.stream)
        self.stream.restore(began)

        def try_step(precision: str) -> None:
            try:
                self.step.backward(take(self.stream, self.parameters.accumulate), precision).item()
            finally:
                self.optimizer.zero_grad(set_to_none=True)

        trial = Trial(model=self.model, rows=first.inputs.size, step=try_step, team=self.team, clock=self.clock)
        self.plan = settle(self.work / "plan.json", self.parameters, trial, progress)
        self.step.forget()  # what was tried beside the plan's way
        self.attention = self.step.kernels(first, self.plan.precision)
        if slow := self.attention.get("math"):
            progress.say(f"{slow} of {sum(self.attention.values())} attentions run without a fused kernel: slower")
        self.stream.restore(began)
        restore_random(random, self.device)

    def _rate(self) -> float:
        if self.parameters.pace == "steps":
            return learning_rate(self.state.step, self.plan.steps, self.parameters)
        left = max(1e-9, (self.parameters.budget_s or 0.0) - self.plan.spent_s)
        return float(self.team.agree(rate_at((self.clock.seconds - self.plan.spent_s) / left, self.parameters)))

    def _step(self) -> dict[str, Any]:
        began, state, rate = time.monotonic(), self.state, self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batches = take(self.stream, self.parameters.accumulate)
        total = self.step.backward(batches, self.plan.precision)
        limit = self.parameters.clip if self.parameters.clip is not None else math.inf
        norm = float(whole(nn.utils.clip_grad_norm_(self.weights.values(), limit)))
        loss = total.item()  # only now, so that a GPU had no pause in between
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
        held_out = {}
        if self.held is not None and self.held.due(self.state.step):
            held_out = {"held_out_nats": self._measure()}
        return {
            "step": state.step + 1,
            "loss_nats": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": self.state.tokens,
            "tokens_per_s": tokens / taken,
            "step_s": taken,
            "places": sum(batch.places for batch in batches),
            **held_out,
        }

    def _measure(self) -> float:
        """The loss on the held-out batches, of the average where there is one; the best weights are kept."""
        assert self.held is not None
        with self.average.lent() if self.average is not None else nullcontext():
            loss = self.team.agree(self.step.measure(self.held.batches, self.plan.precision))
            self.state = self.held.judged(self.state, loss)
            if self.parameters.patience is not None and self.state.best_step == self.state.step:
                self.held.keep(self.state, self.weights, lead=self.team.lead)
                self.team.wait()
        return float(loss)

    def _save_is_due(self) -> bool:
        every_steps, every_s = self.parameters.checkpoint_steps, self.parameters.checkpoint_s
        if every_steps is not None and self.state.step % every_steps == 0:
            return True
        if every_s is None:
            return False
        due = time.monotonic() - self.saved_at >= max(every_s, self.save_s / _SAVING_SHARE)
        return bool(self.team.agree(due))

    def _save(self) -> None:
        began = time.monotonic()
        self.state = replace(self.state, clock=self.clock.seconds)
        folder = self.work / "checkpoints"
        save_state(folder, self.state, self.weights, self.optimizer, self.average, lead=self.team.lead)
        self.team.wait()
        self.saved, self.saved_at = self.state.step, time.monotonic()
        self.save_s = self.saved_at - began
