"""From made-up rates to choices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lamina.deployment.fit.choice import cache_bytes, choose, spare, surplus
from lamina.deployment.fit.measuring import Rates
from lamina.deployment.load.objective import Objective
from lamina.kit.errors import CorruptError
from lamina.kit.limits import Limits

MB = 2**20
NO = Objective()
#: 10 ms a token on 2 threads and 16 on one; up to four sequences cost little more than one.
RATES = Rates(
    weights=134 * MB,
    store=46080,
    memory=((1, 9e9), (2, 15e9)),
    steps=((2, 1, 0.010), (2, 2, 0.011), (2, 4, 0.013), (2, 8, 0.020), (2, 16, 0.036), (1, 1, 0.016)),
    prompts=((2, 16, 0.020), (2, 64, 0.064), (2, 256, 0.240), (1, 64, 0.120)),
    kernels="native",
)


def test_rates_between_and_beyond_what_was_measured() -> None:
    assert RATES.step(2, 6) == pytest.approx(0.0165)
    assert RATES.step(2, 32) == pytest.approx(0.072)
    assert RATES.prompt(2, 8) == 0.020
    assert RATES.threads() == [1, 2]
    assert Rates.restored(RATES.told()) == RATES
    with pytest.raises(CorruptError):
        Rates.restored({"weights": 1})


def test_without_a_goal_throughput_decides() -> None:
    choice = choose(RATES, goal=NO)
    assert (choice.threads, choice.prompt_threads) == (2, 2)
    assert choice.sequences == 16, "twice as many bring less than 5 %"
    assert choice.chunk == 128, "a step of 16 sequences and 128 tokens takes less than 200 ms, one with 192 more"
    assert choice.wide_chunk == 256
    assert set(choice.why) >= {"threads", "prompt_threads", "sequences", "chunk", "wide_chunk"}


def test_fewer_threads_where_more_gain_nothing() -> None:
    flat = replace(RATES, steps=(*RATES.steps[:-1], (1, 1, 0.0101)))
    assert choose(flat, goal=NO).threads == 1
    assert choose(flat, goal=NO).prompt_threads == 2
    assert choose(flat, goal=NO, threads=2).threads == 2, "given"


@pytest.mark.parametrize(("itl", "sequences", "chunk"), [("30ms", 4, 16), ("60ms", 16, 16), ("100ms", 24, 32)])
def test_a_step_stays_within_the_goal(itl: str, sequences: int, chunk: int) -> None:
    choice = choose(RATES, goal=Objective.read(f"itl={itl}", where="slo"))
    assert (choice.sequences, choice.chunk) == (sequences, chunk)


def test_more_time_never_means_fewer_sequences() -> None:
    counts = [choose(RATES, goal=Objective(itl=ms / 1000)).sequences for ms in range(5, 400, 5)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 64)


def test_a_goal_that_cannot_be_held_is_said() -> None:
    choice = choose(RATES, goal=Objective(itl=0.005))
    assert choice.sequences == 1
    assert "not held even alone" in choice.why["sequences"]
    assert "beyond 5 ms" in choice.why["chunk"]
    assert choose(RATES, goal=Objective(itl=0.005, ttft=0.01)).wide_chunk == 256, "then the fastest"


def test_a_short_ttft_makes_wide_chunks_shorter() -> None:
    assert choose(RATES, goal=Objective(ttft=0.1, itl=0.06)).wide_chunk == 64


def test_what_is_given_stands() -> None:
    choice = choose(RATES, goal=Objective(itl=0.03), sequences=40)
    assert (choice.sequences, choice.why["sequences"]) == (40, "given in the stack file")


def limits(memory: int, *, capped: bool = True) -> Limits:
    return Limits(processors=2, affinity=2, quota=None, memory=memory * MB, capped=capped)


def test_the_cache_is_what_the_limit_leaves() -> None:
    sizes = {"used": 700 * MB, "weights": 130 * MB, "need": 3000 * MB, "token": 46080}
    two, why = cache_bytes(limits(2048), **sizes)
    assert two == pytest.approx((2048 - 700 - 260 - 204.8) * MB, abs=MB)
    assert "2048 MiB" in why
    assert cache_bytes(limits(8192), **sizes)[0] == 3000 * MB, "no more than is needed"
    quarter, why = cache_bytes(limits(8192, capped=False), **sizes)
    assert quarter == pytest.approx((8192 - 700 - 260 - 819.2) * MB / 4, abs=MB)
    assert "a quarter of the machine" in why
    least, why = cache_bytes(limits(1024), **sizes)
    assert least == 1024 * 46080
    assert cache_bytes(limits(1024), **sizes | {"need": 3 * MB})[0] == 3 * MB, "nor more than is needed"
    assert "no room for a second version" in why


def test_pressure_asks_for_as_much_as_brings_it_down() -> None:
    assert surplus(1000, 900, None, 400) == 0
    assert surplus(1000, 950, None, 400) == 100
    assert surplus(1000, 850, 0.5, 400) == 40, "somebody waits for memory"
    assert surplus(1000, 700, 0.5, 400) == 0
    assert (spare(1000, 700), spare(1000, 900)) == (50, 0)
