"""A classifier from a few labels: logistic regression on hashed features, its strength and calibration by folds.

With few labels and many features the regression is solved over the labels, not over the features (kernel logistic
regression, Zhu and Hastie 2005): Newton's method on a matrix of labels by labels. Scores become probabilities by
Platt's scaling (Platt 1999, with the corrections of Lin et al. 2007) on scores of folds that did not see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.data.clean.labels import Label
from lamina.data.clean.quality_features import Features, features
from lamina.kit.errors import ConfigError
from lamina.kit.identity import blake3_hex

FEWEST, RARER, MOST = 20, 5, 2000  # labels; of the rarer kind; of which is learned
_FOLDS = 5
_STRENGTHS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of the regularisation
_NEAR = 1e-3  # how exactly the folds are solved
_SHAPE = 0.5  # what the shape of a text weighs beside its words
_STEPS = 25
_BINS = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Weights of the hashed features (SLOTS,) and of the shape (S,); and how well it did on labels it had not seen.

    ``report``: labels, keep, folds, strength, auc with an interval of 95 %, brier, and bins of calibration (labels,
    mean probability, share kept).
    """

    words: NDArray[np.float32]
    shape: Floats
    means: Floats
    scales: Floats
    scaling: tuple[float, float]  # of Platt: probability = 1 / (1 + exp(-(a · score + b)))
    report: Mapping[str, Any]

    def probabilities(self, found: Features) -> Floats:
        """That a person would keep each text, (N,)."""
        scores = found.times(self.words) + _standard(found.shape, self.means, self.scales) @ self.shape
        return _sigmoid(self.scaling[0] * scores + self.scaling[1])


def check_labels(labels: Sequence[Label], where: str) -> None:
    """Raise ``ConfigError`` with advice where there is too little to learn from."""
    keep = sum(label.keep for label in labels)
    rarer = min(keep, len(labels) - keep)
    if len(labels) < FEWEST or rarer < RARER:
        need = f"at least {FEWEST}, and {RARER} of each kind; 50 are a good beginning"
        what = f"{keep} labels to keep and {len(labels) - keep} to drop are too few to learn from"
        raise ConfigError(what, where=where, hint=f"{need}: lamina data labels chooses which documents to label next")


def train(labels: Sequence[Label], *, where: str = "labels") -> Trained:
    """Learn from labels with texts; the same labels in any order give the same weights."""
    check_labels(labels, where)
    chosen = sorted(labels, key=lambda label: blake3_hex(label.text or ""))[:MOST]
    found = features([label.text or "" for label in chosen])
    wanted = np.array([label.keep for label in chosen], np.float64)
    means, scales = _spread(found.shape)
    shape = _standard(found.shape, means, scales)
    likeness = found.likeness() + _SHAPE * shape @ shape.T / shape.shape[1]
    folds = _folds(wanted)
    strength, unseen = _best(likeness, wanted, folds)
    scaling = _platt(unseen, wanted)
    alpha, offset = _solve(likeness, wanted, strength)
    report = _report(unseen, wanted, scaling, folds, strength)
    return Trained(
        words=found.weighed(alpha),
        shape=_SHAPE * shape.T @ alpha / shape.shape[1],
        means=means,
        scales=scales,
        scaling=(scaling[0], scaling[0] * offset + scaling[1]),
        report=report,
    )


def _spread(shape: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(shape)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, shape, 0.0).sum(axis=0) / counts
    deviations = np.sqrt((np.where(known, shape - means, 0.0) ** 2).sum(axis=0) / counts)
    return means, np.where(deviations > 1e-9, deviations, 1.0)


def _standard(shape: Floats, means: Floats, scales: Floats) -> Floats:
    """In standard deviations, three at most, so that no odd text runs away; what is not known is the mean."""
    return np.clip(np.nan_to_num((shape - means) / scales, nan=0.0), -3.0, 3.0)


def _sigmoid(scores: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))


def _folds(wanted: Floats) -> NDArray[np.int64]:
    """A fold for each label; each kind is dealt out in turn."""
    folds = np.zeros(len(wanted), np.int64)
    for kind in (0.0, 1.0):
        rows = np.flatnonzero(wanted == kind)
        folds[rows] = np.arange(len(rows)) % _FOLDS
    return folds


