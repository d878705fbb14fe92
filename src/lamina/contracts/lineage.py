"""Who came from whom: artefacts by content hash, model versions, verdicts, and the chain behind an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

Alias = Literal["champion", "challenger"]
Verdict = Literal["promote", "reject", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """An immutable model: what it is made of and where it came from."""

    id: str  # "v1", "v2", …
    digest: str  # sha256 over the manifest of its files
    parent: str | None  # the version (or base location) that it was trained from
    run: str | None  # id of the training run
    corpus: str | None  # hash of the corpus that it learned from
    snapshot: str | None  # hash of the feedback snapshot that it learned from
    role: Literal["base", "documents", "feedback"]  # trained on nothing of ours, on the documents, on feedback
    metrics: Mapping[str, Any]  # e.g. {"bits_per_byte": 1.12}
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Why a version was promoted, rejected or left undecided; ``decided_by`` names a person where one decided."""

    id: str
    champion: str
    challenger: str
    verdict: Verdict
    reasons: tuple[str, ...]  # in words, one a line
    results: Mapping[str, Any]  # tests, intervals, counts, margins: what the verdict rests on
    snapshot: str | None
    decided_by: str  # "gate", or "human: <text>"
    created: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a trace: a kind of thing, its id, and what is worth telling of it."""

    kind: Literal["answer", "feedback", "version", "run", "snapshot", "corpus", "documents", "source", "base"]
    id: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """The chain from an answer (or version, run, document, feedback) back to the sources."""

    id: str
    links: tuple[Link, ...]


class Releases(Protocol):
    """The versions of a stack's model and the names that point at them."""

    def versions(self) -> Sequence[ModelVersion]: ...

    def aliases(self) -> Mapping[str, str]: ...

    def resolve(self, name: str) -> ModelVersion:
        """By alias or version id; "" is the champion. Raises ``NotFoundError``."""
        ...

    def promote(self, version: str, *, because: str) -> None: ...

    def rollback(self, *, because: str) -> str:
        """Make the champion before the present one champion again; returns its id."""
        ...

    def receipts(self) -> Sequence[Receipt]: ...


class Lineage(Protocol):
    """Answers where something came from."""

    def trace(self, id: str) -> Trace: ...


class Jobs(Protocol):
    """Long work that the API may start: ``kind`` is a verb such as "improve"."""

    def start(self, kind: str) -> str: ...

    def state(self, id: str) -> Mapping[str, Any]: ...
