"""Which judgements teach what."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.chat import DPO, KTO, SFT, Message
from lamina.contracts.feedback import REASONS, Feedback, Interaction
from lamina.interface.grounding.context import OPENING
from lamina.interface.learn.curate import curate, snapshot_facts, substantive, write_snapshot
from lamina.interface.store import split_of
from lamina.kit.durable import verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def asked(number: int = 1, user: str = "u1", **changes: object) -> Interaction:
    first = Interaction(
        id=f"i{number}",
        conversation=f"c{number}",
        user=user,
        messages=(Message("user", f"Question {number}?"),),
        answer="The answer.",
        version="v1",
        finish_reason="stop",
        grounding="weights only",
        sources=(),
        parameters='{"route":"chat"}',
        prompt_tokens=1,
        completion_tokens=1,
        mean_logprob=None,
        mean_entropy=None,
        split="train",
        created=NOW,
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def said(value: object, number: int = 1, kind: str = "boolean", at: int = 0, **changes: object) -> Feedback:
    first = Feedback(
        id=f"f{number}-{kind}-{at}",
        target=f"i{number}",
        kind=kind,  # type: ignore[arg-type]
        value=json.dumps(value),
        reasons=(),
        comment=None,
        user="u1",
        supersedes_id=None,
        created=NOW + timedelta(seconds=at),
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def contents(column: list[dict[str, str]]) -> list[str]:
    return [m["content"] for m in column]


def test_a_thumb_up_teaches_the_answer() -> None:
    curated = curate([(asked(), (said(True),))])
    (row,) = curated.sft.to_pylist()
    assert contents(row["prompt"]) == ["Question 1?"]
    assert row["completion"] == [{"role": "assistant", "content": "The answer."}]
    assert (row["feedback_id"], row["interaction_id"]) == ("f1-boolean-0", "i1")
    assert (row["user"], row["split"], row["created"]) == ("user:u1", "train", NOW)
    assert curated.kto.to_pylist()[0]["label"] is True
    assert curated.dpo.num_rows == 0
    assert (curated.sft.schema, curated.kto.schema, curated.dpo.schema) == (SFT, KTO, DPO)


@pytest.mark.parametrize("reason", REASONS)
def test_only_some_reasons_teach_the_opposite(reason: str) -> None:
    curated = curate([(asked(), (said(False, reasons=(reason,)),))])
    assert curated.kto.num_rows == (reason in ("wrong", "unsafe", "format"))
    assert curated.sft.num_rows == 0


def test_a_thumb_down_without_a_reason_teaches_nothing() -> None:
    curated = curate([(asked(), (said(False),))])
    assert curated.kto.num_rows == 0
    assert curated.left_out == {"thumb down without a reason that teaches": 1}


def test_a_correction_teaches_itself_and_the_preference() -> None:
    curated = curate([(asked(), (said("Better.", kind="correction"), said(False, at=1, reasons=("wrong",))))])
    assert contents(curated.sft.to_pylist()[0]["completion"]) == ["Better."]
    (pair,) = curated.dpo.to_pylist()
    assert (contents(pair["chosen"]), contents(pair["rejected"])) == (["Better."], ["The answer."])
    assert curated.kto.to_pylist()[0]["label"] is False


@pytest.mark.parametrize(
    ("correction", "counts"),
    [("the  answer!", False), ("THE ANSWER.", False), ("...", False), ("The answer is 2.", True), ("An answer.", True)],
)
def test_a_correction_must_change_something(correction: str, counts: bool) -> None:
    assert substantive("The answer.", correction) is counts
    curated = curate([(asked(), (said(correction, kind="correction"),))])
    assert curated.sft.num_rows == curated.dpo.num_rows == counts


def test_the_latest_opinion_wins() -> None:
    up, better = said(True, at=1), said("Better.", kind="correction", at=2)
    assert contents(curate([(asked(), (up, better))]).sft.to_pylist()[0]["completion"]) == ["Better."]
    up_later = said(True, at=3)
    assert contents(curate([(asked(), (better, up_later))]).sft.to_pylist()[0]["completion"]) == ["The answer."]


def test_the_same_question_again_counts_once() -> None:
    again = asked(2, messages=asked(1).messages)
    rows = curate([(asked(1), (said("One.", 1, "correction"),)), (again, (said("Two.", 2, "correction", at=5),))])
    assert [contents(r["completion"]) for r in rows.sft.to_pylist()] == [["Two."]]


def test_the_servers_own_sentence_is_not_learned() -> None:
    earlier = Message("assistant", OPENING + "Perhaps.")
    messages = (Message("user", "a"), earlier, Message("user", "b"))
    curated = curate([(asked(answer=OPENING + "Maybe.", messages=messages), (said(True),))])
    (row,) = curated.sft.to_pylist()
    assert contents(row["completion"]) == ["Maybe."]
    assert contents(row["prompt"]) == ["a", "Perhaps.", "b"]


@pytest.mark.parametrize(
    "changes", [{"finish_reason": "length"}, {"finish_reason": "abort"}, {"parameters": '{"route":"completions"}'}]
)
def test_cut_answers_and_raw_prompts_are_left_out(changes: dict[str, str]) -> None:
    curated = curate([(asked(**changes), (said(True),))])
    assert curated.sft.num_rows == curated.kto.num_rows == 0
    assert sum(curated.left_out.values()) == 1


def test_control_tokens_stay_as_text_and_are_counted() -> None:
    curated = curate([(asked(), (said("<|im_end|> is a token.", kind="correction"),))])
    assert contents(curated.sft.to_pylist()[0]["completion"]) == ["<|im_end|> is a token."]
    assert snapshot_facts(curated)["rows_with_control_tokens"] == 1


def many(counts: dict[str, int]) -> list[tuple[Interaction, tuple[Feedback, ...]]]:
    rows, number = [], 0
    for user, count in counts.items():
        for _ in range(count):
            number += 1
            rows.append(
                (asked(number, user=user), (said(f"Better {number}.", number, "correction", at=number, user=user),))
            )
    return rows


def test_nobody_holds_more_than_a_share() -> None:
    curated = curate(many({"flooder": 500} | {f"u{n}": 10 for n in range(10)}), share_cap=0.2)
    users = curated.sft.column("user").to_pylist()
    assert users.count("user:flooder") / len(users) <= 0.2
    assert users.count("user:u3") == 10
    assert curated.left_out["over the share of one person"] > 400
    latest = [r["interaction_id"] for r in curated.sft.to_pylist() if r["user"] == "user:flooder"]
    assert latest[-1] == "i500"


def test_one_person_alone_may_teach() -> None:
    assert curate(many({"only": 100})).sft.num_rows == 100


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefghij"), st.integers(1, 60), min_size=1), st.floats(0.05, 1))
def test_the_cap_holds_for_any_crowd(counts: dict[str, int], share: float) -> None:
    users = curate(many(counts), share_cap=share).sft.column("user").to_pylist()
    most = max(users.count(u) for u in set(users))
    assert most <= max(5, max(share, 1 / len(counts)) * len(users) + 1e-9)


def test_each_side_of_the_split_is_counted() -> None:
    judged = [(replace(i, split=split_of(i.user, i.conversation)), f) for i, f in many({f"u{n}": 2 for n in range(40)})]
    facts = snapshot_facts(curate(judged))
    assert facts["sft_train"] + facts["sft_held_out"] == 80
    assert facts["sft_held_out"] == 2 * facts["sft_held_out_people"] > 0
    assert facts["people"] == 40


def test_a_snapshot_is_named_by_its_content(tmp_path: Path) -> None:
    judged = many({"u1": 3, "u2": 2})
    folder = write_snapshot(judged, tmp_path)
    verify(folder)
    assert pq.read_table(folder / "sft.parquet").num_rows == 5
    assert json.loads((folder / "facts.json").read_text())["people"] == 2
    stamp = (folder / "facts.json").stat().st_mtime_ns
    assert write_snapshot(iter(judged), tmp_path) == folder
    assert (folder / "facts.json").stat().st_mtime_ns == stamp
    assert write_snapshot(many({"u1": 3, "u2": 3}), tmp_path) != folder
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_judged_is_an_empty_snapshot(tmp_path: Path) -> None:
    folder = write_snapshot([], tmp_path)
    assert pq.read_table(folder / "sft.parquet").schema.equals(SFT)
    assert snapshot_facts(curate([]))["sft_train"] == 0
