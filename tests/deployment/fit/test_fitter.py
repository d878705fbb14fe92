"""Engines are measured once, set by what was measured, and follow their limits without dropping a request."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.engine.change import Change
from lamina.deployment.engine.engine import Engine
from lamina.deployment.fit import fitter as fitting
from lamina.deployment.fit.fitter import Fitter
from lamina.deployment.fit.follower import Follower
from lamina.deployment.fit.roofline import explain, in_lines
from lamina.deployment.load.objective import Objective
from lamina.kit.errors import InputError
from lamina.kit.limits import Limits, MemoryUse
from lamina.testing import Answer

MB = 2**20
LONG = SamplingParams(temperature=0.0, max_tokens=120, ignore_eos=True)


class Machine:
    """What may be used, as a test says it."""

    def __init__(self) -> None:
        self.limits = Limits(processors=2, affinity=2, quota=None, memory=4096 * MB, capped=True)
        self.use = MemoryUse(limit=4096 * MB, used=500 * MB, stalled=None)

    def fitter(self, folder: Path, **given: int) -> Fitter:
        return Fitter(
            folder,
            goal=Objective(ttft=0.3, itl=0.03),
            given=given,
            limits=lambda: self.limits,
            use=lambda: self.use,
            threads=lambda: self.limits.processors,
        )


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch):
    """Measurements are kept although other tests run; threads are as they were afterwards."""
    monkeypatch.setattr(fitting.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def engine(tiny_model, tiny_tokenizer):
    made: list[Engine] = []

    def make(fitter: Fitter, *, int8: bool = True, **options) -> Engine:
        model = quantize(tiny_model()) if int8 else tiny_model()
        options = fitter.options(model, options)
        made.append(Engine(model, tiny_tokenizer, version="v1", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


@pytest.mark.parametrize("int8", [True, False])
def test_it_is_measured_once_and_says_why(machine, engine, tmp_path, int8, monkeypatch) -> None:
    fitter = machine.fitter(tmp_path / "machines")
    fit = fitter.fit(engine(fitter, int8=int8), "v1")
    assert fit.measured
    assert {t for t, _, _ in fit.rates.steps} == {1, 2}
    assert [r for t, r, _ in fit.rates.steps if t == 2] == [1, 2, 4, 8, 16]
    assert all(seconds > 0 for *_, seconds in (*fit.rates.steps, *fit.rates.prompts))
    told = explain(fit, fitter.goal)
    roof = told["roofline"]
    assert roof["bound_tokens_per_s"] == pytest.approx(roof["bandwidth"] / roof["bytes_per_token"])
    assert roof["share"] == pytest.approx(roof["tokens_per_s"] / roof["bound_tokens_per_s"])
    text = in_lines(told)
    for words in (
        "roofline",
        "of it, by the",
        "threads for tokens",
        "ttft = 300 ms",
        "cores: ",
        "memory:",
    ):
        assert words in text
    monkeypatch.setattr(fitting, "measure", None)  # read, or fail
    again = machine.fitter(tmp_path / "machines")
    second = again.fit(engine(again, int8=int8), "v1")
    assert (second.measured, second.rates, second.choice) == (False, fit.rates, fit.choice)


def test_another_machine_or_a_spoilt_file_is_measured_anew(machine, engine, tmp_path) -> None:
    fitter = machine.fitter(tmp_path)
    assert fitter.fit(engine(fitter), "v1").measured
    machine.limits = replace(machine.limits, processors=1, quota=1.0)
    assert fitter.fit(engine(fitter), "v1").measured
    for file in tmp_path.iterdir():
        file.write_text("{}")
    again = machine.fitter(tmp_path)
    assert again.fit(engine(again), "v1").measured


def test_what_was_measured_on_a_busy_machine_is_not_kept(machine, engine, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fitting.os, "getloadavg", lambda: (1e4, 0.0, 0.0))
    fitter = machine.fitter(tmp_path)
    assert fitter.fit(engine(fitter), "v1").measured
    assert not list(tmp_path.iterdir())
    assert not fitter.fit(engine(fitter), "v2").measured, "but for a swap in this process"
    again = machine.fitter(tmp_path)
    assert again.fit(engine(again), "v1").measured


def test_what_the_stack_file_says_stands(machine, engine, tmp_path) -> None:
    fitter = machine.fitter(tmp_path, max_sequences=3, cache_mb=1, threads=1)
    made = engine(fitter)
    fit = fitter.fit(made, "v1")
    assert (fit.choice.sequences, fit.choice.threads, fit.cache_bytes) == (3, 1, made.cache().total * 8192)
    assert made.cache().total * made.cache().block_bytes <= MB


def test_threads_change_between_steps_and_the_answer_is_the_same(machine, engine, tmp_path) -> None:
    fitter = machine.fitter(tmp_path)
    made = engine(fitter)
    fitter.fit(made, "v1")
    used: list[int] = []
    count, use = made._runner.use_threads, used.append
    made._runner.use_threads = lambda threads: (use(threads), count(threads))
    alone = Answer()
    made.submit("alone", [1, 2, 3], LONG, alone)
    expected = alone.tokens
    follower = Follower(fitter, lambda: {"v1": made}, poll_s=0.02)
    try:
        answers = [Answer() for _ in range(8)]
        for number, answer in enumerate(answers):
            made.submit(str(number), [1, 2, 3], LONG, answer)
        until(lambda: len(answers[0].items) > 3)
        machine.limits = replace(machine.limits, processors=1, quota=1.5)
        until(lambda: used and used[-1] == 1)
        assert [answer.tokens for answer in answers] == [expected] * 8
    finally:
        follower.close()
    assert fitter.fits["v1"].choice.threads == 1


def test_memory_pressure_shrinks_the_cache_and_nobody_is_dropped(machine, engine, tmp_path) -> None:
    fitter = machine.fitter(tmp_path)
    made = engine(fitter)
    fitter.fit(made, "v1")
    until(lambda: made.cache().limit == fitter.fits["v1"].cache_bytes // made.cache().block_bytes)
    for number in range(40):
        answer = Answer()
        made.submit(f"fill {number}", [number % 26, number % 7, *range(20)], replace(LONG, max_tokens=20), answer)
        answer.wait()
    full = made.cache().touched
    assert full > 30
    running = Answer()
    made.submit("running", [3, 4, 5], LONG, running)
    until(lambda: len(running.items) > 2)
    given: list[int] = []
    give = made._runner.give_back
    made._runner.give_back = lambda blocks: (given.extend(blocks), give(blocks))
    follower = Follower(fitter, lambda: {"v1": made}, poll_s=3600)
    try:
        machine.use = replace(machine.use, used=4000 * MB)
        follower.look()
        assert len(running.tokens) == 120, "it had room to its end"
        until(lambda: made.cache().touched < full)
        assert len(given) >= full - 12
        assert made.context <= 20 * 16
        with pytest.raises(InputError) as refused:
            made.submit("long", [1] * (made.context + 1), LONG, Answer())
        assert refused.value.code == "context_length_exceeded"
        machine.use = replace(machine.use, used=500 * MB)
        follower._pressed -= 60  # half a minute later
        follower.look()
        until(lambda: made.cache().limit > 12)
        after = Answer()
        made.submit("after", [3, 4, 5], LONG, after)
        assert after.tokens == running.tokens
    finally:
        follower.close()


def test_a_changed_memory_limit_changes_the_cache(machine, engine, tmp_path) -> None:
    fitter = machine.fitter(tmp_path)
    made = engine(fitter, context=150)
    fitter.fit(made, "v1")
    wanted = fitter.fits["v1"].cache_bytes
    follower = Follower(fitter, lambda: {"v1": made}, poll_s=0.02)
    try:
        machine.limits = replace(machine.limits, memory=640 * MB)
        until(lambda: fitter.fits["v1"].limits.memory == 640 * MB)
        assert fitter.fits["v1"].cache_bytes <= wanted
        machine.limits = replace(machine.limits, memory=4096 * MB)
        until(lambda: made.cache().limit == wanted // made.cache().block_bytes)
    finally:
        follower.close()


def test_an_idle_follower_costs_next_to_nothing(machine, engine, tmp_path) -> None:
    """The real reading of limits, at the real pace."""
    fitter = Fitter(tmp_path, goal=Objective(), given={"threads": 1})
    made = engine(fitter)
    fitter.fit(made, "v1")
    follower = Follower(fitter, lambda: {"v1": made}, poll_s=3600)
    try:
        began = time.thread_time()
        for _ in range(50):
            follower.look()
        assert (time.thread_time() - began) / 50 < 0.01 * 2.0, "1 % of a processor, looking every two seconds"
    finally:
        follower.close()


def test_a_change_is_made_while_nothing_is_asked(machine, engine, tmp_path) -> None:
    made = engine(machine.fitter(tmp_path))
    made.adapt(Change(blocks=3))
    made.adapt(Change(sequences=2))
    until(lambda: made.cache().limit == 3)
    assert made.context == 48
