"""A full queue, deadlines and keys in a running engine."""

from __future__ import annotations

import time

import pytest

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.admission import Standing
from lamina.deployment.engine.engine import Engine
from lamina.kit.errors import DeadlineError, QueueFullError
from lamina.testing import Answer

GREEDY = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


@pytest.fixture
def slow(engine, monkeypatch):
    """``slow(…)``: an engine whose every token takes 2 ms or more."""

    def make(**options) -> Engine:
        made = engine(**options)
        decode = made._runner.decode
        monkeypatch.setattr(made._runner, "decode", lambda *a: (time.sleep(0.002), decode(*a))[1])
        return made

    return make


def ask(engine: Engine, number: int, **standing: object) -> Answer:
    answer = Answer()
    prompt = [number % 80] * 30
    engine.submit(f"r{number}", prompt, GREEDY, answer, standing=Standing(**standing))  # type: ignore[arg-type]
    return answer


def test_retry_after_is_the_truth(slow) -> None:
    engine = slow(max_sequences=2, queue_tokens=240)
    answers, number, kept, told = [], 0, 0, []
    stop = time.monotonic() + 20
    while len(told) < 4 and time.monotonic() < stop:
        try:
            answers.append(ask(engine, number))
            number += 1
        except QueueFullError as error:
            if len(answers) > 12:  # the rate is known by then
                told.append(error.retry_after)
                time.sleep(error.retry_after * 1.25 + 0.02)
                try:
                    answers.append(ask(engine, number))
                    number, kept = number + 1, kept + 1
                except QueueFullError:
                    pass
            else:
                time.sleep(0.02)
    assert (len(told), QueueFullError.status) == (4, 429)
    assert all(0 < seconds < 3 for seconds in told)
    assert kept >= 3, "whoever waits as long as he was told finds room"
    for answer in answers:
        assert answer.ended.finish_reason == "length"


def test_a_key_has_room_for_its_share(slow) -> None:
    engine = slow(max_sequences=1, queue_tokens=240)
    answers = []
    with engine._wake:  # the engine stands still while the queue fills
        answers += [ask(engine, number, key="greedy") for number in range(8)]
        with pytest.raises(QueueFullError):
            ask(engine, 8, key="greedy")
        answers += [ask(engine, number, key="modest") for number in range(50, 54)]
        with pytest.raises(QueueFullError):
            ask(engine, 54, key="modest")
    assert {a.ended.finish_reason for a in answers} == {"length"}


def test_a_deadline_ends_an_answer_within_a_step(slow) -> None:
    engine = slow(max_sequences=1)
    first = ask(engine, 1, timeout=0.03)
    second = ask(engine, 2, timeout=0.03)  # waits for the first one all its time
    third = ask(engine, 3)
    cut, late = first.ended, second.ended
    assert cut.finish_reason == "deadline"
    assert 0 < cut.usage.completion_tokens < 20
    assert isinstance(late, DeadlineError) or late.finish_reason == "deadline"
    assert third.ended.finish_reason == "length"
    assert engine._blocks.free == engine._blocks.total


def test_an_urgent_request_overtakes_and_the_preempted_answer_is_the_same(slow) -> None:
    engine = slow(max_sequences=1)
    plain = ask(engine, 7)
    plain.wait()
    alone = [c.tokens for c in plain.items]
    low = Answer()
    engine.submit("low", [7] * 30, GREEDY, low, standing=Standing(priority=5))
    while len(low.items) < 3:
        time.sleep(0.001)
    urgent = ask(engine, 9)
    assert urgent.ended.finish_reason == "length"
    assert not low.done.is_set()
    low.wait()
    assert [c.tokens for c in low.items] == alone
