"""Minimal pairs: does the model prefer the sentence that is right (BLiMP, Warstadt et al. 2020, arXiv 1912.00582)?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamina.model.evaluate.likelihood import Likelihoods
from lamina.model.evaluate.score import Asked, Score, mean_score

#: Sums that differ by less than this share of them are equal: float32 and the rows of a batch blur them by so much.
TIE = 1e-5


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """Two texts that differ in what is asked for; ``group``: the phenomenon (BLiMP's UID)."""

    good: str
    bad: str
    group: str = ""

    def changed(self, change: Callable[[str], str]) -> MinimalPair:
        """Both texts changed."""
        return MinimalPair(change(self.good), change(self.bad), self.group)


def minimal_pairs(likelihoods: Likelihoods, pairs: Sequence[MinimalPair], *, name: str = "minimal pairs") -> Score:
    """The share of ``pairs`` whose good text is likelier than the bad one, by the sum over the whole text.

    A tie counts as wrong, so that a model which cannot tell scores 0 and not 1. ``details``: the ties, and the share of
    each group where there are several. Raises as ``Likelihoods.continuations`` does.
    """
    found = [one.value for one in likelihoods.texts([text for pair in pairs for text in (pair.good, pair.bad)])]
    right, ties, groups = [], 0, dict[str, list[float]]()
    for pair, good, bad in zip(pairs, found[::2], found[1::2], strict=True):
        tied = tie(good, bad)
        ties += tied
        right.append(float(good > bad and not tied))
        groups.setdefault(pair.group, []).append(right[-1])
    by_group = {group: sum(rights) / len(rights) for group, rights in groups.items()} if len(groups) > 1 else {}
    return mean_score(
        name,
        right,
        items=[text for pair in pairs for text in (pair.good, pair.bad)],
        asked=Asked(
            template="the sentence alone",
            begin=likelihoods.begin,
            normalisation=f"{likelihoods.measure}, ties wrong",
        ),
        details={"ties": float(ties)} | by_group,
    )


def tie(a: float, b: float) -> bool:
    """Whether two sums of ln p are equal but for rounding."""
    return abs(a - b) <= TIE * max(abs(a), abs(b))
