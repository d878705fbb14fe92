from __future__ import annotations

import pytest

from lamina.data.questions import about, bare, continuing, conversation, defining, opening, sentences

WHALE = "The blue whale is a marine mammal. It reaches 30 m in length. Dr. A. Smith weighed one in St. Ives."


def test_sentences_end_where_they_end() -> None:
    assert sentences(WHALE)[1:] == ["It reaches 30 m in length.", "Dr. A. Smith weighed one in St. Ives."]
    assert sentences("“Stop!” she said. Then no more") == ["“Stop!” she said.", "Then no more"]
    assert sentences("") == []
    assert all(s.endswith(".") for s in sentences("A sentence here. " * 400))


def test_opening_is_whole_sentences_or_cut_at_a_word() -> None:
    assert opening(WHALE, 60) == "The blue whale is a marine mammal."
    assert opening("word " * 300, 23) == "word word word word …"
    assert opening("short") == "short"


def test_questions_about_a_title() -> None:
    asked = {about("Blue whale", WHALE, draw) for draw in range(16)}
    questions = {q.question for q in asked if q}
    assert "What is the blue whale?" in questions
    assert "Tell me about Blue whale." in questions
    assert {q.answer for q in asked if q} == {opening(WHALE)}
    person = about("Ada Lovelace", "Augusta Ada King, Countess of Lovelace was an English mathematician and writer.", 0)
    assert person is not None
    assert person.question == "Who was Ada Lovelace?"
    begins = about("Loomings", "Call me Ishmael. Some years ago.", 0)
    assert begins == ("How does “Loomings” begin?", "Call me Ishmael. Some years ago.")


@pytest.mark.parametrize("title", ["", "x", "1851", "t" * 100])
def test_titles_that_nobody_asks_about(title: str) -> None:
    assert about(title, WHALE, 0) is None


def test_a_definition_is_asked_the_other_way_round() -> None:
    text = "Mount Kilimanjaro (Swahili: Kilima) is the tallest mountain in Africa, with 5,895 m. It is dormant."
    found = defining("Mount Kilimanjaro", text)
    assert found is not None
    assert found.question == "What is the tallest mountain in Africa?"
    assert found.answer.startswith("Mount Kilimanjaro")
    assert defining("Blue whale", WHALE) is None
    assert bare("Mercury (planet)") == "Mercury"


def test_a_text_without_a_title_is_gone_on_with() -> None:
    found = continuing(WHALE, 0)
    assert found is not None
    assert found.question.endswith("The blue whale is a marine mammal.")
    assert found.answer.startswith("It reaches")
    assert continuing("One only.", 0) is None


def test_conversations_alternate_and_end_with_the_assistant() -> None:
    turns = [{"role": r, "content": c} for r, c in [("user", "a"), ("assistant", "b"), ("user", "c" * 99)]]
    assert conversation(turns, 1000) == turns[:2]
    assert conversation(turns[1:], 1000) == []
    assert conversation(turns, 1) == []
