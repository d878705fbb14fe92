"""What a search asks of a model, step by step: the scores of the next tokens of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from lamina.model.generate import padded
from lamina.model.layers.cache import KeyValueCache
from lamina.model.transformer import Transformer


class Computing(Protocol):
    """The rows of one search over N sources: as many for each, side by side."""

    def scores(self, tokens: Tensor) -> Tensor:
        """Scores (rows, V) float32 of what follows the next ``tokens`` (rows, 1) of all rows."""
        ...

    def log_sums(self, scores: Tensor) -> Tensor:
        """Of each row of ``scores`` (rows, V) the logarithm (rows,) of the sum of its exponentials."""
        ...

    def keep(self, rows: Tensor | None, sources: Tensor | None) -> None:
        """Go on with these of the present ``rows`` (several may go on from one) and ``sources``; None: as they are."""
        ...


class PlainComputing:
    """By the model itself: the keys and values of a source are made once, and all its rows attend to them."""

    def __init__(self, model: Transformer, sources: Sequence[Sequence[int]]) -> None:
        first: Tensor = next(iter(model.state_dict().values()))
        ids, self._segments = (t.to(first.device) for t in padded(sources))
        self._model, self._cache = model, KeyValueCache()
        self._source = model.encode(ids, segments=self._segments)

    def scores(self, tokens: Tensor) -> Tensor:
        """Scores (rows, V) float32 of what follows the next ``tokens`` (rows, 1)."""
        hidden = self._model(tokens, source=self._source, source_segments=self._segments, cache=self._cache)
        return self._model.logits(hidden[:, -1]).float()

    def log_sums(self, scores: Tensor) -> Tensor:
        """Of each row of ``scores`` (rows, V), (rows,)."""
        return scores.logsumexp(-1)

    def keep(self, rows: Tensor | None, sources: Tensor | None) -> None:
        """Go on with these rows and sources."""
        if rows is not None:
            self._cache.select(rows)
        if sources is not None:
            self._cache.select_sources(sources)
            self._source, self._segments = self._source[sources], self._segments[sources]
