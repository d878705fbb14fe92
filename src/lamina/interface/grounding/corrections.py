"""Accepted corrections, in memory: loaded from the store at the start, found from the moment they are given."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamina.contracts.chat import Message
from lamina.contracts.feedback import Feedback, Interaction, InteractionStore
from lamina.contracts.inference import Passage
from lamina.interface.grounding.words import content_words, numbers, points_back

#: A question is close to a corrected one from this likeness on (harmonic mean of the coverages both ways).
CLOSE = 0.78
_SHORT = 3

Weigh = Callable[[Sequence[str]], dict[str, float]]


def last_question(messages: Sequence[Message]) -> str:
    """The last thing that the user said."""
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


def queries_of(messages: Sequence[Message]) -> list[str]:
    """What to look for, in order: the last question, and where it is short or points back, the one before with it."""
    asked = [m.content for m in messages if m.role == "user"]
    if not asked:
        return []
    alone = asked[-1]
    count = len(content_words(alone))
    joined = [f"{asked[-2]}\n{alone}"] if len(asked) > 1 else []
    back = points_back(alone)
    if back and count < _SHORT and joined:
        return joined
    return [alone, *joined] if back or count < _SHORT else [alone]


@dataclass(frozen=True, slots=True)
class _Entry:
    question: str
    terms: tuple[str, ...]
    answer: str


class CorrectionIndex:
    """An inverted index of corrected questions. ``weigh`` says how rare words are (the documents' statistics)."""

    def __init__(self, weigh: Weigh | None = None, *, close: float = CLOSE) -> None:
        self._weigh = weigh
        self._close = close
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}  # by feedback id
        self._standing: dict[tuple[str, str], str] = {}  # (target, user) -> feedback id
        self._places: dict[str, set[str]] = defaultdict(set)  # term -> feedback ids

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, store: InteractionStore) -> None:
        """Take up every correction in force."""
        for interaction, feedback in store.judged():
            for judgement in feedback:
                if judgement.kind == "correction":
                    self.learn(interaction, judgement)

    def learn(self, interaction: Interaction, feedback: Feedback) -> bool:
        """Take up a correction in place of the one it supersedes; null only takes that one away."""
        answer = json.loads(feedback.value)
        question = last_question(interaction.messages)
        query = (queries_of(interaction.messages) or [""])[0]
        terms = tuple(content_words(query))
        with self._lock:
            standing = self._standing.pop((feedback.target, feedback.user), None)
            if standing is not None:
                entry = self._entries.pop(standing)
                for term in entry.terms:
                    self._places[term].discard(standing)
            if not answer or not terms or json.loads(interaction.parameters or "{}").get("route") == "completions":
                return False
            self._standing[(feedback.target, feedback.user)] = feedback.id
            self._entries[feedback.id] = _Entry(question, terms, answer)
            for term in terms:
                self._places[term].add(feedback.id)
        return True

    def search(self, query: str, k: int) -> list[Passage]:
        """At most ``k`` corrections of questions close to ``query``; of one question only the latest."""
        terms = content_words(query)
        with self._lock:
            near = {id: self._entries[id] for term in terms for id in self._places.get(term, ())}
        if not near or k < 1:
            return []
        everything = list({t for entry in near.values() for t in entry.terms} | set(terms))
        weights = self._weigh(everything) if self._weigh else dict.fromkeys(everything, 1.0)
        scored = [(_likeness(terms, e.terms, weights), id, e) for id, e in near.items()]
        found: dict[tuple[str, ...], Passage] = {}
        for score, id, entry in sorted(scored, key=lambda s: (s[0], s[1]), reverse=True):
            key = tuple(sorted(entry.terms))
            if score >= self._close and key not in found and len(found) < k:
                found[key] = Passage(
                    kind="correction",
                    document_id=id,
                    text=entry.answer,
                    score=min(1.0, score),
                    source="feedback",
                    question=entry.question,
                )
        return list(found.values())


def _likeness(query: Sequence[str], question: Sequence[str], weights: dict[str, float]) -> float:
    """Zero where the two name other numbers, or the question's rarest word is not asked about."""
    if numbers(list(query)) != numbers(list(question)):
        return 0.0
    if max(question, key=weights.__getitem__) not in query:
        return 0.0
    shared = sum(weights[t] for t in set(query) & set(question))
    both = sum(weights[t] for t in set(query)) + sum(weights[t] for t in set(question))
    return 2 * shared / both if both else 0.0
