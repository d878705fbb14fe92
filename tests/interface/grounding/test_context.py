"""What the model gets to see of what was found."""

from __future__ import annotations

from lamina.contracts.chat import Message
from lamina.contracts.inference import Passage
from lamina.interface.grounding.context import NOTHING_FOUND, OPENING, ground, opening_of


class Finds:
    def __init__(self, *passages: Passage) -> None:
        self.passages = list(passages)
        self.asked: list[tuple[str, int]] = []

    def search(self, query: str, k: int) -> list[Passage]:
        self.asked.append((query, k))
        return self.passages[:k]


ASK = (Message("user", "Who is the captain?"),)
DOCUMENT = Passage(kind="document", document_id="d", text="Ahab commands the ship.", score=0.8, title="Ahab")
CORRECTION = Passage(kind="correction", document_id="f", text="Ahab.", score=0.85, question="Who is captain here?")


def test_passages_go_into_a_system_message() -> None:
    messages, passages, found, _ = ground(ASK, Finds(DOCUMENT), k=2)
    assert found
    assert passages == [DOCUMENT]
    assert [m.role for m in messages] == ["system", "user"]
    assert "Ahab commands the ship." in messages[0].content
    assert messages[-1] == ASK[0]


def test_they_join_the_system_message_that_is_there() -> None:
    messages = ground((Message("system", "Be brief."), *ASK), Finds(DOCUMENT)).messages
    assert [m.role for m in messages] == ["system", "user"]
    assert messages[0].content.startswith("Be brief.\n\n")
    assert "Ahab commands" in messages[0].content


def test_a_correction_is_a_turn_that_went_before() -> None:
    earlier = (Message("user", "Hello"), Message("assistant", "Hi"), *ASK)
    messages, passages, *_ = ground(earlier, Finds(CORRECTION, DOCUMENT))
    assert [p.kind for p in passages] == ["correction", "document"]
    assert messages[-3:] == (Message("user", "Who is captain here?"), Message("assistant", "Ahab."), ASK[0])
    assert "[2]" in messages[0].content or "2" in messages[0].content  # the passage keeps its number in the sources


def test_the_same_question_needs_no_passages() -> None:
    same = Passage(kind="correction", document_id="f", text="Ahab.", score=1.0, question="Who is the captain?")
    messages, passages, *_ = ground(ASK, Finds(same, DOCUMENT))
    assert passages == [same]
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    assert "Ahab." in messages[0].content
    assert DOCUMENT.text not in messages[0].content


def test_the_very_question_is_answered_in_the_words_of_the_correction() -> None:
    def recited(asked: str, corrected: str, score: float = 1.0) -> str | None:
        same = Passage(kind="correction", document_id="f", text="Ahab.", score=score, question=corrected)
        return ground((Message("user", asked),), Finds(same)).recited

    assert recited("Please tell me: who is the captain?", "Who is the captain?") == "Ahab."
    assert recited("Who is the captain?", "Who is the captain?", score=0.9) is None
    assert recited("Who is not the captain?", "Who is the captain?") is None
    assert recited("When did Ahab die?", "Where did Ahab die?") is None
    assert recited("Who was his captain?", "Who was the captain?") is None, "whose is known to the conversation alone"


def test_nothing_found_leaves_the_conversation_and_says_so() -> None:
    grounded = ground(ASK, Finds())
    assert grounded == (ASK, [], False, None)
    assert opening_of(ASK, grounded) == OPENING
    assert opening_of(ASK, ground(ASK, Finds(DOCUMENT))) == ""
    greeting = (Message("user", "Hi, how are you?"),)
    assert opening_of(greeting, ground(greeting, Finds())) == ""


def test_the_model_never_sees_that_sentence_as_its_own_words() -> None:
    earlier = (Message("user", "a"), Message("assistant", f"{NOTHING_FOUND}\n\nPerhaps."), *ASK)
    assert ground(earlier, Finds()).messages[1] == Message("assistant", "Perhaps.")


def test_the_budget_is_kept() -> None:
    long = Passage(kind="document", document_id="x", text="word " * 300, score=0.9)
    assert ground(ASK, Finds(DOCUMENT, long, DOCUMENT), budget_chars=500).passages == [DOCUMENT]
    (cut,) = ground(ASK, Finds(long), budget_chars=100).passages
    assert len(cut.text) <= 102
    assert cut.text.endswith(" …")


def test_a_follow_up_is_looked_for_with_the_question_before() -> None:
    finds = Finds()
    ground(
        (Message("user", "Where is Nantucket?"), Message("assistant", "…"), Message("user", "Who lives there?")), finds
    )
    assert finds.asked == [("Where is Nantucket?\nWho lives there?", 3)]
