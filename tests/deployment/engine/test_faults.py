"""What goes wrong inside the engine costs whom it concerns, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.engine import stepping
from lamina.deployment.engine.admission import Standing
from lamina.deployment.engine.engine import Engine
from lamina.kit.errors import LaminaError, QueueFullError
from lamina.testing import Answer

GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
POISON = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True, seed=13)


@pytest.fixture
def engine(engine):
    return partial(engine, max_sequences=6)


def ask(engine: Engine, number: int, sampling: SamplingParams = GREEDY, **standing) -> Answer:
    answer = Answer()
    prompt = [(7 * number + k) % 80 for k in range(12)]
    engine.submit(f"r{number}", prompt, sampling, answer, standing=Standing(**standing))
    return answer


def together(engine: Engine, *asked: tuple[int, SamplingParams]) -> list[Answer]:
    with engine._wake:
        return [ask(engine, number, sampling) for number, sampling in asked]


def all_free(engine: Engine) -> bool:
    engine._blocks.check([])
    return engine._blocks.free == engine._blocks.total


def test_a_draw_that_fails_for_the_batch_ends_the_one_that_is_to_blame(engine, monkeypatch) -> None:
    one, draw = engine(), stepping.draw_together
    alone = [ask(one, n).tokens for n in range(3)]

    def poisoned(scores, samplers, places, adjusts):
        if any(s.seed == 13 for s in samplers) and max(places) > 15:
            raise RuntimeError("poison")
        return draw(scores, samplers, places, adjusts)

    monkeypatch.setattr(stepping, "draw_together", poisoned)
    *good, bad = together(one, (0, GREEDY), (1, GREEDY), (2, GREEDY), (13, POISON))
    assert isinstance(bad.ended, LaminaError)
    assert [answer.tokens for answer in good] == alone
    assert all_free(one)


@pytest.mark.parametrize("where", ["schedule", "release", "finished"])
def test_what_breaks_the_loop_is_told_and_the_next_is_answered(engine, monkeypatch, where) -> None:
    """A fault outside of any one request's work: it used to end the engine's thread, and everybody waited for ever."""
    one = engine()
    before = ask(one, 5).tokens

    def broken(*arguments: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("broken")

    class Watcher:
        first_token = next_token = lambda self, *arguments: None
        finished = broken

    with one._wake:
        answers = [ask(one, n) for n in range(3)]
        if where == "schedule":
            monkeypatch.setattr(one._scheduler, "schedule", broken)
        elif where == "release":
            monkeypatch.setattr(one._blocks, "release", broken)
        else:
            monkeypatch.setattr(one._teller, "observer", Watcher())
    assert all(isinstance(answer.ended, LaminaError | Chunk) for answer in answers)
    assert any(isinstance(answer.ended, LaminaError) for answer in answers) or where != "schedule"
    assert ask(one, 5).tokens == before
    assert all_free(one)


def test_who_comes_while_a_fault_ends_the_others_is_answered(engine, monkeypatch) -> None:
    one, late = engine(), list[Answer]()
    before, end = ask(one, 5).tokens, one._end

    def broken() -> None:
        monkeypatch.undo()
        monkeypatch.setattr(one, "_end", ended)
        raise RuntimeError("broken")

    def ended(*given: object) -> None:
        end(*given)
        comer = threading.Thread(target=lambda: late.append(ask(one, 5)))
        comer.start()
        comer.join(0.3)  # it may have to wait until all have ended

    with one._wake:
        first = ask(one, 1)
        monkeypatch.setattr(one._scheduler, "schedule", broken)
    assert isinstance(first.ended, LaminaError)
    monkeypatch.undo()
    deadline = time.monotonic() + 20
    while not late and time.monotonic() < deadline:
        time.sleep(0.01)
    assert late[0].tokens == before


def test_a_text_that_cannot_be_ended_is_its_requests_fault_alone(engine, tiny_tokenizer, monkeypatch) -> None:
    one, stream = engine(), tiny_tokenizer.stream

    class Broken:
        push = staticmethod(lambda token: "a")

        def finish(self) -> str:
            raise RuntimeError("no end")

    monkeypatch.setattr(tiny_tokenizer, "stream", Broken)
    bad = ask(one, 1, SamplingParams(temperature=0.0, max_tokens=140, ignore_eos=True), timeout=0.05)
    monkeypatch.setattr(tiny_tokenizer, "stream", stream)
    good = ask(one, 2)
    assert isinstance(bad.ended, LaminaError)
    assert len(good.tokens) == 12
    assert all_free(one)


@pytest.fixture
def slow(engine, monkeypatch) -> Callable[..., Engine]:
    """An engine whose steps take 10 ms."""

    def make(**options) -> Engine:
        one = engine(**options)
        decode = one._runner.decode

        def late(*arguments):
            time.sleep(0.01)
            return decode(*arguments)

        monkeypatch.setattr(one._runner, "decode", late)
        return one

    return make


def test_nobody_waits_longer_than_was_promised(slow) -> None:
    one = slow(max_sequences=1, max_wait=0.4)
    with one._wake:
        answers = [ask(one, n) for n in range(12)]  # 0.12 s each, one after another; nothing was measured yet
    lasts = [answer.ended for answer in answers]
    given_up = [last for last in lasts if isinstance(last, QueueFullError)]
    assert 0 < len(given_up) < 12
    assert all(last.retry_after > 0 for last in given_up)
    answered = [answer for answer in answers if isinstance(answer.ended, Chunk)]
    assert all(len(answer.tokens) == 12 for answer in answered)
    assert all_free(one)


def test_rest_is_no_delay(slow, monkeypatch) -> None:
    one, ages = slow(max_sequences=1), list[float | None]()
    prefill = one._runner.prefill

    def looked(*arguments, **options):
        ages.append(one.load().step_age)
        return prefill(*arguments, **options)

    monkeypatch.setattr(one._runner, "prefill", looked)
    one._stepped -= 3600
    assert ask(one, 1).tokens
    assert ages[0] is not None
    assert ages[0] < 60


def test_further_answers_of_a_call_wait_for_the_first_one(slow) -> None:
    one = slow(max_sequences=1, max_wait=0.2)
    with one._wake:
        answers = [ask(one, n, patient=n > 0) for n in range(5)]  # 0.12 s each
    assert [len(answer.tokens) for answer in answers] == [12] * 5


def test_what_would_wait_too_long_is_refused_at_once(slow) -> None:
    one = slow(max_sequences=1, max_wait=2.0)
    with one._wake:
        for n in range(8):
            ask(one, n)
    deadline = time.monotonic() + 20
    while one._scheduler.pace.rate() is None and time.monotonic() < deadline:
        time.sleep(0.01)  # until it is known how fast the queue empties: about 12 tokens in 0.12 s
    refused: list[QueueFullError] = []
    with one._wake:
        room = max(one._room.tokens, one._scheduler.waiting.tokens)  # the first ones came before that was known
        assert room < 1000
        for n in range(100, 200):
            try:
                ask(one, n)
            except QueueFullError as error:
                refused.append(error)
    assert one._scheduler.waiting.tokens <= max(room, 12)
    assert len(refused) > 50
    assert all(0 < error.retry_after < 10 for error in refused)


def test_many_cancels_leave_nothing_behind(slow) -> None:
    one = slow(max_sequences=4, cache_mb=1)
    for n in range(500):
        ask(one, n, SamplingParams(temperature=1.0, max_tokens=40), timeout=None)
        if n >= 8:
            one.abort(f"r{n - (n % 8)}")
            one.abort(f"r{n - 8}")
    for n in range(500):
        one.abort(f"r{n}")
    deadline = time.monotonic() + 20
    while one._live and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not one._live
    assert len(one._scheduler.waiting) == one._scheduler.waiting.tokens == 0
    assert all_free(one)
    assert ask(one, 1).tokens


def test_requests_that_are_on_their_way_take_their_room(slow) -> None:
    one = slow(max_sequences=1, queue_tokens=100)
    with one._wake:
        ask(one, 1)
        ask(one, 2)  # 24 tokens wait
        one.check_room("", active=2)
        one.check_room("", active=4)
        with pytest.raises(QueueFullError):
            one.check_room("", active=200)
    one.check_room("other", active=0)


def test_who_would_run_at_once_is_let_in_however_slow_the_queue_once_was(slow) -> None:
    one = slow(max_sequences=4, max_wait=10.0)
    one._scheduler.pace._rate = 0.5  # of an hour in which hardly anybody asked
    for n in range(4):
        assert ask(one, n).tokens  # so that the usual length is known
    one._scheduler.pace._rate = 0.5
    one.check_room("", active=4)
    with pytest.raises(QueueFullError):
        one.check_room("", active=40)
