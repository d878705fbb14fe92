"""What was asked and answered, and what people said of it. Append-only; a change of mind supersedes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from lamina.contracts.chat import Message

FeedbackKind = Literal["boolean", "rating", "category", "comment", "correction", "preference", "ranking", "implicit"]
Split = Literal["train", "held-out"]

#: Why an answer was marked down. Only "wrong", "unsafe" and "format" may teach the opposite answer (sycophancy guard).
REASONS = ("wrong", "incomplete", "unsafe", "format", "unwelcome", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One answered request, kept before its final chunk is sent. Times are UTC."""

    id: str  # the id of the answer that the client sees
    conversation: str
    user: str  # pseudonym: the key's id, or "" where there are no accounts
    messages: tuple[Message, ...]
    answer: str
    version: str  # model version
    finish_reason: str
    grounding: str  # "weights only" | "weights + documents"
    sources: tuple[str, ...]  # ids of the passages' documents and corrections, numbered from 1
    parameters: str  # JSON of the sampling parameters
    prompt_tokens: int
    completion_tokens: int
    mean_logprob: float | None
    mean_entropy: float | None
    split: Split  # by hash of the user, or of the conversation where there are no accounts; fixed at first write
    created: datetime
    made: str = ""  # JSON: what the answer was made with (``inference.Made``), its tokens and passages; "" = not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One judgement. ``value`` is JSON: true for a boolean, the better answer for a correction."""

    id: str
    target: str  # interaction id
    kind: FeedbackKind
    value: str  # JSON
    reasons: tuple[str, ...]
    comment: str | None
    user: str
    supersedes_id: str | None
    created: datetime


class InteractionStore(Protocol):
    """Durable before it returns."""

    def add_interaction(self, interaction: Interaction) -> None: ...

    def add_feedback(self, feedback: Feedback) -> Feedback:
        """Refuses an unknown target; an identical repeat returns the row that stands."""
        ...

    def interaction(self, id: str) -> Interaction | None: ...

    def feedback_for(self, target: str) -> Sequence[Feedback]: ...

    def judged(self) -> Iterator[tuple[Interaction, tuple[Feedback, ...]]]:
        """Every interaction that has feedback in force (superseded rows left out), oldest first."""
        ...
