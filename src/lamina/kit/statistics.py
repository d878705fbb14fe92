"""How sure a difference is: bootstrap by clusters, the test by exchange, labels still needed, Wilson's interval, votes.

The unit of resampling is the person (or conversation), never the message: what one person says is no independent
evidence (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.kit.errors import InputError

_NORMAL = NormalDist()
_BLOCK = 4_000_000  # resampling counts held at once
_ENUMERATED = 12  # clusters whose exchanges are all tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its confidence interval; infinite ends mean that one cluster alone says nothing of the spread."""

    mean: float
    low: float
    high: float
    n_clusters: int


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of ``a - b`` over the items, with an interval from resampling whole clusters.

    The studentised bootstrap (Hall 1988, Annals of Statistics 16(3)) on the ratio of sums: it keeps its confidence
    where the differences are skewed, and is wide where clusters are few. Below five clusters no interval is to be
    trusted. Raises ``InputError`` where the lengths differ, nothing is given or a value is not finite.
    """
    difference = _finite(a) - _finite(b) if np.shape(a) == np.shape(b) else _finite(())
    sums, sizes = _by_cluster(difference, clusters)
    mean = float(difference.mean())
    count = len(sums)
    if not 0.0 < confidence < 1.0 or resamples < 100:
        raise InputError(f"confidence {confidence} must lie between 0 and 1, resamples {resamples} be at least 100")
    if count < 2:
        return Interval(mean=mean, low=-math.inf, high=math.inf, n_clusters=count)
    columns = np.stack([sums, sizes, sums**2, sums * sizes, sizes**2], axis=1)
    error = float(_standard_error(columns.sum(axis=0), count))
    if error == 0.0:
        return Interval(mean=mean, low=mean, high=mean, n_clusters=count)
    generator = np.random.default_rng(seed)
    scores = np.empty(resamples)
    step = max(1, _BLOCK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        totals = _resampled(generator, rows, count) @ columns
        errors = _standard_error(totals, count)
        # A resample of equal clusters has no spread of its own; it borrows that of the data.
        errors = np.where(errors > 1e-9 * error, errors, error)
        scores[start : start + rows] = (totals[:, 0] / totals[:, 1] - mean) / errors
    low, high = np.quantile(scores, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(mean=mean, low=mean - float(high) * error, high=mean - float(low) * error, n_clusters=count)


def _resampled(generator: np.random.Generator, rows: int, count: int) -> NDArray[np.float64]:
    """How often each of ``count`` clusters is drawn in each of ``rows`` resamples, of shape (rows, count).

    Counted from single draws: numpy's multinomial draws a binomial number for each cell, which is many times slower.
    """
    drawn = generator.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def exchange_chance(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable], *, draws: int = 10_000, seed: int = 0
) -> float:
    """How often ``a - b`` is at least as far from 0 as it is when the sides of whole clusters are exchanged at random.

    Exact for sides that are equal (Fisher 1935, The Design of Experiments), also where only a few clusters tell the two
    apart: there ``paired_bootstrap`` is too sure. All exchanges are tried where there are few, else ``draws`` of them.
    1.0 where nothing differs. Raises ``InputError`` as ``paired_bootstrap`` does.
    """
    difference = _finite(a) - _finite(b) if np.shape(a) == np.shape(b) else _finite(())
    sums, _ = _by_cluster(difference, clusters)
    sums = sums[sums != 0]
    seen = abs(float(sums.sum())) * (1 - 1e-9) - 1e-12
    if len(sums) <= _ENUMERATED:
        signs = 1.0 - 2.0 * ((np.arange(1 << len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float((np.abs(signs @ sums) >= seen).mean())
    generator, beyond = np.random.default_rng(seed), 1
    step = max(1, _BLOCK // len(sums))
    for start in range(0, draws, step):
        signs = generator.choice((-1.0, 1.0), size=(min(step, draws - start), len(sums)))
        beyond += int((np.abs(signs @ sums) >= seen).sum())
    return beyond / (1 + draws)


def standard_error(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Of the mean of ``values``, whole clusters being drawn; infinite with one cluster (Cochran 1977, 2.11)."""
    sums, sizes = _by_cluster(_finite(values), clusters)
    if len(sums) < 2:
        return math.inf
    columns = np.stack([sums, sizes, sums**2, sums * sizes, sizes**2], axis=1)
    return float(_standard_error(columns.sum(axis=0), len(sums)))


