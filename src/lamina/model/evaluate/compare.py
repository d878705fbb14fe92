"""Which of two is better, and whether it can be said at all: over the items that were drawn, and over training seeds.

Two sources of chance are added: which items were asked (bootstrap over clusters of items, paired where both were asked
the same; Miller 2024, arXiv 2411.00640), and which seeds trained the models (Student's t with Welch's degrees of
freedom over the scores by seed). Their intervals are put together as for a sum of independent estimates (Zou and Donner
2008, Statistics in Medicine 27:1693).

An interval is too short where few items tell the models apart: of four answers that differ, all four speak for one side
in one draw of eight. So a winner must also be beyond what happens when the sides are exchanged at random (Fisher 1935),
which is exact for equal models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamina.kit.errors import InputError
from lamina.kit.statistics import Interval, exchange_chance, paired_bootstrap, standard_error, student_quantile
from lamina.model.evaluate.score import Score

_FEWEST = 10  # clusters of items under a verdict; with fewer, items that happen to agree would name a winner
_POWER = 0.8  # with which a real difference of this size would be seen


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """``difference`` (its ``n_clusters``: of the side with fewer) is above 0 where ``names[0]`` is better; ``winner``
    is named only where its interval excludes 0 and ``chance`` is small: how often equal models would differ so much.

    ``items_needed``, ``seeds_needed``: how many more (seeds: each side) would show a difference of this size with a
    power of 0.8; None: no number of them alone would. ``seeds``: trained models of each side; a side with one is that
    one model, and not its recipe.
    """

    name: str
    names: tuple[str, str]
    values: tuple[float, float]
    difference: Interval
    winner: str | None
    chance: float
    paired: bool
    seeds: tuple[int, int]
    confidence: float
    items_needed: int | None
    seeds_needed: int | None

    def __str__(self) -> str:
        gap = self.difference
        base = (
            f"{self.name}: {self.names[0]} {self.values[0]:.4f}, {self.names[1]} {self.values[1]:.4f}; "
            f"{self.names[0]} better by {gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] ({self.confidence:.0%}, "
            f"{gap.n_clusters:,} {'items of both' if self.paired else 'items a side'}, "
            f"{self.seeds[0]} and {self.seeds[1]} seeds)"
        )
        alone = "" if max(self.seeds) > 1 else "; one seed each: said of these two models, not of how they were made"
        return f"{base}: {f'{self.winner} is better' if self.winner else self._doubt()}{alone}"

    def _doubt(self) -> str:
        if self.difference.n_clusters < _FEWEST:
            return f"no winner: fewer than {_FEWEST} items decide nothing"
        if self.difference.low > 0 or self.difference.high < 0:
            return (
                f"no winner: few items tell the two apart, and of equal models {self.chance:.0%} would differ so much"
            )
        ways = [
            f"{count:,} more {what}"
            for count, what in ((self.items_needed, "items"), (self.seeds_needed, "seeds a side"))
            if count
        ]
        if not ways:
            return "no winner: the difference could be chance, and neither more items nor more seeds alone would tell"
        return f"no winner: the difference could be chance; about {' or '.join(ways)} would tell, if it is real"


def compare(
    ours: Score | Sequence[Score],
    theirs: Score | Sequence[Score],
    *,
    names: tuple[str, str] = ("ours", "theirs"),
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> Comparison:
    """Compare the same evaluation of two models, or of two recipes by the models of several seeds each.

    ``resamples``: of the bootstrap over items. Raises ``InputError`` where a side is empty, its scores are not of the
    same items, or the two were asked differently (what texts begin after may differ: it goes with the tokenizer).
    """
    sides = [[side] if isinstance(side, Score) else list(side) for side in (ours, theirs)]
    _check(sides)
    first, second = sides[0][0], sides[1][0]
    sign = 1.0 if first.better == "higher" else -1.0
    means = [np.mean([score.values for score in side], axis=0) for side in sides]
    paired = first.items == second.items and first.clusters == second.clusters
    if paired:
        drawn = paired_bootstrap(
            sign * means[0], sign * means[1], first.clusters, confidence=confidence, resamples=resamples
        )
        items_error = standard_error(means[0] - means[1], first.clusters)
    else:
        drawn = _apart(sign * means[0], sign * means[1], sides, confidence, resamples)
        items_error = math.hypot(*(standard_error(m, s[0].clusters) for m, s in zip(means, sides, strict=True)))
    seeds_error, degrees = _by_seed(sides)
    half = student_quantile(0.5 + confidence / 2, degrees) * seeds_error if seeds_error else 0.0
    gap = Interval(
        mean=drawn.mean,
        low=drawn.mean - math.hypot(drawn.mean - drawn.low, half),
        high=drawn.mean + math.hypot(drawn.high - drawn.mean, half),
        n_clusters=drawn.n_clusters,
    )
    chance = _chance(sign * means[0], sign * means[1], sides, paired, resamples)
    clear = chance <= 1 - confidence + 1e-9 and gap.n_clusters >= _FEWEST and (gap.low > 0 or gap.high < 0)
    counts = len(sides[0]), len(sides[1])
    several = [count for count in counts if count > 1]
    return Comparison(
        name=first.name,
        names=names,
        values=(float(means[0].mean()), float(means[1].mean())),
        difference=gap,
        chance=chance,
        winner=(names[0] if gap.low > 0 else names[1]) if clear else None,
        paired=paired,
        seeds=counts,
        confidence=confidence,
        items_needed=0 if clear else _more(gap.mean, gap.n_clusters, items_error, seeds_error, confidence),
        seeds_needed=0
        if clear
        else _more(gap.mean, min(several), seeds_error, items_error, confidence)
        if several
        else None,
    )


def _check(sides: list[list[Score]]) -> None:
    if not all(sides):
        raise InputError("there is nothing to compare: a side has no score", where="compare")
    for side in sides:
        if any(score.items != side[0].items or score.clusters != side[0].clusters for score in side):
            raise InputError("the seeds of a side were asked different items", where=f"compare: {side[0].name}")
    first = sides[0][0]
    for score in (score for side in sides for score in side):
        for what in ("name", "better"):
            if getattr(score, what) != getattr(first, what):
                raise InputError(f"'{score.name}' is not compared with '{first.name}'", where="compare")
        for what in ("template", "normalisation"):
            one, other = getattr(first.asked, what), getattr(score.asked, what)
            if one != other:
                raise InputError(
                    f"the scores were asked differently: {what} {one} and {other}", where=f"compare: {first.name}"
                )


def _apart(
    ours: np.ndarray, theirs: np.ndarray, sides: list[list[Score]], confidence: float, resamples: int
) -> Interval:
    """The interval of the difference of two independent means."""
    a, b = (
        paired_bootstrap(means, np.zeros(len(means)), side[0].clusters, confidence=confidence, resamples=resamples)
        for means, side in zip((ours, theirs), sides, strict=True)
    )
    gap = a.mean - b.mean
    return Interval(
        mean=gap,
        low=gap - math.hypot(a.mean - a.low, b.high - b.mean),
        high=gap + math.hypot(a.high - a.mean, b.mean - b.low),
        n_clusters=min(a.n_clusters, b.n_clusters),
    )


def _chance(ours: np.ndarray, theirs: np.ndarray, sides: list[list[Score]], paired: bool, draws: int) -> float:
    """How often a difference at least this large comes of exchanging the sides at random: of whole clusters where
    both were asked the same items, else of single items (there the interval alone looks at clusters)."""
    if paired:
        return exchange_chance(ours, theirs, sides[0][0].clusters, draws=draws)
    random, pooled, count = np.random.default_rng(0), np.concatenate([ours, theirs]), len(ours)
    shuffled = (random.permutation(pooled) for _ in range(min(draws, 2000)))
    gaps = np.array([row[:count].mean() - row[count:].mean() for row in shuffled])
    seen = abs(float(ours.mean() - theirs.mean()))
    return float((1 + (np.abs(gaps) >= seen * (1 - 1e-9) - 1e-12).sum()) / (1 + len(gaps)))


def _by_seed(sides: list[list[Score]]) -> tuple[float, int]:
    """The standard error of the difference by seeds alone, and Welch's degrees of freedom."""
    parts = [
        (float(np.var([score.value for score in side], ddof=1)) / len(side), len(side) - 1)
        for side in sides
        if len(side) > 1
    ]
    total = sum(variance for variance, _ in parts)
    if total == 0.0:
        return 0.0, 1
    degrees = total**2 / sum(variance**2 / count for variance, count in parts)
    return math.sqrt(total), max(1, math.floor(degrees))


def _more(effect: float, have: int, own: float, other: float, confidence: float) -> int | None:
    """How many units more than ``have``, whose error is ``own``, beside an error ``other`` that stays."""
    needed = float(have)
    for _ in range(100):  # the quantiles depend on the number itself
        degrees = max(1, math.ceil(needed) - 1)
        quantiles = student_quantile(0.5 + confidence / 2, degrees) + student_quantile(_POWER, degrees)
        room = effect**2 - (quantiles * other) ** 2
        following = have * (quantiles * own) ** 2 / room if room > 0 else math.inf
        if following > 1e9 and degrees >= 1000:
            return None
        if abs(following - needed) < 0.5:
            break
        needed = min((needed + following) / 2, 1e9) if math.isfinite(following) else needed * 2
        if needed > 1e9:
            return None
    return max(1, math.ceil(needed) - have)
