"""One retriever over the documents and the corrections; a correction of a close question comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.contracts.feedback import Feedback, Interaction, InteractionStore
from lamina.contracts.inference import Passage
from lamina.interface.grounding.corrections import CorrectionIndex
from lamina.interface.grounding.passages import PassageIndex

_MAX_CORRECTIONS = 2


class StackRetriever:
    """``contracts.Retriever``, ``api.ports.Learner`` and ``api.ports.Documents`` in one."""

    def __init__(self, documents: PassageIndex | None, store: InteractionStore | None = None) -> None:
        self._documents = documents
        self._corrections = CorrectionIndex(documents.weights if documents else None)
        if store is not None:
            self._corrections.load(store)

    def search(self, query: str, k: int) -> list[Passage]:
        """At most ``k``: corrections of close questions, then passages of documents."""
        found = self._corrections.search(query, min(k, _MAX_CORRECTIONS))
        if self._documents is not None and len(found) < k:
            found += self._documents.search(query, k - len(found))
        return found

    def learn(self, interaction: Interaction, feedback: Feedback) -> bool:
        """Take a correction up at once."""
        return self._corrections.learn(interaction, feedback)

    def document(self, id: str) -> Mapping[str, Any] | None:
        """A document of the corpus."""
        return self._documents.document(id) if self._documents is not None else None
