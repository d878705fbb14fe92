"""A figure with its standard error, its items, and how the model was asked: what every evaluation gives.

Figures that are no means of items (F1, calibration, BLEU, rank correlation) get values by item all the same, from
leaving out one group of items at a time (the jackknife: Tukey 1958; Efron and Stein 1981), so that one comparison
serves all: the mean of ``values`` is the figure, and their spread its standard error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.kit.errors import InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.statistics import standard_error

_GROUPS = 1000  # that the jackknife leaves out in turn, at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """How items became text and numbers. Scores that differ in ``template`` or ``normalisation`` are not comparable."""

    template: str
    begin: str  # what a text begins after: the beginning token, or the frame of an encoder
    normalisation: str

    def __str__(self) -> str:
        return f"template {self.template}; begins after {self.begin}; {self.normalisation}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """``value`` ± ``error`` (one standard error) over ``n`` items, which were asked as ``asked`` says.

    ``values`` (n,): of each item; their mean is ``value``. ``clusters`` (n,): what was drawn together (a document, a
    person). ``items``: the fingerprint of the items; scores on the same items are compared item by item. ``details``:
    further figures by name.
    """

    name: str
    value: float
    error: float
    n: int
    asked: Asked
    values: tuple[float, ...] = field(repr=False)
    clusters: tuple[str, ...] = field(repr=False)
    items: str
    better: Literal["higher", "lower"] = "higher"
    details: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; ``Score.from_json`` is the inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Score:
        """The score that ``to_json`` wrote."""
        lists = {key: tuple(values[key]) for key in ("values", "clusters")}
        return cls(**{**values, **lists, "asked": Asked(**values["asked"])})

    def __str__(self) -> str:
        more = "".join(f"; {name} {value:.4g}" for name, value in self.details.items())
        return f"{self.name}: {self.value:.4f} ± {self.error:.4f} (n = {self.n:,}; {self.asked}{more})"


def mean_score(
    name: str,
    values: Sequence[float],
    *,
    items: Sequence[str],
    asked: Asked,
    clusters: Sequence[str] | None = None,
    better: Literal["higher", "lower"] = "higher",
    details: Mapping[str, float] | None = None,
) -> Score:
    """The mean of ``values`` (N,), one of each of ``items`` (what tells them apart).

    ``clusters``: what was drawn together; else each item stands for itself. Raises ``InputError`` where there are no
    two items, or all are of one cluster: nothing is known of the spread then.
    """
    if len(values) < 2:
        raise InputError(
            f"{len(values) or 'no'} item{'s' if len(values) != 1 else ''}: a score needs at least two", where=name
        )
    found = [str(n) for n in range(len(values))] if clusters is None else list(clusters)
    error = standard_error(values, found)
    if math.isinf(error):
        raise InputError("all items are of one cluster: nothing is known of the spread", where=name)
    return Score(
        name=name,
        value=float(np.mean(values)),
        error=error,
        n=len(values),
        asked=asked,
        values=tuple(map(float, values)),
        clusters=tuple(found),
        items=blake3_hex(*items),
        better=better,
        details=details or {},
    )


def ratio_values(above: ArrayLike, below: ArrayLike) -> NDArray[np.float64]:
    """Values (N,) whose mean is Σ ``above`` / Σ ``below`` and whose spread is the ratio's (Cochran 1977, 2.11)."""
    top, bottom = np.asarray(above, np.float64), np.asarray(below, np.float64)
    ratio = top.sum() / bottom.sum()
    return np.asarray(ratio + (top - ratio * bottom) / bottom.mean())


def jackknife(
    figure: Callable[[NDArray[np.bool_]], float], count: int, clusters: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """Values (N,) of ``count`` items whose mean is ``figure`` of all, and the groups that were left out together.

    ``figure`` takes which items count (N,). The groups are the ``clusters`` where they are given, else the items
    themselves, or a thousand groups of them.
    """
    named = list(clusters) if clusters is not None else [str(n % _GROUPS) for n in range(count)]
    numbers: dict[str, int] = {}
    group = np.array([numbers.setdefault(name, len(numbers)) for name in named], np.int64)
    whole = figure(np.ones(count, np.bool_))
    if len(numbers) < 2:
        return np.full(count, whole), named
    without = np.array([figure(group != n) for n in range(len(numbers))])
    sizes = np.bincount(group)
    by_item = ((count / sizes - 1) * (whole - without))[group]  # what each of its items adds
    return whole + by_item - by_item.mean(), named
