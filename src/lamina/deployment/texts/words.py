"""Word vectors served beside the models: the vector of a text is the mean of its words' vectors, at length 1.

Of a text with words w1 ... wn that have vectors, v = u / |u| with u = (v(w1)/|v(w1)| + ... + v(wn)/|v(wn)|) / n, as
fastText makes vectors of sentences (arXiv 1607.04606's program). A word that is not in the vocabulary has the mean of
its n-grams where these were kept, and is left out where not; a text of which no word is known has no vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.texts import (
    Abilities,
    Classified,
    Embedded,
    Filled,
    Input,
    TaggedTexts,
    Task,
    TextService,
    Writing,
    Written,
)
from lamina.deployment.texts.model import refuse
from lamina.kit.errors import InputError, NotFoundError
from lamina.model.vectors.keyed_vectors import KeyedVectors

_LONGEST = 65_536  # words of a text


class WordVectors:
    """``vectors`` under the name ``name``; ``split`` tells the words of a text as the vocabulary writes them."""

    def __init__(self, name: str, vectors: KeyedVectors, split: Callable[[str], Sequence[str]]) -> None:
        self.name, self._vectors, self._split = name, vectors, split
        self.abilities = Abilities(tasks=("embeddings",), context=_LONGEST, width=vectors.width)

    def embed(self, inputs: Sequence[Input], *, truncate: bool = False) -> Embedded:
        """Vectors (N, D) of length 1.

        Raises ``InputError`` for token ids, for a text of more words than are read (unless ``truncate``), and for one
        without a known word.
        """
        rows, words = [], 0
        for number, given in enumerate(inputs):
            row, count = self._row(given, number, truncate)
            rows.append(row)
            words += count
        return Embedded(version=self.name, prompt_tokens=words, vectors=np.stack(rows))

    def _row(self, given: Input, number: int, truncate: bool) -> tuple[NDArray[np.float32], int]:
        if not isinstance(given, str):
            raise InputError(f"{self.name} reads words, not token ids", where="input", hint="send texts")
        words = self._split(given)
        if len(words) > _LONGEST and not truncate:
            error = InputError(f"text {number} has {len(words)} words, {_LONGEST} are read at most", where="input")
            error.code = "context_length_exceeded"
            raise error
        words = words[:_LONGEST]
        total = np.zeros(self._vectors.width, np.float64)
        for word in words:
            row = self._vector(word)
            length = 0.0 if row is None else float(np.linalg.norm(row))
            if row is not None and length > 0:
                total += row / length
        length = float(np.linalg.norm(total))
        if not length > 0:
            raise InputError(f"no word of text {number} has a vector", where="input", hint="leave the text out")
        return (total / length).astype(np.float32), len(words)

    def _vector(self, word: str) -> NDArray[np.float32] | None:
        try:
            return self._vectors[word]
        except NotFoundError:
            return None


class BesideModels:
    """``contracts.texts.TextService``: ``texts``, and word vectors under names of their own."""

    def __init__(self, texts: TextService, vectors: Sequence[WordVectors]) -> None:
        self._texts, self._vectors = texts, {one.name: one for one in vectors}

    def abilities(self, model: str = "") -> Abilities:
        """What the model, or the vectors of that name, can be asked for."""
        return self._vectors[model].abilities if model in self._vectors else self._texts.abilities(model)

    def embed(self, inputs: Sequence[Input], *, model: str = "", truncate: bool = False) -> Embedded:
        """Vectors of texts."""
        if model in self._vectors:
            return self._vectors[model].embed(inputs, truncate=truncate)
        return self._texts.embed(inputs, model=model, truncate=truncate)

    def fill(self, texts: Sequence[str], *, model: str = "", k: int = 5) -> Filled:
        """Words for masks."""
        return self._model(model, "fill-mask").fill(texts, model=model, k=k)

    def classify(self, texts: Sequence[str], *, model: str = "") -> Classified:
        """Labels of texts."""
        return self._model(model, "classify").classify(texts, model=model)

    def tag(self, texts: Sequence[str], *, model: str = "") -> TaggedTexts:
        """Labels of words."""
        return self._model(model, "tag").tag(texts, model=model)

    def translate(self, texts: Sequence[str], how: Writing, *, model: str = "") -> Written:
        """Translations."""
        return self._model(model, "translate").translate(texts, how, model=model)

    def summarize(self, texts: Sequence[str], how: Writing, *, model: str = "") -> Written:
        """Summaries."""
        return self._model(model, "summarize").summarize(texts, how, model=model)

    def _model(self, name: str, task: Task) -> TextService:
        """The models' service. Raises ``InputError`` where ``name`` means word vectors."""
        if name in self._vectors:
            refuse(name, task, ("embeddings",))
        return self._texts
