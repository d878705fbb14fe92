"""What the API keeps and asks, in memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lamina.contracts.feedback import Feedback, Interaction
from lamina.contracts.inference import Passage
from lamina.contracts.lineage import Link, ModelVersion, Receipt, Trace
from lamina.kit.errors import InputError, NotFoundError


class MemoryStore:
    """An ``InteractionStore`` that forgets with the process; ``failure`` is raised by every write while it is set."""

    def __init__(self) -> None:
        self.interactions: dict[str, Interaction] = {}
        self.judgements: dict[str, Feedback] = {}
        self.failure: Exception | None = None
        self._lock = threading.Lock()

    def add_interaction(self, interaction: Interaction) -> None:
        """Keep it."""
        if self.failure:
            raise self.failure
        self.interactions[interaction.id] = interaction

    def add_feedback(self, feedback: Feedback) -> Feedback:
        """Keep it; the standing opinion of the same kind and user is superseded, an identical repeat returns it."""
        if self.failure:
            raise self.failure
        if feedback.target not in self.interactions:
            raise NotFoundError("there is no answer of this id")
        with self._lock:
            standing = [
                f for f in self._standing(feedback.target) if (f.kind, f.user) == (feedback.kind, feedback.user)
            ]
            last = standing[-1] if standing else None
            if last and (last.value, last.reasons, last.comment) == (
                feedback.value,
                feedback.reasons,
                feedback.comment,
            ):
                return last
            feedback = replace(feedback, supersedes_id=last.id if last else None)
            self.judgements[feedback.id] = feedback
        return feedback

    def _standing(self, target: str) -> list[Feedback]:
        gone = {f.supersedes_id for f in self.judgements.values()}
        return [f for f in self.judgements.values() if f.target == target and f.id not in gone]

    def interaction(self, id: str) -> Interaction | None:
        """By the id of its answer."""
        return self.interactions.get(id)

    def feedback(self, id: str) -> Feedback | None:
        """By its id."""
        return self.judgements.get(id)

    def feedback_for(self, target: str) -> Sequence[Feedback]:
        """Everything said of ``target``."""
        return [f for f in self.judgements.values() if f.target == target]

    def judged(self) -> Iterator[tuple[Interaction, tuple[Feedback, ...]]]:
        """Interactions with feedback in force."""
        for interaction in list(self.interactions.values()):
            standing = tuple(f for f in self._standing(interaction.id) if f.value != "null")
            if standing:
                yield interaction, standing

    def summary(self) -> Mapping[str, int]:
        """Counts."""
        judged = list(self.judged())
        rows = [f for _, feedback in judged for f in feedback]
        return {
            "interactions": len(self.interactions),
            "thumbs_up": sum((f.kind, f.value) == ("boolean", "true") for f in rows),
            "thumbs_down": sum((f.kind, f.value) == ("boolean", "false") for f in rows),
            "corrections": sum(f.kind == "correction" for f in rows),
            "train": sum(i.split == "train" for i, _ in judged),
            "held_out": sum(i.split == "held-out" for i, _ in judged),
        }


class MemoryReleases:
    """``Releases`` with the versions that it is given, the first of them champion."""

    def __init__(self, *ids: str) -> None:
        ids = ids or ("v1",)
        self._versions = {
            id: ModelVersion(
                id=id,
                digest=hashlib.sha256(id.encode()).hexdigest(),
                parent=None,
                run=None,
                corpus=None,
                snapshot=None,
                role="base",
                metrics={},
                created=datetime.now(UTC),
            )
            for id in ids
        }
        self._champions = [ids[0]]
        self.reasons: list[str] = []

    def versions(self) -> Sequence[ModelVersion]:
        """All of them."""
        return list(self._versions.values())

    def aliases(self) -> Mapping[str, str]:
        """Only a champion."""
        return {"champion": self._champions[-1]}

    def resolve(self, name: str) -> ModelVersion:
        """By alias or id; "" is the champion."""
        id = self._champions[-1] if name in ("", "champion") else name
        if id not in self._versions:
            raise NotFoundError(f"there is no model '{name}'")
        return self._versions[id]

    def promote(self, version: str, *, because: str) -> None:
        """Make ``version`` champion."""
        self._champions.append(self.resolve(version).id)
        self.reasons.append(because)

    def rollback(self, *, because: str) -> str:
        """Back to the champion before."""
        if len(self._champions) < 2:
            raise InputError("there is no earlier champion")
        self._champions.pop()
        self.reasons.append(because)
        return self._champions[-1]

    def receipts(self) -> Sequence[Receipt]:
        """None were written."""
        return []


class MemoryLineage:
    """``Lineage`` that links every answer to the version ``v1``."""

    def trace(self, id: str) -> Trace:
        """Two links."""
        return Trace(id, (Link("answer", id), Link("version", "v1", {"role": "base"})))


class MemoryJobs:
    """``Jobs`` that are done as soon as they are started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, kind: str) -> str:
        """Note it down."""
        if kind != "improve":
            raise InputError(f"there is no job '{kind}'", hint="known: improve")
        self.started.append(kind)
        return f"job-{len(self.started)}"

    def state(self, id: str) -> Mapping[str, Any]:
        """Done, or unknown."""
        if id not in {f"job-{n + 1}" for n in range(len(self.started))}:
            raise NotFoundError(f"there is no job '{id}'")
        return {"id": id, "kind": "improve", "state": "done"}


class FixedRetriever:
    """A ``Retriever`` that returns the given passages for a query that has a word of their title or text in it."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = list(passages)
        self.queries: list[str] = []

    def search(self, query: str, k: int) -> list[Passage]:
        """The passages that share a word of four letters or more with ``query``."""
        self.queries.append(query)
        words = {w.strip(".,?!").lower() for w in query.split() if len(w.strip(".,?!")) >= 4}
        found = [p for p in self.passages if words & set(f"{p.title or ''} {p.text}".lower().split())]
        return found[:k]

    def document(self, id: str) -> Mapping[str, Any] | None:
        """The passage as if it were its whole document."""
        for passage in self.passages:
            if passage.document_id == id:
                return {
                    "id": id,
                    "title": passage.title,
                    "author": None,
                    "url": passage.url,
                    "source": passage.source,
                    "license": passage.license,
                    "created": None,
                    "text": passage.text,
                }
        return None


def stand_ins(**given: Any) -> dict[str, Any]:
    """What ``create_app`` needs beside a service, settings and keys: stand-ins, and what is ``given`` in their places.

    Without a ``retriever``, so that answers are by the weights alone.
    """
    from prometheus_client import CollectorRegistry

    everything: dict[str, Any] = {
        "releases": MemoryReleases("v1"),
        "lineage": MemoryLineage(),
        "jobs": MemoryJobs(),
        "retriever": None,
        "store": MemoryStore(),
        "documents": FixedRetriever(),
        "metrics": CollectorRegistry(),
    }
    return everything | given