def _standard_error(totals: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Of a ratio of sums over ``count`` clusters, linearised (Cochran 1977, 2.11); ``totals`` has shape (…, 5)."""
    sums, sizes, squares, products, squared_sizes = np.moveaxis(totals, -1, 0)
    ratio = sums / sizes
    spread = np.maximum(squares - 2 * ratio * products + ratio**2 * squared_sizes, 0.0)
    spread = np.where(spread > 1e-13 * squares, spread, 0.0)  # equal differences, up to rounding
    return np.asarray(np.sqrt(spread * count / (count - 1)) / sizes)


def labels_needed(
    differences: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    power: float = 0.8,
    confidence: float = 0.95,
    effect: float | None = None,
) -> int | None:
    """How many more clusters (people) until an interval would exclude 0 with ``power``, if ``effect`` is the truth.

    ``effect`` is the mean seen where none is given. 0: there are enough. None: no number would do it (the effect is
    0), or it cannot be told (fewer than two clusters).
    """
    values = _finite(differences)
    sums, sizes = _by_cluster(values, clusters)
    count = len(sums)
    mean = float(values.mean())
    target = abs(mean if effect is None else effect)
    if count < 2 or target == 0.0:
        return None
    columns = np.stack([sums, sizes, sums**2, sums * sizes, sizes**2], axis=1)
    variance = float(_standard_error(columns.sum(axis=0), count)) ** 2 * count  # that of one cluster
    if variance == 0.0:
        return 0
    needed = 2.0
    for _ in range(50):  # the quantiles depend on the number itself
        degrees = max(1, math.ceil(needed) - 1)
        quantiles = student_quantile(0.5 + confidence / 2, degrees) + student_quantile(power, degrees)
        following = max(2.0, variance * (quantiles / target) ** 2)
        if abs(following - needed) < 0.5 or following > 1e12:
            needed = following
            break
        needed = (needed + following) / 2
    return max(0, math.ceil(needed) - count) if needed < 1e12 else None


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """A share with Wilson's score interval (1927); ``n_clusters`` is the number of trials."""
    if not 0 <= successes <= trials:
        raise InputError(f"{successes} successes of {trials} trials")
    if trials == 0:
        return Interval(mean=math.nan, low=0.0, high=1.0, n_clusters=0)
    z = _NORMAL.inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(mean=share, low=low, high=high, n_clusters=trials)


def vote_evidence(wins: int, losses: int, *, prior: float = 5.0) -> float:
    """The e-value of blind votes against "both are equally good"; ties are left out.

    A beta-binomial mixture, ``2^n B(a + wins, a + losses) / B(a, a)``: by Ville's inequality it ever reaches 1/alpha
    with probability at most alpha where there is no difference, so one may look after each vote.
    """
    if wins < 0 or losses < 0:
        raise InputError(f"{wins} wins and {losses} losses")
    log = (wins + losses) * math.log(2) + _log_beta(prior + wins, prior + losses) - _log_beta(prior, prior)
    return math.exp(log) if log < 700 else math.inf


@lru_cache(maxsize=4096)
def student_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t distribution, by Newton's method on its distribution function.

    The function is concave above 0 and its tails are heavier than the normal distribution's, so from the normal
    quantile the steps come up to the root from below and never jump over it.
    """
    if probability < 0.5:
        return -student_quantile(1 - probability, degrees)
    value = _NORMAL.inv_cdf(probability)
    if degrees >= 1000:
        return value / math.sqrt((1 - 1 / (4 * degrees)) ** 2 - value**2 / (2 * degrees))
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    for _ in range(200):
        density = math.exp(scale - (degrees + 1) / 2 * math.log1p(value**2 / degrees))
        step = (probability - _student_cdf(value, degrees)) / density
        value += step
        if step <= 1e-13 * value:
            break
    return value


def _student_cdf(t: float, degrees: int) -> float:
    """For t >= 0, from the finite sums of Abramowitz and Stegun 26.7.3-4."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine2 = math.cos(angle) ** 2
    odd = degrees % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 + inside / 2


def _log_beta(x: float, y: float) -> float:
    return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError("two lists of numbers of the same length are compared, of at least one item")
    if not np.isfinite(array).all():
        raise InputError(f"{int((~np.isfinite(array)).sum())} of {array.size} values are not finite")
    return array


def _by_cluster(
    values: NDArray[np.float64], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the items of each cluster, in the order in which clusters are first seen."""
    if len(clusters) != len(values):
        raise InputError(f"{len(values)} values have {len(clusters)} clusters")
    numbers: dict[Hashable, int] = {}
    index = np.fromiter((numbers.setdefault(c, len(numbers)) for c in clusters), dtype=np.int64, count=len(values))
    sums = np.bincount(index, weights=values, minlength=len(numbers)).astype(np.float64)
    return sums, np.bincount(index, minlength=len(numbers)).astype(np.float64)
