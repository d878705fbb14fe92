"""Multiple choice by likelihood: the model chooses the continuation that it finds likeliest after the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lamina.kit.errors import ConfigError, InputError
from lamina.model.evaluate.likelihood import Likelihoods, LogLikelihood
from lamina.model.evaluate.minimal_pairs import tie
from lamina.model.evaluate.score import Asked, Score, mean_score

Normalisation = Literal["sum", "byte", "token"]
_WORDS: dict[Normalisation, str] = {"sum": "", "byte": " per UTF-8 byte of the choice", "token": " per token"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A context, its possible continuations, and the number of the right one. ``cluster``: what it was drawn with."""

    context: str
    choices: tuple[str, ...]
    answer: int
    cluster: str | None = None

    def changed(self, change: Callable[[str], str]) -> Choice:
        """The context changed; the choices stay."""
        return replace(self, context=change(self.context))


def multiple_choice(
    likelihoods: Likelihoods,
    items: Sequence[Choice],
    *,
    normalisation: Normalisation,
    template: str = "{context} {choice}",
    name: str = "multiple choice",
) -> Score:
    """The share of ``items`` whose right choice has the highest Σ ln p given the context, normalised as said.

    "sum": as it is (lm-evaluation-harness' acc); "byte": divided by the choice's UTF-8 bytes, the template's own not
    counted (its acc_bytes); "token": by the continuation's tokens. A tie with the right choice counts as wrong.
    ``template`` holds "{context}" and then "{choice}"; its words in front of the choice belong to the context.
    ``details``: what guessing scores (chance) and (value - chance) / (1 - chance), centred as in arXiv 2406.11794.
    Raises ``InputError`` naming the item without two choices, or whose answer is none of them.
    """
    before, after = _parts(template)
    pairs = []
    for n, item in enumerate(items):
        _check(item, f"{name}: item {n}")
        context = before.replace("{context}", item.context)
        pairs += [(context, choice + after) for choice in item.choices]
    found = iter(likelihoods.continuations(pairs))
    right = []
    for item in items:
        scores = [_normalised(next(found), choice, normalisation) for choice in item.choices]
        own = scores[item.answer]
        others = [score for n, score in enumerate(scores) if n != item.answer]
        right.append(float(all(own > score and not tie(own, score) for score in others)))
    chance = sum(1 / len(item.choices) for item in items) / max(1, len(items))
    clustered = any(item.cluster is not None for item in items)
    share = sum(right) / max(1, len(right))
    return mean_score(
        name,
        right,
        items=[text for item in items for text in (item.context, *item.choices, str(item.answer))],
        asked=Asked(
            template=repr(template),
            begin=likelihoods.begin,
            normalisation=f"{likelihoods.measure}{_WORDS[normalisation]}, ties wrong",
        ),
        clusters=[f"{n}" if item.cluster is None else f"= {item.cluster}" for n, item in enumerate(items)]
        if clustered
        else None,
        details={"chance": chance, "centred": (share - chance) / (1 - chance)},
    )


def _normalised(found: LogLikelihood, choice: str, normalisation: Normalisation) -> float:
    return found.value / {"sum": 1, "byte": len(choice.encode()), "token": found.tokens}[normalisation]


def _parts(template: str) -> tuple[str, str]:
    before, _, after = template.partition("{choice}")
    if "{choice}" not in template or "{context}" not in before or "{" in before.replace("{context}", "", 1) + after:
        raise ConfigError(
            f"the template {template!r} must hold {{context}} and then {{choice}}, once each", where="multiple_choice"
        )
    return before, after


def _check(item: Choice, where: str) -> None:
    if len(item.choices) < 2:
        raise InputError(f"{len(item.choices)} choices leave nothing to choose", where=where)
    if not 0 <= item.answer < len(item.choices):
        raise InputError(f"answer {item.answer} is none of {len(item.choices)} choices (counted from 0)", where=where)
    if not all(item.choices):
        raise InputError("a choice is empty", where=where)
