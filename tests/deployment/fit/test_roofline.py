"""The roofline of made-up rates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lamina.deployment.fit.choice import choose
from lamina.deployment.fit.fitter import Fit
from lamina.deployment.fit.measuring import Rates
from lamina.deployment.fit.roofline import explain, in_lines
from lamina.deployment.load.objective import Objective
from lamina.kit.limits import Limits

MB = 2**20
GOAL = Objective(ttft=0.3)
RATES = Rates(
    weights=100_000_000,
    store=40_000,
    memory=((1, 9e9), (2, 15e9)),
    steps=((2, 1, 0.010), (1, 1, 0.018)),
    prompts=((2, 64, 0.064), (1, 64, 0.120)),
    kernels="native",
)


def fit(rates: Rates, *, need: int = 300 * MB) -> Fit:
    return Fit(
        limits=Limits(processors=2, affinity=2, quota=None, memory=2048 * MB, capped=True),
        rates=rates,
        choice=choose(rates, goal=GOAL),
        most_threads=2,
        cache_bytes=200 * MB,
        cache_why="what the limit leaves",
        need=need,
        used=500 * MB,
        context=4096,
        measured=True,
    )


def test_bound_and_share() -> None:
    roof = explain(fit(RATES), GOAL)["roofline"]
    assert roof["bytes_per_token"] == 100_000_000 + 128 * 40_000
    assert roof["bound_tokens_per_s"] == pytest.approx(15e9 / 105_120_000)
    assert roof["share"] == pytest.approx(100 / (15e9 / 105_120_000))


def test_what_a_token_got_memory_has_given() -> None:
    roof = explain(fit(replace(RATES, memory=((1, 2e9), (2, 2e9)))), GOAL)["roofline"]
    assert roof["share"] == pytest.approx(1.0)


def test_what_more_would_buy() -> None:
    more = explain(fit(RATES), GOAL)["more"]
    # 1.8 times by the second: 8/9 of the work is shared out, so that four threads would bring (1/9 + 4/9) / (1/9 + 2/9)
    assert "1.80 times as fast" in more["cores"]
    assert f"about {(5 / 9) / (3 / 9):.2f} times" in more["cores"]
    assert "26,843 further tokens" in more["memory"]
    assert "nothing" in explain(fit(RATES, need=200 * MB), GOAL)["more"]["memory"]
    slower = replace(RATES, steps=((2, 1, 0.020), (1, 1, 0.018)))
    assert "no faster than one" in explain(fit(slower), GOAL)["more"]["cores"]
    alone = replace(RATES, memory=((2, 15e9),), steps=((2, 1, 0.010),), prompts=((2, 64, 0.064),))
    assert "one was measured" in explain(fit(alone), GOAL)["more"]["cores"]


def test_the_text_has_it_all() -> None:
    text = in_lines(explain(fit(RATES), GOAL))
    for words in ("105.1 MB", "15.0 GB/s", "at most 143 tokens/s", "100 tokens/s, 70%", "ttft = 300 ms", "200 MiB"):
        assert words in text
