"""How much a score loses when the texts come in spoiled: typed, scanned or worded otherwise than the model knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from lamina.kit.errors import InputError
from lamina.kit.statistics import Interval, paired_bootstrap
from lamina.model.evaluate.score import Score

Change = Callable[[str], str]


class Changeable(Protocol):
    """An item that knows which of its texts a perturbation changes (``MinimalPair``, ``Choice``)."""

    def changed(self, change: Change) -> Any:
        """The item with its text as ``change`` has it."""
        ...


Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """What a perturbation costs: ``loss`` is above 0 where the score gets worse, over the items, seeds averaged.

    ``clean``: the score without it; ``value``: with it, the mean over ``seeds`` draws. ``touched``: the share of the
    items that it changed at all.
    """

    perturbation: str
    clean: Score
    value: float
    loss: Interval
    seeds: int
    touched: float

    def __str__(self) -> str:
        sure = "" if self.loss.low > 0 or self.loss.high < 0 else " (could be chance)"
        draws = f"{self.seeds} draw{'s' if self.seeds > 1 else ''}"
        return (
            f"{self.clean.name}, {self.perturbation}: {self.clean.value:.4f} → {self.value:.4f}, loses "
            f"{self.loss.mean:+.4f} [{self.loss.low:+.4f}, {self.loss.high:+.4f}]{sure} ({draws}, "
            f"{self.touched:.0%} of {self.clean.n:,} items changed; {self.clean.asked})"
        )


def robustness(
    measure: Callable[[Sequence[Item]], Score],
    items: Sequence[Item],
    perturbations: Mapping[str, Sequence[Change]],
    *,
    changed: Callable[[Item, Change], Item] | None = None,
    confidence: float = 0.95,
) -> list[Drop]:
    """Measure ``items`` as they are and under each of ``perturbations``: a name, and a function text -> text for each
    seeded draw.

    ``changed``: how an item is perturbed; by default a text itself, and else the item's own ``changed``. The interval
    is over items, each compared with itself; it is of the draws that were made, averaged. Raises ``InputError`` where
    there is no draw, and where ``measure`` gives other values than one an item.
    """
    apply = changed or _changed
    clean = measure(items)
    found = []
    for name, changes in perturbations.items():
        if not changes:
            raise InputError("a perturbation needs at least one draw", where=f"robustness: {name}")
        spoiled = [[apply(item, change) for item in items] for change in changes]
        scores = [measure(draw) for draw in spoiled]
        if any(score.n != clean.n or score.clusters != clean.clusters for score in scores):
            raise InputError("the items of the score are not those of the clean one", where=f"robustness: {name}")
        after = np.mean([score.values for score in scores], axis=0)
        sign = 1.0 if clean.better == "higher" else -1.0
        loss = paired_bootstrap(sign * np.asarray(clean.values), sign * after, clean.clusters, confidence=confidence)
        touched = np.mean([[one != item for one, item in zip(draw, items, strict=True)] for draw in spoiled])
        found.append(
            Drop(
                perturbation=name,
                clean=clean,
                value=float(after.mean()),
                loss=loss,
                seeds=len(changes),
                touched=float(touched),
            )
        )
    return found


def _changed(item: Item, change: Change) -> Item:
    if isinstance(item, str):
        return cast("Item", change(item))
    if isinstance(item, tuple) and item and isinstance(item[0], str):
        return cast("Item", (change(item[0]), *item[1:]))  # a text and its label, a source and its translation
    if not hasattr(item, "changed"):
        raise InputError(f"how is a {type(item).__name__} perturbed?", where="robustness", hint="give 'changed'")
    return cast("Item", cast("Changeable", item).changed(change))
