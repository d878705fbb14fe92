"""Asking the served versions for more than chats: vectors, words, labels, translations, by the name of a version."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from lamina.contracts.texts import (
    Abilities,
    Classified,
    Embedded,
    Filled,
    Input,
    TaggedTexts,
    Task,
    Writing,
    Written,
)
from lamina.deployment.loaded import Loaded, Versions
from lamina.deployment.texts.model import TextModel, refuse
from lamina.deployment.texts.opening import abilities_of


class TextAsking(ABC):
    """``contracts.texts.TextService`` over the versions that a service holds."""

    _registry: Versions
    _loaded: dict[str, Loaded]
    _longest: int | None = None  # tokens that prompt and answer may have together, where the stack says so
    _abilities: dict[str, Abilities] | None = None  # of versions, which do not change

    @abstractmethod
    def held(self, name: str) -> AbstractContextManager[Loaded]:
        """A version, in memory as long as the block lasts."""

    def abilities(self, model: str = "") -> Abilities:
        """What a version can be asked for, told from its files; it is not loaded for that."""
        version = self._registry.resolve(model)
        if self._abilities is None:
            self._abilities = {}
        if version.id not in self._abilities:
            self._abilities[version.id] = abilities_of(self._registry.folder(version.id), context=self._longest)
        known, loaded = self._abilities[version.id], self._loaded.get(version.id)
        if loaded is None or loaded.texts is not None:
            return known
        return replace(known, context=min(known.context, loaded.engine.context))  # memory may hold less

    def embed(self, inputs: Sequence[Input], *, model: str = "", truncate: bool = False) -> Embedded:
        """Vectors of texts, or of their token ids."""
        with self.held(model) as loaded:
            return self._texts(loaded, "embeddings").embed(inputs, truncate=truncate)

    def fill(self, texts: Sequence[str], *, model: str = "", k: int = 5) -> Filled:
        """Words for the masks of texts."""
        with self.held(model) as loaded:
            return self._texts(loaded, "fill-mask").fill(texts, k=k)

    def classify(self, texts: Sequence[str], *, model: str = "") -> Classified:
        """Labels of texts."""
        with self.held(model) as loaded:
            return self._texts(loaded, "classify").classify(texts)

    def tag(self, texts: Sequence[str], *, model: str = "") -> TaggedTexts:
        """Labels of words."""
        with self.held(model) as loaded:
            return self._texts(loaded, "tag").tag(texts)

    def translate(self, texts: Sequence[str], how: Writing, *, model: str = "") -> Written:
        """Translations."""
        with self.held(model) as loaded:
            return self._texts(loaded, "translate").translate(texts, how)

    def summarize(self, texts: Sequence[str], how: Writing, *, model: str = "") -> Written:
        """Summaries."""
        with self.held(model) as loaded:
            return self._texts(loaded, "summarize").summarize(texts, how)

    def _texts(self, loaded: Loaded, task: Task) -> TextModel:
        if loaded.texts is None:
            refuse(loaded.version.id, task, self.abilities(loaded.version.id).tasks)
        return loaded.texts
