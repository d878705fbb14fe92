"""A corrected answer is found by questions close to its own, and by no others."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lamina.contracts.chat import Message
from lamina.contracts.feedback import Feedback, Interaction
from lamina.interface.grounding.corrections import CorrectionIndex, queries_of
from lamina.testing import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pair(number: int, question: str, answer: str | None) -> tuple[Interaction, Feedback]:
    interaction = Interaction(
        id=f"i{number}",
        conversation="c",
        user="",
        messages=(Message("user", question),),
        answer="wrong",
        version="v1",
        finish_reason="stop",
        grounding="weights only",
        sources=(),
        parameters="{}",
        prompt_tokens=1,
        completion_tokens=1,
        mean_logprob=None,
        mean_entropy=None,
        split="train",
        created=NOW,
    )
    feedback = Feedback(
        id=f"f{number}",
        target=f"i{number}",
        kind="correction",
        value=json.dumps(answer),
        reasons=(),
        comment=None,
        user="",
        supersedes_id=None,
        created=NOW,
    )
    return interaction, feedback


@pytest.fixture
def index() -> CorrectionIndex:
    rare = {"captain": 2.0, "ship": 1.0, "revenu": 3.0, "starbuck": 6.0}
    index = CorrectionIndex(lambda terms: {t: rare.get(t, 5.0) for t in terms})
    index.learn(*pair(1, "Who is the captain of the ship Pequod?", "Ahab."))
    index.learn(*pair(2, "What was our revenue in 2019?", "Nine million."))
    index.learn(*pair(3, "What was the total revenue of our European stores and warehouses in March 2019?", "Two."))
    index.learn(*pair(4, "Which ship did the first mate Starbuck of Nantucket sail on as an officer?", "The Pequod."))
    return index


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is the captain of the ship Pequod?", "Ahab."),
        ("who's captain of the Pequod", "Ahab."),
        ("Please tell me the name of the Pequod's captain", "Ahab."),
        ("What were our revenues in 2019?", "Nine million."),
    ],
)
def test_close_questions_find_it(index: CorrectionIndex, question: str, answer: str) -> None:
    found = index.search(question, 3)
    assert [(p.kind, p.text) for p in found] == [("correction", answer)]
    assert 0.78 <= found[0].score <= 1
    assert found[0].question


@pytest.mark.parametrize(
    "question",
    [
        "Who is the captain of the ship Rachel?",
        "What was our revenue in 2020?",
        "What was our revenue?",
        "How long is the wooden leg of the captain of the Pequod?",
        "What was the total revenue of our European stores and warehouses in March 2020?",
        "Which ship did the first mate Flask of Nantucket sail on as an officer?",
        "Pequod",
        "",
        "hello",
    ],
)
def test_other_questions_do_not(index: CorrectionIndex, question: str) -> None:
    assert index.search(question, 3) == []


def test_a_new_correction_takes_the_place_of_the_old(index: CorrectionIndex) -> None:
    interaction, feedback = pair(1, "Who is the captain of the ship Pequod?", "Captain Ahab.")
    assert index.learn(interaction, replace(feedback, id="f9"))
    assert [p.document_id for p in index.search("captain of the Pequod", 3)] == ["f9"]
    assert not index.learn(interaction, replace(feedback, id="f10", value="null"))
    assert index.search("captain of the Pequod", 3) == []
    assert len(index) == 3


def test_of_one_question_the_latest_answer(index: CorrectionIndex) -> None:
    index.learn(*pair(7, "Who is captain of the Pequod, the ship?", "Still Ahab."))
    assert [p.text for p in index.search("Who is the captain of the ship Pequod?", 3)] == ["Still Ahab."]


def test_it_is_loaded_from_the_store() -> None:
    store = MemoryStore()
    interaction, feedback = pair(1, "Who is the captain of the ship Pequod?", "Ahab.")
    store.add_interaction(interaction)
    store.add_feedback(feedback)
    index = CorrectionIndex()
    index.load(store)
    assert index.search("captain of the ship Pequod", 1)[0].text == "Ahab."


def test_raw_completions_are_no_questions(index: CorrectionIndex) -> None:
    interaction, feedback = pair(8, "The harpooneer said", "nothing")
    assert not index.learn(replace(interaction, parameters='{"route":"completions"}'), feedback)


@pytest.mark.parametrize(
    ("turns", "queries"),
    [
        (["Who is Ahab?"], ["Who is Ahab?"]),
        (["Where was Queequeg born?", "And when did he die?"], ["Where was Queequeg born?\nAnd when did he die?"]),
        (["What is ambergris?", "Who is Ahab?"], ["Who is Ahab?", "What is ambergris?\nWho is Ahab?"]),
        (["x", "How tall is the mainmast of the whaler Pequod?"], ["How tall is the mainmast of the whaler Pequod?"]),
        ([], []),
    ],
)
def test_follow_up_questions_take_the_one_before_along(turns: list[str], queries: list[str]) -> None:
    messages = [m for turn in turns for m in (Message("user", turn), Message("assistant", "…"))][:-1]
    assert queries_of(messages) == queries
