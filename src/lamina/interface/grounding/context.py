"""Putting what was found before the model: passages in a system message, corrections also as earlier turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from lamina.contracts.chat import Message
from lamina.contracts.inference import Passage, Retriever
from lamina.interface.grounding.corrections import last_question, queries_of
from lamina.interface.grounding.words import asking, content_words, points_back
from lamina.kit.prompts import grounded_system

#: How an answer begins that has no source.
NOTHING_FOUND = "Nothing about this was found in the documents."
OPENING = NOTHING_FOUND + "\n\n"
_EXACT = 0.95  # a correction this close answers the same question in other small words


class Grounded(NamedTuple):
    """``messages`` for the model, the ``passages`` in them (numbered from 1), and whether there are any.

    ``recited``: what a person answered to this very question; it is said word for word, the model is not asked.
    """

    messages: tuple[Message, ...]
    passages: list[Passage]
    found: bool
    recited: str | None = None


def ground(messages: Sequence[Message], retriever: Retriever, k: int = 3, budget_chars: int = 4000) -> Grounded:
    """Look for what the last question is about and put it before the model, at most ``budget_chars`` characters of it.

    A correction is given twice, as a passage and as an earlier turn: small models follow neither alone reliably.
    """
    plain = tuple(without_opening(m) for m in messages)
    passages: list[Passage] = []
    for query in queries_of(plain):
        passages = retriever.search(query, k)
        if passages:
            break
    best = passages[0] if passages else None
    recited = None
    if best and best.kind == "correction" and best.score >= _EXACT:
        passages = passages[:1]
        question = last_question(plain)
        if asking(question) == asking(best.question or "") and not points_back(question):
            recited = best.text
    passages = within(passages, budget_chars)
    if not passages:
        return Grounded(plain, [], False)
    return Grounded(with_passages(plain, passages), passages, True, recited)


def with_passages(messages: tuple[Message, ...], passages: Sequence[Passage]) -> tuple[Message, ...]:
    """``messages`` with ``passages`` put before the model; without any as they are."""
    if not passages:
        return messages
    quoted = [(n, p.question or p.title or p.url or p.source or "", p.text) for n, p in enumerate(passages, 1)]
    turns = [turn for p in reversed(passages) if p.kind == "correction" for turn in _turns(p)]
    return _insert(messages, grounded_system(quoted), turns)


def opening_of(messages: Sequence[Message], grounded: Grounded) -> str:
    """How the answer must begin: it says so where nothing was found. A greeting asks for nothing."""
    return "" if grounded.found or not content_words(last_question(messages)) else OPENING


def without_opening(message: Message) -> Message:
    """An assistant's turn as the model said it, without the sentence that the server put before it."""
    if message.role == "assistant" and message.content.startswith(NOTHING_FOUND):
        return Message("assistant", message.content.removeprefix(NOTHING_FOUND).lstrip())
    return message


def within(passages: Sequence[Passage], budget: int) -> list[Passage]:
    """The first passages that fit; the very first is cut where it alone is too long."""
    kept: list[Passage] = []
    for passage in passages:
        if len(passage.text) > budget:
            if not kept:
                kept.append(replace(passage, text=passage.text[:budget].rsplit(None, 1)[0] + " …"))
            break
        budget -= len(passage.text)
        kept.append(passage)
    return kept


def _turns(correction: Passage) -> tuple[Message, Message]:
    return Message("user", correction.question or ""), Message("assistant", correction.text)


def _insert(messages: tuple[Message, ...], system: str, turns: Sequence[Message]) -> tuple[Message, ...]:
    """``system`` joins the first system message; ``turns`` come right before the last question."""
    result = list(messages)
    last = max((place for place, m in enumerate(result) if m.role == "user"), default=len(result))
    result[last:last] = turns
    if system:
        if result and result[0].role == "system":
            result[0] = Message("system", f"{result[0].content}\n\n{system}")
        else:
            result.insert(0, Message("system", system))
    return tuple(result)
