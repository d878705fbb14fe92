"""``[model.train]`` as parameters of the training loop, and a plan in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina.kit.config import seconds
from lamina.kit.workers import cores
from lamina.recipes.train_section import TrainSection

if TYPE_CHECKING:
    from lamina.model.train import TrainParameters
    from lamina.model.transformer import Transformer

DEFAULT_BUDGET = "2m"
_SMALL = 5_000_000  # parameters
_PREFERENCE_RATES = {"lora": 5e-5, "full": 5e-6}  # lower: the model is to stay near what it was
_RATES = {"lora": 4e-4, "full": 5e-4}  # peaks that did well on models of 1M to 135M parameters


def train_parameters(section: TrainSection, corpus_tokens: int, longest: float | None) -> TrainParameters:
    """What the loop is told; ``longest``: seconds, where the section says nothing of a length."""
    from lamina.model.train import TrainParameters

    tokens = section.tokens
    if section.epochs is not None:
        tokens = round(section.epochs * corpus_tokens / (1 - section.replay))
    steps = section.steps if tokens is None else max(1, -(-tokens // step_tokens(section)))
    budget = longest if section.budget is None else seconds(section.budget, where="model.train.budget")
    if steps is None and budget is None:
        budget = seconds(DEFAULT_BUDGET)
    rates = _PREFERENCE_RATES if section.objective in ("dpo", "kto") else _RATES
    return TrainParameters(
        steps=steps,
        budget_s=budget,
        method=section.method,
        rank=section.rank,
        alpha=section.alpha,
        accumulate=section.accumulate,
        learning_rate=section.learning_rate or rates[section.method],
        schedule=section.schedule,
        pace=section.pace,
        optimizer=section.optimizer,
        average=section.average,
        recompute=section.recompute,
        validate_every=section.validate_every,
        patience=section.patience,
        compile=section.compile,
        seed=section.seed,
        temperature=section.temperature,
        beta=section.beta,
        smoothing=section.smoothing,
        desirable=section.desirable,
        undesirable=section.undesirable,
        distill=section.distill,
        softness=section.softness,
    )


def step_tokens(section: TrainSection) -> int:
    """Of one step, padding counted."""
    return section.batch * section.accumulate * section.length


def plan_in_words(steps: int, section: TrainSection, corpus_tokens: int) -> str:
    """How much of the documents a run of ``steps`` steps learns from."""
    tokens = steps * step_tokens(section)
    share = tokens * (1 - section.replay) / max(1, corpus_tokens)
    covered = f"{100 * share:.1f} % of the documents" if share < 1 else f"the documents {share:.1f} times over"
    about = "about " if section.pace == "clock" else ""
    return f"plan: {about}{steps:,} steps of {step_tokens(section):,} tokens cover {covered}"


def set_threads(model: Transformer) -> None:
    """One thread for a small model, whose products are too short to share; else no more than a quota is worth."""
    import torch

    few = 1 if model.parameter_count < _SMALL else cores()
    torch.set_num_threads(min(few, torch.get_num_threads()))
