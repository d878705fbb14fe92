"""What is kept, and what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lamina.contracts.chat import Message
from lamina.contracts.feedback import Feedback, Interaction
from lamina.interface.store import MIGRATIONS, FeedbackStore, split_of
from lamina.kit.database import Database
from lamina.kit.errors import InputError, NotFoundError, StorageError
from lamina.testing import MemoryStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def interaction(id: str = "chatcmpl-1", **changes: object) -> Interaction:
    first = Interaction(
        id=id,
        conversation="c1",
        user="u1",
        messages=(Message("system", "be brief"), Message("user", "Who is Ahab? \U0001f40b")),
        answer="A captain.",
        version="v1",
        finish_reason="stop",
        grounding="weights only",
        sources=("d1", "d2"),
        parameters='{"temperature":0}',
        prompt_tokens=5,
        completion_tokens=3,
        mean_logprob=-0.5,
        mean_entropy=None,
        split=split_of("u1", "c1"),
        created=NOW,
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def feedback(id: str, value: str = "true", **changes: object) -> Feedback:
    first = Feedback(
        id=id,
        target="chatcmpl-1",
        kind="boolean",
        value=value,
        reasons=(),
        comment=None,
        user="u1",
        supersedes_id=None,
        created=NOW,
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def test_what_was_stored_before_answers_could_be_made_again_is_kept(tmp_path: Path) -> None:
    with Database.open(tmp_path / "lamina.db") as database:
        database.migrate("feedback", MIGRATIONS[:1])
        row = {"messages": "[]", "sources": "[]", "parameters": "{}", "created": "2026-01-02T03:04:05.000000Z"}
        database.write(
            (
                "INSERT INTO interaction VALUES ('old', 'c1', 'u1', :messages, 'A captain.', 'v1', 'stop',"
                " 'weights only', :sources, :parameters, 5, 3, NULL, NULL, 'train', :created)",
                row,
            )
        )
        store = FeedbackStore(database)
        old = store.interaction("old")
        assert old is not None
        assert (old.answer, old.made) == ("A captain.", "")
        store.add_interaction(interaction("new", made='{"seed":7}'))
        new = store.interaction("new")
        assert new is not None
        assert new.made == '{"seed":7}'


def test_an_interaction_comes_back_as_it_went_in(store: FeedbackStore) -> None:
    store.add_interaction(interaction())
    assert store.interaction("chatcmpl-1") == interaction()
    assert store.interaction("chatcmpl-2") is None


def test_it_outlives_the_process(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database:
        FeedbackStore(database).add_interaction(interaction())
    with Database.open(tmp_path / "a.db") as database:
        assert FeedbackStore(database).interaction("chatcmpl-1") == interaction()


def test_an_id_is_used_once(store: FeedbackStore) -> None:
    store.add_interaction(interaction())
    with pytest.raises(StorageError):
        store.add_interaction(interaction(answer="another"))
    assert store.interaction("chatcmpl-1").answer == "A captain."


def test_the_side_of_a_user_is_fixed_at_the_first_write(database: Database) -> None:
    FeedbackStore(database, held_out=1.0).add_interaction(interaction("a"))
    later = FeedbackStore(database, held_out=0.0)
    later.add_interaction(interaction("b", conversation="c9"))
    later.add_interaction(interaction("c", user="u2"))
    assert [later.interaction(id).split for id in "abc"] == ["held-out", "held-out", "train"]


def test_one_in_five_is_held_out() -> None:
    held_out = sum(split_of(f"user {n}", "c") == "held-out" for n in range(4000))
    assert 700 < held_out < 900
    assert split_of("u", "c1") == split_of("u", "c2")  # the user decides
    assert len({split_of("", f"c{n}") for n in range(50)}) == 2  # else the conversation


@pytest.fixture(params=["database", "memory"])
def either(request: pytest.FixtureRequest) -> FeedbackStore | MemoryStore:
    return request.getfixturevalue("store") if request.param == "database" else MemoryStore()


def test_a_change_of_mind_supersedes(either) -> None:
    either.add_interaction(interaction())
    first = either.add_feedback(feedback("f1", "true"))
    assert either.add_feedback(feedback("f2", "true")) == first  # an identical repeat
    second = either.add_feedback(feedback("f3", "false", reasons=("wrong",), created=NOW + timedelta(seconds=1)))
    assert second.supersedes_id == "f1"
    either.add_feedback(feedback("f4", '"better"', kind="correction"))
    (judged,) = either.judged()
    assert {f.id for f in judged[1]} == {"f3", "f4"}
    assert len(either.feedback_for("chatcmpl-1")) == 3
    summary = dict(either.summary())
    assert (summary["thumbs_up"], summary["thumbs_down"], summary["corrections"]) == (0, 1, 1)
    assert summary["train"] + summary["held_out"] == 1


def test_the_target_must_be_there(either) -> None:
    with pytest.raises(NotFoundError):
        either.add_feedback(feedback("f1"))


def test_what_is_taken_back_is_not_judged(store: FeedbackStore) -> None:
    store.add_interaction(interaction())
    with pytest.raises(InputError, match="no standing feedback"):
        store.add_feedback(feedback("f0", "null"))
    store.add_feedback(feedback("f1"))
    store.add_feedback(feedback("f2", "null"))
    assert list(store.judged()) == []
    again = store.add_feedback(feedback("f3"))
    assert again.supersedes_id == "f2"
    assert len(list(store.judged())) == 1


def test_superseding_what_is_not_ones_own(store: FeedbackStore) -> None:
    store.add_interaction(interaction())
    store.add_feedback(feedback("f1"))
    with pytest.raises(NotFoundError):
        store.add_feedback(feedback("f2", user="u2", supersedes_id="f1"))


def test_judged_pages_through_everything_oldest_first(store: FeedbackStore, monkeypatch) -> None:
    monkeypatch.setattr("lamina.interface.store._PAGE", 3)
    for n in range(10):
        store.add_interaction(interaction(f"a{n}", created=NOW + timedelta(seconds=10 - n // 2)))
        if n != 4:
            store.add_feedback(feedback(f"f{n}", target=f"a{n}"))
    ids = [i.id for i, _ in store.judged()]
    assert ids == ["a8", "a9", "a6", "a7", "a5", "a2", "a3", "a0", "a1"]


def test_many_threads_write_at_once(store: FeedbackStore) -> None:
    def work(number: int) -> None:
        for n in range(10):
            store.add_interaction(interaction(f"a{number}-{n}"))
            store.add_feedback(feedback(f"f{number}-{n}", target=f"a{number}-0"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summary = store.summary()
    assert (summary["interactions"], summary["thumbs_up"]) == (60, 6)


def test_text_that_databases_dislike(store: FeedbackStore) -> None:
    odd = "nul \0, quote ' and \u2028 and \U0001f40b"
    store.add_interaction(interaction(answer=odd, messages=(Message("user", odd),)))
    kept = store.interaction("chatcmpl-1")
    assert kept.messages[0].content == odd
    assert kept.answer == odd.replace("\0", "\ufffd")
