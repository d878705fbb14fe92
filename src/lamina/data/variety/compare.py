"""A corpus against a reference: how much of the reference it covers, and what it lacks of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.variety import scores
from lamina.data.variety.gaps import gaps_against
from lamina.data.variety.measure import Measured, measure, vendi_scores
from lamina.kit.errors import InputError
from lamina.kit.progress import Progress

NEIGHBOURS = 5
_COMPARED = 5_000  # sampled documents on either side
_LEAST = 2 * NEIGHBOURS  # documents that a comparison needs on either side


def compare(
    corpus: Measured, reference: Sequence[Path], *, radius: float | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """What the documents in the Parquet files ``reference`` say of ``corpus``, which was measured before.

    Both are seen by the corpus' embedding, as many documents of one as of the other: ``coverage`` is the share of the
    reference's that have one of the corpus' among their nearest (see ``scores.covered``): 1 - 2^-k where both are of
    one kind. Raises ``InputError`` where either has too few documents.
    """
    other = measure(reference, embedding=corpus.embedding, whole=False, seed=corpus.variety["seed"], progress=progress)
    size = min(_COMPARED, len(corpus.vectors), len(other.vectors))
    if size < _LEAST:
        raise InputError(
            f"{size} documents are too few to compare, {_LEAST} are the least",
            where="reference" if size == len(other.vectors) else "corpus",
        )
    hit, density = scores.covered(other.vectors[:size], corpus.vectors[:size], k=NEIGHBOURS, radius=radius)
    topics = [
        {
            "name": name,
            "share": round(float((other.topics.labels == number).mean()), 4),
            "compared": int((other.topics.labels[:size] == number).sum()),
            "covered": round(float(hit[other.topics.labels[:size] == number].mean()), 4),
        }
        for number, name in enumerate(other.topics.names)
        if (other.topics.labels[:size] == number).any()
    ]
    pair = int(min(np.count_nonzero(m.vectors.any(axis=1)) for m in (corpus, other)))
    compared = min(pair, corpus.variety["vendi"]["documents"])
    return {
        "documents": other.variety["documents"],
        "characters": other.variety["characters"],
        "compared": size,
        "neighbours": NEIGHBOURS,
        "radius": radius,
        "coverage": round(float(hit.mean()), 4),
        "density": round(density, 4),
        "vendi": {m: vendi_scores(v.vectors, compared) for m, v in (("here", corpus), ("reference", other))},
        "distinct": other.variety["distinct"],
        "shares": {facet: other.variety["shares"][facet] for facet in ("language", "year", "source")},
        "topics": topics,
        "gaps": gaps_against(corpus.variety, other.variety, topics),
    }
