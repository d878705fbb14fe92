"""Vectors of texts against people's judgements of likeness (STS, Cer et al. 2017, arXiv 1708.00055)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import InputError
from lamina.model.evaluate.score import Asked, Score, jackknife, mean_score
from lamina.model.vectors.evaluation import spearman


def similarity(
    embed: Callable[[Sequence[str]], NDArray[np.float32]],
    pairs: Sequence[tuple[str, str, float]],
    *,
    asked: Asked | None = None,
    name: str = "similarity",
) -> Score:
    """Spearman's rank correlation of the cosine of two texts' vectors with people's score of the pair.

    ``embed``: texts (N,) to vectors (N, D), such as ``TextEmbedder.embed``; each text is embedded once. ``pairs``:
    (text, text, score), any scale. The error is the jackknife's. Raises ``InputError`` with fewer than four pairs,
    where all scores are the same, and for a vector without length.
    """
    if len(pairs) < 4:
        raise InputError(f"{len(pairs) or 'no'} pairs: a rank correlation needs at least four", where=name)
    gold = np.array([score for _, _, score in pairs], np.float64)
    if not np.isfinite(gold).all() or len(set(gold.tolist())) < 2:
        raise InputError("people's scores must be numbers that differ", where=name)
    texts = list(dict.fromkeys(text for a, b, _ in pairs for text in (a, b)))
    vectors = np.asarray(embed(texts), np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        bad = int(np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)).ravel())[0])
        raise InputError(f"the text {texts[bad][:40]!r} has a vector without a length", where=name)
    number = {text: n for n, text in enumerate(texts)}
    unit = vectors / lengths
    cosines = np.einsum("nd,nd->n", unit[[number[a] for a, _, _ in pairs]], unit[[number[b] for _, b, _ in pairs]])
    cosines = cosines.round(9)  # equal vectors are equally near, whatever the order of their sums
    values, groups = jackknife(lambda kept: spearman(cosines[kept], gold[kept]), len(pairs))
    if not np.isfinite(values).all():
        raise InputError("all cosines are the same: there is no rank correlation", where=name)
    return mean_score(
        name,
        values.tolist(),
        items=[text for a, b, score in pairs for text in (a, b, str(score))],
        asked=asked
        or Asked(template="each text alone", begin="what the embedder adds", normalisation="Spearman of cosines"),
        clusters=groups,
    )
