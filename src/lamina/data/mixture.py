"""How much of each group of documents a model is trained on: shares by size, flattened, capped, or given by hand.

A group is a source, a language or a topic. With n tokens in a group its share is n^(1/T) over the sum of all, as for
the languages of XLM-R (Conneau et al. 2020, arXiv 1911.02116) and mT5 (Xue et al. 2021, arXiv 2010.11934). Text that is
repeated more than four times teaches less and less (Muennighoff et al. 2023, arXiv 2305.16264): ``max_epochs``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import ConfigError, InputError

By = Literal["source", "language", "cluster"]
UNKNOWN = "unknown"
_TURNS = 60  # of a halving or a fixed point
_CLOSE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``[data.mixture]``: see ``docs/how-to/variety.md``.

    ``temperature`` 1 leaves the shares as they are, "uniform" makes them equal. ``cap`` is the largest share that a
    group may have unless ``weights`` gives it by hand; ``max_epochs`` how often a group may be repeated within the run.
    Groups without a weight share what is left by their sizes; weights of all groups count in proportion.
    """

    by: By = "source"
    temperature: float | Literal["uniform"] = 1.0
    cap: float | None = None
    max_epochs: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.temperature != "uniform" and self.temperature < 1:
            raise ConfigError(f"temperature = {self.temperature:g} is below 1", hint="1 leaves the shares as they are")
        if self.cap is not None and not 0 < self.cap <= 1:
            raise ConfigError(f"cap = {self.cap:g} is no share above 0, up to 1")
        if self.max_epochs is not None and not self.max_epochs > 0:
            raise ConfigError(f"max_epochs = {self.max_epochs:g} is not above 0")
        if any(weight < 0 for weight in self.weights.values()):
            raise ConfigError("weights are 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Documents that belong together: their numbers in the shards, ascending."""

    name: str
    documents: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """A group's part in a run. ``natural`` and ``share`` are of the tokens that carry loss, without and with the rule;
    ``rows`` is its share of the rows; ``epochs`` how often all of it is gone through (None: the run's length is open).
    """

    name: str
    documents: int
    tokens: int
    natural: float
    share: float
    rows: float
    epochs: float | None

    def facts(self) -> dict[str, Any]:
        """As JSON, rounded."""
        facts = {"name": self.name, "documents": self.documents, "tokens": self.tokens}
        facts |= {"natural": round(self.natural, 4), "share": round(self.share, 4)}
        return facts | ({} if self.epochs is None else {"epochs": round(self.epochs, 3)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The portions of a run, by size of the group. ``notes`` say where the rule could not be kept to the letter."""

    rule: Rule
    portions: tuple[Portion, ...]
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        groups = [portion.facts() for portion in self.portions]
        return {"by": self.rule.by, "how": self._how(), "groups": groups, "notes": list(self.notes)}

    def _how(self) -> str:
        """The rule in words."""
        how = f"temperature {self.rule.temperature:g}" if self.rule.temperature != "uniform" else "uniform"
        extra = [f"cap {self.rule.cap:g}"] if self.rule.cap is not None else []
        extra += [f"at most {self.rule.max_epochs:g} epochs"] if self.rule.max_epochs is not None else []
        extra += ["weights by hand"] if self.rule.weights else []
        return ", ".join([how, *extra])

    def in_words(self) -> str:
        """The plan, a line for each group."""
        lines = [f"plan: mixture by {self.rule.by}, {self._how()}"]
        width = max(len(p.name) for p in self.portions)
        for p in self.portions:
            epochs = "" if p.epochs is None else f", {p.epochs:,.2f} epochs"
            lines.append(
                f"  {p.name:<{width}}  {100 * p.natural:5.1f} % of the text -> {100 * p.share:5.1f} % of the training"
                f"{epochs}"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def check_names(rule: Rule, known: Sequence[str]) -> None:
    """Raise ``ConfigError`` where ``weights`` names a group that is not ``known``."""
    for name in rule.weights:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = (f"did you mean '{close[0]}'? " if close else "") + "known: " + ", ".join(known)
            raise ConfigError(f"there is no {rule.by} '{name}'", where="data.mixture.weights", hint=hint)


def plan_mixture(
    groups: Sequence[Group], tokens: Sequence[int], rows: Sequence[int], rule: Rule, *, run: float | None = None
) -> Mixture:
    """The portions of ``groups`` with so many ``tokens`` that carry loss in so many packed ``rows``, for a ``run`` of
    that many rows (None: not known yet; ``max_epochs`` is then left aside).

    Raises ``ConfigError`` for unknown names and for a cap that leaves a part of the training to nobody.
    """
    names = [group.name for group in groups]
    check_names(rule, names)
    sizes = np.asarray(tokens, np.float64)
    worded = sizes > 0
    if not worded.any():
        raise InputError("there is nothing to mix: no group has a token that carries loss", where="data.mixture")
    fill = np.where(worded, sizes / np.maximum(np.asarray(rows, np.float64), 1), 1.0)  # tokens of a row
    wanted, by_hand = _wanted(names, sizes, rule)
    limits = _limits(wanted, by_hand, worded, rule)
    notes: list[str] = []
    shares = _filled(wanted, limits, by_hand)
    if run is not None and rule.max_epochs is not None:
        shares, notes = _within_epochs(wanted, limits, by_hand, sizes, fill, run, rule.max_epochs)
    parts = shares / fill / (shares / fill).sum()
    portions = [
        Portion(
            name=group.name,
            documents=len(group.documents),
            tokens=int(sizes[i]),
            natural=float(sizes[i] / sizes.sum()),
            share=float(shares[i]),
            rows=float(parts[i]),
            epochs=None if run is None or not worded[i] else float(run * parts[i] / rows[i]),
        )
        for i, group in enumerate(groups)
    ]
    order = sorted(range(len(portions)), key=lambda i: (-portions[i].tokens, portions[i].name))
    return Mixture(rule=rule, portions=tuple(portions[i] for i in order), notes=tuple(notes))


def _wanted(
    names: Sequence[str], sizes: NDArray[np.float64], rule: Rule
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Shares by hand and by temperature, before any limit; and which are by hand."""
    by_hand = np.array([name in rule.weights for name in names], np.bool_)
    given = np.array([rule.weights.get(name, 0.0) for name in names], np.float64) * (sizes > 0)
    free = ~by_hand & (sizes > 0)
    if not free.any():
        if not given.sum():
            raise ConfigError("the weights leave nothing to train on", where="data.mixture.weights")
        return given / given.sum(), by_hand
    left = 1.0 - given.sum()
    if left <= 0:
        raise ConfigError(
            f"the weights add up to {given.sum():g} and leave nothing for {', '.join(np.array(names)[free][:5])}",
            where="data.mixture.weights",
            hint="give every group a weight, or weights below 1 together",
        )
    power = 0.0 if rule.temperature == "uniform" else 1.0 / rule.temperature
    scaled = np.where(free, (sizes / sizes.max()) ** power, 0.0)
    return given + left * scaled / scaled.sum(), by_hand


def _limits(
    wanted: NDArray[np.float64], by_hand: NDArray[np.bool_], worded: NDArray[np.bool_], rule: Rule
) -> NDArray[np.float64]:
    """The largest share that each group may have."""
    limits = np.where(wanted > 0, 1.0, 0.0)
    if rule.cap is None:
        return limits
    free = ~by_hand & worded
    left = 1.0 - wanted[by_hand].sum()
    if free.any() and rule.cap * free.sum() < left - _CLOSE:
        raise ConfigError(
            f"{free.sum()} groups of at most {rule.cap:g} are less than the {left:g} that falls to them",
            where="data.mixture.cap",
            hint=f"with these groups it is at least {left / free.sum():.3g}",
        )
    return np.where(free, np.minimum(limits, rule.cap), limits)


def _filled(
    wanted: NDArray[np.float64], limits: NDArray[np.float64], by_hand: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """``wanted`` under ``limits``: what is too much goes to the others in proportion, to those by hand only where all
    others are full. Less than 1 where everybody is."""
    shares = np.minimum(wanted, limits)
    for _ in range(2 * len(wanted)):
        left = 1.0 - shares.sum()
        room = (shares < limits - _CLOSE) & (wanted > 0)
        room = room & ~by_hand if (room & ~by_hand).any() else room
        if left <= _CLOSE or not room.any():
            break
        shares[room] += left * wanted[room] / wanted[room].sum()
        shares = np.minimum(shares, limits)
    return shares


def _within_epochs(
    wanted: NDArray[np.float64],
    limits: NDArray[np.float64],
    by_hand: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    fill: NDArray[np.float64],
    run: float,
    epochs: float,
) -> tuple[NDArray[np.float64], list[str]]:
    """Shares with which no group is repeated more than ``epochs`` times within ``run`` rows; where the run is longer
    than that allows, as few times more as can be."""

    def under(times: float) -> NDArray[np.float64]:
        shares = _filled(wanted, limits, by_hand)
        for _ in range(_TURNS):  # how many tokens a run has depends on how full its rows are, and so on the shares
            total = run * shares.sum() / (shares / fill).sum()
            following = _filled(wanted, np.minimum(limits, times * sizes / total), by_hand)
            if np.abs(following - shares).max() < _CLOSE:
                break
            shares = following
        return shares

    shares = under(epochs)
    if shares.sum() > 1 - 1e-9:
        return shares, []
    low, high = epochs, epochs * 2
    while under(high).sum() < 1 - 1e-9:
        low, high = high, high * 2
    for _ in range(_TURNS):
        middle = (low + high) / 2
        low, high = (middle, high) if under(middle).sum() < 1 - 1e-9 else (low, middle)
    note = f"the run is longer than {epochs:g} epochs of what may be taken: up to {high:.3g} epochs instead"
    return under(high), [note]
