"""Who watches a run: told of every step, shown in the bar; weights, random numbers and data stay as they are.

An observer that fails stops the run: what it was asked to write is part of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

from lamina.kit.progress import Progress, open_progress
from lamina.model.train.plan import Plan
from lamina.model.train.state import random_state, restore_random
from lamina.model.transformer import Transformer


class Observer(Protocol):
    """Watches one life of a run. ``needs_model``: it computes with the model, which several processes that each hold a
    share of it do not offer; there only the others watch, in the first process."""

    needs_model: bool

    def begin(self, model: Transformer, step: int, plan: Plan, progress: Progress) -> None:
        """The run stands after ``step`` steps: at its start, where it resumes, and where it went back to a checkpoint,
        so that what was noted of later steps is to be forgotten."""
        ...

    def see(self, facts: Mapping[str, Any]) -> Mapping[str, str]:
        """A step is done: ``facts`` are its row of the metrics. Returns what the bar shows, by name."""
        ...

    def close(self, *, well: bool) -> None:
        """This life of the run is over; ``well``: so is the run, with the weights that it ends with."""
        ...


class Observers:
    """Several as one. The random generator and the model's mode are put back after each call."""

    def __init__(
        self, model: Transformer, observers: Sequence[Observer] = (), progress: Progress | None = None
    ) -> None:
        self._model, self._observers = model, observers
        self._progress = progress or open_progress("quiet")

    def begin(self, step: int, plan: Plan) -> None:
        """See ``Observer.begin``."""
        with _Untouched(self._model):
            for observer in self._observers:
                observer.begin(self._model, step, plan, self._progress)

    def see(self, facts: Mapping[str, Any]) -> dict[str, str]:
        """See ``Observer.see``; what several show, together."""
        shown: dict[str, str] = {}
        if self._observers:
            with _Untouched(self._model):
                for observer in self._observers:
                    shown |= observer.see(facts)
        return shown

    def close(self, *, well: bool) -> None:
        """Close all of them; one that fails keeps none of the others open."""
        with _Untouched(self._model), ExitStack() as held:
            for observer in reversed(self._observers):
                held.callback(observer.close, well=well)


class _Untouched:
    """What observers do inside leaves no trace in the random numbers and the mode of the model."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._device = model.stack.embeddings.token.weight.device

    def __enter__(self) -> None:
        self._random, self._training = random_state(self._device), self._model.training

    def __exit__(self, *raised: object) -> None:
        restore_random(self._random, self._device)
        self._model.train(self._training)