def _solve(
    likeness: Floats, wanted: Floats, strength: float, *, begin: tuple[Floats, float] | None = None, near: float = 1e-8
) -> tuple[Floats, float]:
    """Minimise Σ ln(1 + exp(-±f)) + strength/2 αᵀKα with f = Kα + b: α (N,) and b, to ``near``."""
    rows = len(wanted)
    alpha, offset = begin or (np.zeros(rows), 0.0)
    for _ in range(_STEPS):
        scores = likeness @ alpha + offset
        chance = _sigmoid(scores)
        weight = np.maximum(chance * (1 - chance), 1e-6)
        target = scores + (wanted - chance) / weight
        matrix = likeness + np.diag(strength / weight)
        solved = np.linalg.solve(matrix, np.stack([target, np.ones(rows)], axis=1))
        offset_new = float(solved[:, 0].sum() / solved[:, 1].sum())
        alpha_new = solved[:, 0] - offset_new * solved[:, 1]
        moved = np.abs(alpha_new - alpha).max() + abs(offset_new - offset)
        alpha, offset = alpha_new, offset_new
        if moved < near * (1 + np.abs(alpha).max()):
            break
    return alpha, offset


def _best(likeness: Floats, wanted: Floats, folds: NDArray[np.int64]) -> tuple[float, Floats]:
    """The strength with the least loss on labels that were not seen, and the scores of those."""
    unseens = np.zeros((len(_STRENGTHS), len(wanted)))
    for fold in range(_FOLDS):
        out = folds == fold
        known, solved = likeness[np.ix_(~out, ~out)], None
        for number, strength in enumerate(_STRENGTHS):  # each begins where the one before ended
            solved = _solve(known, wanted[~out], strength, begin=solved, near=_NEAR)
            unseens[number, out] = likeness[np.ix_(out, ~out)] @ solved[0] + solved[1]
    tried = []
    for strength, unseen in zip(_STRENGTHS, unseens, strict=True):
        loss = float(np.logaddexp(0.0, np.where(wanted > 0, -unseen, unseen)).mean())
        tried.append((loss, -strength, unseen))
    best = min(tried, key=lambda one: one[:2])
    return -best[1], best[2]


def _platt(scores: Floats, wanted: Floats) -> tuple[float, float]:
    """a and b of a sigmoid through the scores; a is not below 0, for a score must not speak against itself."""
    keep = wanted.sum()
    high, low = (keep + 1) / (keep + 2), 1 / (len(wanted) - keep + 2)
    target = np.where(wanted > 0, high, low)
    a, b = 1.0, 0.0
    for _ in range(100):
        chance = _sigmoid(a * scores + b)
        weight = np.maximum(chance * (1 - chance), 1e-9)
        gradient = np.array([((chance - target) * scores).sum(), (chance - target).sum()])
        hessian = np.array(
            [[(weight * scores**2).sum(), (weight * scores).sum()], [(weight * scores).sum(), weight.sum()]]
        ) + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        step *= min(1.0, 5.0 / max(np.abs(step).max(), 1e-12))
        a, b = a - step[0], b - step[1]
        if np.abs(step).max() < 1e-9:
            break
    return max(float(a), 0.0), float(b)


def auc(scores: Floats, wanted: Floats) -> float:
    """The chance that a text to keep scores above one to drop; ties count half (Hanley and McNeil 1982)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    keep = wanted.sum()
    return float((ranks[wanted > 0].sum() - keep * (keep + 1) / 2) / (keep * (len(wanted) - keep)))


def _report(
    unseen: Floats, wanted: Floats, scaling: tuple[float, float], folds: NDArray[np.int64], strength: float
) -> dict[str, Any]:
    chance = _sigmoid(scaling[0] * unseen + scaling[1])
    area = auc(unseen, wanted)
    keep, drop = wanted.sum(), len(wanted) - wanted.sum()
    likely, less = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley and McNeil's Q1 and Q2
    spread = area * (1 - area) + (keep - 1) * (likely - area**2) + (drop - 1) * (less - area**2)
    error = 1.96 * np.sqrt(max(spread, 0.0) / (keep * drop))
    edges = np.clip((chance * _BINS).astype(int), 0, _BINS - 1)
    bins = [
        {"labels": int(n), "probability": float(chance[edges == e].mean()), "kept": float(wanted[edges == e].mean())}
        for e in range(_BINS)
        if (n := (edges == e).sum())
    ]
    return {
        "labels": len(wanted),
        "keep": int(keep),
        "folds": int(folds.max()) + 1,
        "strength": strength,
        "auc": area,
        "auc_interval": [max(0.0, float(area - error)), min(1.0, float(area + error))],
        "brier": float(((chance - wanted) ** 2).mean()),
        "calibration": bins,
    }
