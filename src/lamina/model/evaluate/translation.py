"""Translations against references: BLEU (Papineni et al. 2002) and chrF (Popović 2015), as sacrebleu computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import InputError, require
from lamina.kit.tokenizer import ModelTokenizer
from lamina.model.evaluate.score import Asked, Score, jackknife, mean_score
from lamina.model.search import translate
from lamina.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Translation:
    """Two scores of the same sentences, 0 to 100; ``normalisation`` of each is sacrebleu's signature."""

    bleu: Score
    chrf: Score

    @property
    def scores(self) -> tuple[Score, ...]:
        """Both."""
        return self.bleu, self.chrf


def translation(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    asked: Asked,
    sources: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    name: str = "translation",
) -> Translation:
    """The corpus scores of ``hypotheses`` (N,) against ``references`` (N,), one of each; errors by the jackknife.

    ``sources`` (N,): what tells the items apart, else the references do. Raises ``InputError`` where the numbers differ
    or a reference is empty, ``MissingExtraError`` where sacrebleu is not installed.
    """
    sacrebleu: Any = require("sacrebleu", extra="evaluate", why="to score translations by BLEU and chrF")
    if len(hypotheses) != len(references):
        raise InputError(f"{len(hypotheses)} translations have {len(references)} references", where=name)
    if len(hypotheses) < 2:
        raise InputError(f"{len(hypotheses) or 'no'} items: a score needs at least two", where=name)
    for n, reference in enumerate(references):
        if not reference.strip():
            raise InputError("the reference is empty", where=f"{name}: item {n}")
    found = []
    for kind, metric in (("BLEU", sacrebleu.BLEU()), ("chrF", sacrebleu.CHRF())):
        statistics = np.array(metric._extract_corpus_statistics(list(hypotheses), [list(references)]))
        values, groups = jackknife(_figure(metric, statistics), len(hypotheses), clusters)
        found.append(
            mean_score(
                f"{name}: {kind}",
                values.tolist(),
                items=[*(sources if sources is not None else references), *references],
                asked=Asked(
                    template=asked.template,
                    begin=asked.begin,
                    normalisation=f"{asked.normalisation}; {metric.get_signature()}",
                ),
                clusters=groups,
            )
        )
    return Translation(*found)


def translate_and_score(
    model: Transformer,
    tokenizer: ModelTokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    beams: int = 1,
    max_tokens: int = 128,
    name: str = "translation",
) -> Translation:
    """``translation`` of what an encoder-decoder makes of each (source, reference)."""
    rows = [tokenizer.framed(source).ids for source, _ in pairs]
    for n, row in enumerate(rows):
        if not row or len(row) > model.spec.max_positions:
            raise InputError(
                f"a source of {len(row)} tokens, the model's context has {model.spec.max_positions}",
                where=f"{name}: item {n}",
            )
    room = min(max_tokens, model.spec.max_positions)
    end = tokenizer.end_ids[0]
    said = [
        ids
        for begin in range(0, len(rows), 32)
        for ids in translate(model, rows[begin : begin + 32], end=end, max_tokens=room, beams=beams)
    ]
    framed = tokenizer.frame.around((-1,)).ids
    return translation(
        [tokenizer.decode(ids) for ids in said],
        [reference for _, reference in pairs],
        sources=[source for source, _ in pairs],
        asked=Asked(
            template="the source alone",
            begin="source as " + " ".join("…" if i == -1 else tokenizer.token_of(i) or str(i) for i in framed),
            normalisation=f"{beams} beam{'s' if beams > 1 else ''}, at most {room} tokens",
        ),
        name=name,
    )


def _figure(metric: Any, statistics: NDArray[np.float64]) -> Any:
    """The score of the sentences that count, from each sentence's counts: what sacrebleu's own bootstrap adds up."""
    total = statistics.sum(axis=0)

    def figure(kept: NDArray[np.bool_]) -> float:
        left = np.flatnonzero(~kept)
        sums = total - statistics[left].sum(axis=0) if len(left) else total
        return float(metric._compute_score_from_stats(sums.tolist()).score)

    return figure
