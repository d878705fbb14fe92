"""``benchmarks/serve_poisson.py``: its rate, its rows, and the whole of it against two stand-ins for servers."""

from __future__ import annotations

import importlib
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lamina.deployment.load.client import Target
from lamina.deployment.load.outcome import Outcome
from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, NoKeys
from lamina.interface.api.server import in_thread
from lamina.testing import EchoService, stand_ins

KEYS = {"work", "ours", "theirs", "ratio", "unit", "runs", "spread", "quality"}


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The file, which is no package: it finds the ones beside it as a script does."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[3] / "benchmarks")
        yield importlib.import_module("serve_poisson")
    for name in {"serve_poisson", "bench_engine", "engine_peers", "machine", "sides"} - before:
        sys.modules.pop(name, None)


def answered(number: int, due: float, first: float, *, tokens: int = 128, gap: float = 0.05) -> Outcome:
    """An answer whose first token comes ``first`` seconds after it was ``due``."""
    stamps = array("d", (due + first + gap * place for place in range(tokens)))
    return Outcome(
        number,
        due,
        sent=due + 0.002,
        ended=stamps[-1],
        status=200,
        tokens=stamps,
        prompt_tokens=256,
        completion_tokens=tokens,
    )


def figures(bench: ModuleType, *firsts: float) -> dict[str, Any]:
    outcomes = [answered(number, float(number), first) for number, first in enumerate(firsts)]
    return bench.figures(outcomes, seconds=2.0 * len(firsts))


def test_the_rate_is_one_that_the_slower_side_keeps_up_with(bench: ModuleType) -> None:
    def told(rate: float) -> dict[str, float]:
        return {"output_tokens_per_s": rate}

    pairs = [(told(900.0), told(128.0)), (told(640.0), told(256.0)), (told(700.0), told(512.0))]
    assert bench.rate_for(pairs) == pytest.approx(0.8 * 2.0), "the median of theirs, in answers of 128 tokens"
    assert bench.rate_for([pair[::-1] for pair in pairs]) == pytest.approx(0.8 * 2.0)


def test_a_lower_wait_is_a_higher_ratio(bench: ModuleType) -> None:
    quick, slow = figures(bench, 0.2, 0.4, 0.3), figures(bench, 2.5, 0.5, 1.2)
    row = bench.first_token_row("2/s", 2.0, [(quick, slow), (quick, quick), (quick, slow)])
    assert set(row) == KEYS
    assert (row["ours"], row["theirs"], row["unit"]) == (pytest.approx(0.4), pytest.approx(2.5), "s")
    assert row["ratio"] == pytest.approx(2.5 / 0.4)
    assert (row["runs"], row["spread"]) == (3, "1.00-6.25")
    assert "prompts 256 against 256 tokens, answers 128 against 128" in row["quality"]
    assert "given up 0 against 0; sent 2 ms late" in row["quality"]
    assert slow["good"] == 2, "one came after the bound"


def test_capacity_is_in_tokens_of_answers(bench: ModuleType) -> None:
    many, few = figures(bench, *[0.1] * 20), figures(bench, *[0.1] * 5)
    row = bench.capacity_row([(many, few)])
    assert set(row) == KEYS
    assert row["ratio"] == pytest.approx(many["output_tokens_per_s"] / few["output_tokens_per_s"])
    assert row["unit"] == "tokens/s"


def test_who_was_given_up_counts_and_who_was_refused_ends_it(bench: ModuleType) -> None:
    late = Outcome(1, 1.0, sent=1.0, ended=301.0, error="timeout")
    found = bench.figures([answered(0, 0.0, 0.1), late], seconds=10.0)
    assert found["ttft"]["p99"] == pytest.approx(300.0)
    refused = Outcome(1, 1.0, status=429, error="429", said="full")
    for outcomes, words in (
        ([answered(0, 0.0, 0.1), refused], "429.*full"),
        ([late], "nothing was answered"),
        ([answered(0, 0.0, 0.1), answered(1, 1.0, 0.1, tokens=9)], "an end token"),
    ):
        with pytest.raises(AssertionError, match=words):
            bench.figures(outcomes, seconds=10.0)


@pytest.mark.parametrize(
    ("rates", "words"), [((), ["0.8 of the lower capacity"]), ((20.0, 40.0), ["20/s", "40/s"])], ids=["chosen", "given"]
)
def test_two_servers_one_after_the_other(bench: ModuleType, rates: tuple[float, ...], words: list[str]) -> None:
    services = [EchoService(delay=delay) for delay in (0.0005, 0.004)]
    apps = [
        create_app(**stand_ins(service=s, keys=NoKeys(), settings=ApiSettings(name="a", grounding="weights only")))
        for s in services
    ]
    with in_thread(apps[0]) as ours, in_thread(apps[1]) as theirs:
        # As on a slow machine: clients stop asking before their first answers are whole.
        capacity, *waits = bench.measured([Target(ours), Target(theirs)], bench.Size(0.1, 8, 1), rates)
    assert capacity["work"] == "16 clients that wait, over HTTP, 256 in, 128 out"
    assert [row["work"] for row in waits] == [
        f"Poisson arrivals, {some}, 256 in, 128 out: first token p99" for some in words
    ]
    assert capacity["theirs"] > 100, "whole answers count, not what came of them within 0.1 s"
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in (capacity, *waits))
    # Both were asked the same, and nothing twice but by the two sides.
    asked = [sorted(r.messages[-1].content for r in s.requests if r.sampling.max_tokens == 128) for s in services]
    assert all(len(texts) == len(set(texts)) for texts in asked)
    assert set(asked[1]) & set(asked[0])
