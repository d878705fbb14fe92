"""Classifiers: how often they are right, over all classes alike, and whether their probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lamina.kit.errors import ConfigError, InputError, TooLargeError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.score import Asked, Score, jackknife, mean_score
from lamina.model.evaluate.scoring import alike, device_of
from lamina.model.generate import padded
from lamina.model.transformer import Transformer

_BATCH_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Classification:
    """Four scores of the same items; ``confusion`` (C, C): items of class [row] that were called [column]."""

    accuracy: Score
    macro_f1: Score
    calibration_error: Score
    brier: Score
    confusion: NDArray[np.int64]

    @property
    def scores(self) -> tuple[Score, ...]:
        """All four."""
        return self.accuracy, self.macro_f1, self.calibration_error, self.brier


@torch.inference_mode()
def class_probabilities(
    model: Transformer, tokenizer: ModelTokenizer, texts: Sequence[str], *, longest: int | None = None
) -> NDArray[np.float64]:
    """Probabilities (N, C) of the model's output "classify", each text in the frame that the model wants.

    ``longest``: tokens, frame included, that a text is cut to before its end, as in training. Raises ``ConfigError``
    where the model has no such output, ``TooLargeError`` for a text that does not fit.
    """
    if "classify" not in model.outputs:
        raise ConfigError("this model does not classify", where="class_probabilities")
    rows = [tokenizer.encode(text) for text in texts]
    if longest is not None:
        rows = [row[: max(1, longest - tokenizer.frame.size)] for row in rows]
    rows = [tokenizer.frame.around(row).ids for row in rows]
    for n, row in enumerate(rows):
        if not row:
            raise InputError("a text of no tokens cannot be classified", where=f"item {n}")
        if len(row) > model.spec.max_positions:
            raise TooLargeError(
                f"{len(row)} tokens, the model's context has {model.spec.max_positions}", where=f"item {n}"
            )
    found: dict[int, NDArray[np.float64]] = {}
    for batch in alike([len(row) for row in rows], _BATCH_TOKENS):
        ids, segments = (t.to(device_of(model)) for t in padded([rows[n] for n in batch]))
        scores = model.output("classify", model(ids, segments=segments), segments=segments)
        for n, row in zip(batch, scores.double().softmax(-1).cpu().numpy(), strict=True):
            found[n] = row
    return np.stack([found[n] for n in range(len(rows))]) if rows else np.zeros((0, 0))


def classification(
    probabilities: ArrayLike,
    labels: Sequence[int],
    *,
    asked: Asked,
    items: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    bins: int = 15,
    name: str = "classification",
) -> Classification:
    """Score ``probabilities`` (N, C) against ``labels`` (N,), classes counted from 0.

    Accuracy; macro-F1: the mean of the F1 of each class that occurs or was called (0 where nothing fits); expected
    calibration error over ``bins`` equal widths of the highest probability (Naeini et al. 2015; Guo et al. 2017, arXiv
    1706.04599), which is above 0 by chance even for a calibrated model; Brier's score Σ (p - y)² over classes, 0 to 2
    (Brier 1950). ``items`` (N,): the texts, so that models are compared on the same. Raises ``InputError`` for rows
    that are no probabilities and for labels that are no class.
    """
    given, truth = _checked(probabilities, labels, name)
    called, confidence = given.argmax(1), given.max(1)
    right = (called == truth).astype(np.float64)
    count, classes = given.shape
    texts = list(items) if items is not None else [f"{n} {label}" for n, label in enumerate(truth)]
    cell, bin_of = truth * classes + called, np.minimum((confidence * bins).astype(np.int64), bins - 1)

    def f1(kept: NDArray[np.bool_]) -> float:
        return _macro_f1(np.bincount(cell[kept], minlength=classes**2).reshape(classes, classes))

    def gap(kept: NDArray[np.bool_]) -> float:
        gaps = np.bincount(bin_of[kept], weights=(confidence - right)[kept], minlength=bins)
        return float(np.abs(gaps).sum() / kept.sum())

    f1_values, groups = jackknife(f1, count, clusters)
    gap_values, _ = jackknife(gap, count, clusters)
    off = ((given - np.eye(classes)[truth]) ** 2).sum(1)
    often = float(np.bincount(truth).max() / count)

    def score(
        kind: str, values: NDArray[np.float64], *, drawn: Sequence[str] | None = clusters, lower: str = ""
    ) -> Score:
        return mean_score(
            f"{name}: {kind}",
            values.tolist(),
            items=texts,
            asked=replace(asked, normalisation=lower or asked.normalisation),
            clusters=drawn,
            better="lower" if lower else "higher",
            details={"commonest class": often} if kind == "accuracy" else {},
        )

    return Classification(
        score("accuracy", right),
        score("macro-F1", f1_values, drawn=groups),
        score("calibration error", gap_values, drawn=groups, lower=f"{bins} bins of equal width"),
        score("Brier", off, lower="Σ over classes, 0 to 2"),
        np.bincount(cell, minlength=classes**2).reshape(classes, classes),
    )


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    hit = np.diag(confusion)
    seen = confusion.sum(0) + confusion.sum(1)
    return float((2 * hit[seen > 0] / seen[seen > 0]).mean())


def _checked(
    probabilities: ArrayLike, labels: Sequence[int], where: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    given = np.asarray(probabilities, np.float64)
    if len(given) < 2:
        raise InputError(f"{len(given) or 'no'} items: a score needs at least two", where=where)
    truth = np.asarray(labels, np.int64)
    if given.ndim != 2 or given.shape[1] < 2 or len(given) != len(truth):
        raise InputError(f"probabilities {given.shape} do not fit {len(truth)} labels", where=where)
    odd = np.flatnonzero(~((given >= 0).all(1) & (np.abs(given.sum(1) - 1) < 1e-4)))
    if len(odd):
        raise InputError("the numbers are no probabilities: they must add up to 1", where=f"{where}: item {odd[0]}")
    wrong = np.flatnonzero((truth < 0) | (truth >= given.shape[1]))
    if len(wrong):
        raise InputError(
            f"label {truth[wrong[0]]} is none of {given.shape[1]} classes (counted from 0)",
            where=f"{where}: item {wrong[0]}",
        )
    return given, truth
