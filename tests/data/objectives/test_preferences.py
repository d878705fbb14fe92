"""Preferred and judged answers as batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lamina.contracts.chat import Message
from lamina.contracts.tokens import IGNORED, Rendered
from lamina.data.objectives.preferences import PreferenceBatches, answers
from lamina.kit.errors import ConfigError, InputError

USER, ASSISTANT, END = 1, 2, 3


class Letters:
    """A tokenizer of letters: a turn is a mark, its letters, an end; the assistant's letters and end are learned."""

    def render(self, messages: Sequence[Message], *, open_answer: bool = False) -> Rendered:
        ids: list[int] = []
        learned: list[bool] = []
        for message in messages:
            if "!" in message.content:
                raise InputError("the template refuses this")
            answer = message.role == "assistant"
            ids += [ASSISTANT if answer else USER, *(ord(c) for c in message.content), END]
            learned += [False, *[answer] * (len(message.content) + 1)]
        if open_answer:
            ids.append(ASSISTANT)
            learned.append(False)
        return Rendered(ids, learned)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def pair(question: str, chosen: str, rejected: str) -> dict[str, Any]:
    told = {"chosen": [turn("assistant", chosen)], "rejected": [turn("assistant", rejected)]}
    return {"prompt": [turn("user", question)], **told}


def judged(question: str, answer: str, label: bool) -> dict[str, Any]:
    return {"prompt": [turn("user", question)], "completion": [turn("assistant", answer)], "label": label}


PAIRS = [pair("ab", "yes", "no"), pair("c", "good", "bad"), pair("def", "x", "longer"), pair("!", "x", "y")]
JUDGED = [judged("ab", "yes", True), judged("ab", "no", False), judged("c", "good", True)]
LETTERS: Any = Letters()


def said(ids: Sequence[int]) -> str:
    return "".join(chr(i) if i > 9 else "<?>|"[i] for i in ids)


def test_pairs_stand_together_the_preferred_one_first() -> None:
    found = answers("dpo", PAIRS, LETTERS, length=20)
    assert [said(row.ids) for row in found.rows[:2]] == ["?ab|>yes|", "?ab|>no|"]
    assert [said([i for i, on in zip(row.ids, row.learned, strict=True) if on]) for row in found.rows[:2]] == [
        "yes|",
        "no|",
    ]
    assert (len(found.rows), found.dropped) == (6, 1)  # the template refused one
    assert len(answers("dpo", PAIRS, LETTERS, length=8).rows) == 4  # the longest does not fit


def test_earlier_answers_are_not_learned() -> None:
    row = pair("ab", "yes", "no")
    row["prompt"] = [turn("user", "a"), turn("assistant", "zz"), turn("user", "b")]
    found = answers("dpo", [row], LETTERS, length=30).rows[0]
    assert said([i for i, on in zip(found.ids, found.learned, strict=True) if on]) == "yes|"


def test_judged_answers_stand_beside_an_answer_to_another_prompt() -> None:
    found = answers("kto", JUDGED, LETTERS, length=20)
    assert [said(row.ids) for row in found.rows] == [
        "?ab|>yes|", "?ab|>good|", "?ab|>no|", "?ab|>good|", "?c|>good|", "?c|>yes|"
    ]  # fmt: skip
    assert found.good.tolist() == [True, False, True]
    with pytest.raises(InputError, match="two prompts"):
        answers("kto", JUDGED[:2], LETTERS, length=20)


def test_batches_hold_each_group_once_an_epoch() -> None:
    found = answers("kto", JUDGED, LETTERS, length=20)
    logs = np.arange(6.0) - 10
    stream = PreferenceBatches(found, logs, groups=1, seed=3)
    epochs = [[next(stream) for _ in range(3)] for _ in range(20)]
    for epoch in epochs:
        assert sorted(batch.references[0] for batch in epoch) == [-10.0, -8.0, -6.0]
    assert len({tuple(batch.references[0] for batch in epoch) for epoch in epochs}) > 1
    batch = epochs[0][0]
    row = int(batch.references[0]) + 10
    assert batch.labels.tolist() == [int(found.good[row // 2]), IGNORED]
    size = len(found.rows[row].ids) - 1
    assert batch.inputs[0, :size].tolist() == found.rows[row].ids[:-1]
    assert batch.segments[0].sum() == size
    assert said(batch.targets[0][batch.targets[0] != IGNORED]) == said(found.rows[row].ids).split(">")[1]
    assert batch.learned == batch.learned_labels == 1


def test_a_place_is_found_again_and_only_in_the_same_stream() -> None:
    found = answers("dpo", PAIRS, LETTERS, length=20)
    logs = np.zeros(6)
    stream = PreferenceBatches(found, logs, groups=2, seed=0)
    assert next(stream).learned == 2
    place = json.loads(json.dumps(stream.state()))
    wanted = [next(stream).inputs for _ in range(4)]
    again = PreferenceBatches(found, logs, groups=2, seed=0)
    again.restore(place)
    assert all(np.array_equal(next(again).inputs, one) for one in wanted)
    with pytest.raises(InputError, match="another stream"):
        PreferenceBatches(answers("dpo", PAIRS[:2], LETTERS, length=20), np.zeros(4), groups=2, seed=0).restore(place)
    with pytest.raises(InputError, match="log-probabilities"):
        PreferenceBatches(found, np.zeros(5), groups=2, seed=0)
    with pytest.raises(ConfigError, match="0 groups"):
        PreferenceBatches(found, logs, groups=0, seed=0)


def test_the_digest_follows_tokens_and_what_is_learned() -> None:
    digests = {
        answers("dpo", PAIRS, LETTERS, length=20).digest,
        answers("dpo", [*PAIRS[1:], PAIRS[0]], LETTERS, length=20).digest,
        answers("kto", JUDGED, LETTERS, length=20).digest,
        answers("kto", [JUDGED[0] | {"label": False}, *JUDGED[1:]], LETTERS, length=20).digest,
    }
    assert len(digests) == 4
