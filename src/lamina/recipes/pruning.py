"""``[deployment.prune]``: what is trained, or the base, made smaller, and trained again by its own parent.

training, or base ─► vocabulary ─► tokens ─► pruning ─► served
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.kit import config
from lamina.kit.stages import Condition, Stage
from lamina.recipes.prune_section import PruneSection
from lamina.recipes.run_context import run_context
from lamina.recipes.train_section import TrainSection
from lamina.recipes.watching import deciding

if TYPE_CHECKING:
    from lamina.recipes.plan import Plan

_STAGES = "lamina.recipes.prune_stages"
#: What recovery takes over from [model.train].
_SHARED = ("batch", "accumulate", "length", "replay", "seed", "device", "compile", "recompute", "samples", "track")
_ELSEWHERE = ("least", "common", "recover")  # keys of [deployment.prune] that decide what goes into the last stage
_RATE = 1.5e-4  # peak
_DISTILL = 0.5  # share of the parent's scores in the loss
_SOFTNESS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What is served comes from ``source`` / ``part``. ``run``, ``tokens``: the keys of the training run that made it,
    and of what it learned from; None of a base."""

    source: Path
    part: str
    run: str | None = None
    tokens: str | None = None


def deployed(plan: Plan) -> Deployed:
    """The model that the stack serves, made where it is stale: the tuned one or the base, pruned where it is to be."""
    workshop = plan.workshop
    made = Deployed(source=workshop.run(plan.base), part="")
    if plan.trains:
        run = workshop.run(plan.training)
        made = Deployed(source=run, part="model", run=run.name, tokens=workshop.key(plan.tokens))
    section = plan.stack.deployment.prune
    return made if section is None else pruned(plan, section, made)


def pruned(plan: Plan, section: PruneSection, parent: Deployed) -> Deployed:
    """``parent`` pruned as ``section`` says and recovered, by the stages that this takes; those that stand are kept."""
    stages, workshop = Pruning(plan, section, parent), plan.workshop
    tokens = workshop.run(stages.tokens)
    if section.vocabulary:
        workshop.run(stages.vocabulary)
        tokens = workshop.run(stages.pruned_tokens)
    run = workshop.run(stages.pruning)
    return Deployed(source=run, part="model", run=run.name, tokens=tokens.name)


def conditions(plan: Plan) -> dict[str, Callable[[], Condition]]:
    """How the stages of the stack's pruning stand, by their names; none where nothing is pruned. Nothing is made."""
    section = plan.stack.deployment.prune
    if section is None:
        return {}
    names = ["vocabulary", "pruned_tokens", "pruning"] if section.vocabulary else ["pruning"]

    def condition(name: str) -> Condition:
        source = plan.workshop.folder(plan.training if plan.trains else plan.base)
        stages = Pruning(plan, section, Deployed(source=source, part="model" if plan.trains else ""))
        return plan.workshop.condition(getattr(stages, name))

    return {name.replace("_", "-"): partial(condition, name) for name in names}


@dataclass(frozen=True)
class Pruning:
    """The stages in which a ``parent`` is pruned; each is reached by running what it stands on first."""

    plan: Plan
    section: PruneSection
    parent: Deployed

    @property
    def tokens(self) -> Stage:
        """The training documents as tokens of the parent."""
        plan = self.plan
        if plan.trains:
            return plan.tokens
        return Stage(
            name="tokens",
            shelf="tokens",
            function="lamina.recipes.corpus:tokenize",
            parameters={"replay": True, "seed": TrainSection().seed},
            inputs={"corpus": self._corpus, "tokenizer": plan.workshop.folder(plan.tokenized_by)},
            versions={"shards": 1, "replay": 2},
            context={"reuse": None, "workers": plan.stack.data.workers if plan.stack.data else None},
        )

    @property
    def vocabulary(self) -> Stage:
        """The parent's tokenizer with the tokens that stay."""
        section, parent = self.section, self.parent
        return Stage(
            name="vocabulary",
            shelf="tokenizers",
            function=f"{_STAGES}:prune_tokens",
            parameters={"least": section.least, "common": section.common, "part": parent.part},
            inputs={"source": parent.source, "tokens": self.plan.workshop.folder(self.tokens)},
            versions={"vocabulary": 1},
        )

    @property
    def pruned_tokens(self) -> Stage:
        """The training documents as these tokens."""
        inputs = {"corpus": self._corpus, "tokenizer": self.plan.workshop.folder(self.vocabulary)}
        return replace(self.tokens, name="pruned-tokens", inputs=inputs)

    @property
    def pruning(self) -> Stage:
        """The model without what matters least, recovered: a training run."""
        plan, folder = self.plan, self.plan.workshop.folder
        inputs = {"source": self.parent.source, "corpus": self._corpus, "tokens": folder(self.tokens)}
        if self.section.vocabulary:
            inputs |= {"vocabulary": folder(self.vocabulary), "tokens": folder(self.pruned_tokens)}
        model = plan.stack.model
        train = recovery(self.section, model.train if model else None)
        cut = {name: value for name, value in config.resolved(self.section).items() if name not in _ELSEWHERE}
        base = None if model is None or model.base is None else plan.base_location
        return Stage(
            name="pruning",
            shelf="runs",
            function=f"{_STAGES}:prune_and_recover",
            parameters={"prune": cut, "train": deciding(train), "part": self.parent.part},
            inputs=inputs,
            versions={"prune": 2, "train": 1},
            context=run_context(plan.stack, train, plan.workshop, base=base, corpus=self._corpus),
        )

    @property
    def _corpus(self) -> Path:
        return self.plan.workshop.folder(self.plan.corpus)


def unpruned(state: Path, run: str) -> tuple[Path, str] | None:
    """What the model of a ``run`` was cut from, as (folder, its part); None where it was not pruned."""
    try:
        told = json.loads((state / "runs" / run / "run.json").read_bytes()).get("pruning")
    except FileNotFoundError:
        return None
    return None if told is None else (state / told["of"], str(told["part"]))


def recovery(section: PruneSection, train: TrainSection | None) -> TrainSection:
    """How a pruned model is trained: all of its weights, by the parent's scores and the documents."""
    shared = {} if train is None else {name: getattr(train, name) for name in _SHARED}
    return TrainSection(
        **shared,
        method="full",
        budget=section.recover,
        learning_rate=_RATE,
        distill=_DISTILL,
        softness=_SOFTNESS,
    )
