"""The vocabulary of constraints is read a while after the start, and not at all where the model is gone by then."""

from __future__ import annotations

import threading
import time

import pytest

from lamina.deployment.engine.guidance import Guidance


@pytest.fixture
def guidance(tiny_tokenizer, monkeypatch):
    read: list[float] = []
    monkeypatch.setattr(Guidance, "_tokens", lambda _: read.append(time.monotonic()))
    made = Guidance(tiny_tokenizer, tiny_tokenizer.end_ids, tiny_tokenizer.vocabulary)
    yield made, read
    made.close()


def test_it_is_read_after_the_first_answer_had_its_time(guidance) -> None:
    made, read = guidance
    begun = time.monotonic()
    made.prepare(after_s=0.3)
    while not read:
        assert time.monotonic() < begun + 20
        time.sleep(0.01)
    assert read[0] >= begun + 0.3


def test_a_model_that_is_gone_reads_nothing_and_is_not_held(guidance) -> None:
    made, read = guidance
    made.prepare(after_s=60.0)
    (timer,) = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    made.close()
    timer.join(20)
    assert not timer.is_alive()
    assert read == []
