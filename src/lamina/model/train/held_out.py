"""Early stopping: the loss on held-out batches as a run goes along, and the weights that were best (Prechelt 1998)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lamina.contracts.tokens import Batch
from lamina.kit.durable import publish, remove, verify
from lamina.kit.errors import ConfigError
from lamina.model.train.distributed import like, whole
from lamina.model.train.state import TrainState, read_facts, write_tensors

_WEIGHTS = "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What is measured each ``every`` steps; after ``patience`` measurements in a row without a better loss the run
    ends. The best weights so far lie in ``folder``, beside the checkpoints that count on them."""

    batches: Sequence[Batch]
    every: int
    patience: int | None
    folder: Path

    def __post_init__(self) -> None:
        if not any(batch.learned for batch in self.batches):
            raise ConfigError(
                "there is nothing held out to measure by",
                where="model.train.validate_every",
                hint="data.held_out = 0.1",
            )

    def due(self, step: int) -> bool:
        """Whether to measure after ``step`` steps."""
        return step % self.every == 0

    def judged(self, state: TrainState, loss: float) -> TrainState:
        """The state after a measured loss; a better one makes the present step the best."""
        if state.best is None or loss < state.best or math.isnan(state.best):  # the first may have been no number
            return replace(state, best=loss, best_step=state.step, worse=0, measured=state.step)
        return replace(state, worse=state.worse + 1, measured=state.step)

    def tired(self, state: TrainState) -> bool:
        """Whether the patience is at its end."""
        return self.patience is not None and state.worse >= self.patience

    def keep(self, state: TrainState, weights: Mapping[str, nn.Parameter], *, lead: bool) -> None:
        """Keep the weights of the present step, and of earlier ones those that a checkpoint may need."""
        tensors = {name: whole(parameter.detach()).contiguous() for name, parameter in weights.items()}
        if not lead:
            return
        with publish(self._place(state.step)) as staging:
            write_tensors(tensors, staging / _WEIGHTS)
        needed = {state.step} | {facts.get("best_step") for facts in read_facts(self.folder.parent / "checkpoints")}
        for path in self.folder.glob("step-*"):
            if path.is_dir() and int(path.name.removeprefix("step-")) not in needed:
                remove(path)

    @torch.no_grad()
    def restore(self, state: TrainState, weights: Mapping[str, nn.Parameter]) -> None:
        """Put the best weights back. Raises ``CorruptError`` where they are damaged."""
        if state.best_step is None:
            return
        place = self._place(state.best_step)
        verify(place)
        kept: dict[str, Tensor] = load_file(place / _WEIGHTS)
        for name, parameter in weights.items():
            parameter.copy_(like(kept[name], parameter))

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}"
