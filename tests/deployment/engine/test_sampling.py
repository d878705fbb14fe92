from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.sampling import Sampler, uniform
from lamina.deployment.engine.sequence import StopText
from lamina.kit.errors import LaminaError


def sampler(**fields) -> Sampler:
    return Sampler.settle(SamplingParams(**fields), {})


def shares(chosen: Sampler, logits: torch.Tensor, count: int = 4000) -> dict[int, float]:
    row = logits.numpy()
    return {t: n / count for t, n in Counter(chosen.draw(row, place).token for place in range(count)).items()}


def test_what_the_request_leaves_open_the_model_settles() -> None:
    generation = {"temperature": 0.3, "top_p": 0.8, "top_k": 7}
    assert Sampler.settle(SamplingParams(), generation).temperature == 0.3
    assert Sampler.settle(SamplingParams(), generation).top_k == 7
    assert Sampler.settle(SamplingParams(temperature=0.0, top_p=1.0, top_k=2), generation).top_p == 1.0
    assert Sampler.settle(SamplingParams(), {"do_sample": False, "temperature": 0.3}).temperature == 0.0
    neutral = Sampler.settle(SamplingParams(), {"top_k": 0})
    assert (neutral.temperature, neutral.top_p, neutral.top_k) == (1.0, 1.0, None)
    assert neutral.seed != Sampler.settle(SamplingParams(), {}).seed


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    found = shares(sampler(temperature=0.5, seed=1), logits)
    expected = torch.softmax(logits / 0.5, dim=0)
    for token in range(4):
        assert found.get(token, 0.0) == pytest.approx(float(expected[token]), abs=0.02)


def test_top_k_and_top_p_cut_the_tail() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    assert set(shares(sampler(temperature=1.0, top_k=2, seed=1), logits)) == {0, 1}
    assert set(shares(sampler(temperature=1.0, top_p=0.6, seed=1), logits)) == {0, 1}
    assert set(shares(sampler(temperature=1.0, top_p=0.4, seed=1), logits)) == {0}
    kept = shares(sampler(temperature=1.0, top_p=0.9, seed=3), logits)
    assert set(kept) == {0, 1, 2}
    assert kept[0] == pytest.approx(0.5 / 0.95, abs=0.03)


def test_top_p_beyond_the_candidates_sorts_the_whole_vocabulary() -> None:
    logits = torch.zeros(2000)
    seen = shares(sampler(temperature=1.0, top_p=0.9, seed=1), logits, 6000)
    assert len(seen) > 1500


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from([5, 300, 3000]),
    allowed=st.integers(1, 40),
    number=st.floats(0.0, 1.0, exclude_max=True),
    top_k=st.sampled_from([None, 1, 3, 50, 2500]),
    top_p=st.sampled_from([1.0, 0.9, 0.01]),
    min_p=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
def test_what_is_drawn_is_possible_and_within_its_share(size, allowed, number, top_k, top_p, min_p, seed) -> None:
    """Against the cuts made one after another on the whole sorted vocabulary, of which most is impossible."""
    chance = np.random.default_rng(seed)
    scores = np.full(size, -np.inf, np.float32)
    possible = chance.permutation(size)[:allowed]
    scores[possible] = chance.normal(0, 3, len(possible))
    token = sampler(temperature=0.7, top_k=top_k, top_p=top_p, min_p=min_p, seed=1)._sample(scores, number)
    wide = scores.astype(np.float64) / 0.7
    shares = np.exp(wide - wide.max())
    order = np.argsort(-shares, kind="stable")[: top_k or size]
    kept = order[shares[order] >= min_p]
    before = shares[order].cumsum() - shares[order]
    kept = kept[before[: len(kept)] < top_p * shares[order].sum() * (1 + 1e-5)]
    assert scores[token] > -np.inf
    assert token in kept
    if top_k is None and top_p == 1.0 and not min_p:  # in the vocabulary's order
        kept = np.sort(kept)
    ends = shares[kept].cumsum()
    place = int(np.flatnonzero(kept == token)[0])
    value, slack = number * ends[-1], 1e-4 * ends[-1]
    if top_p == 1.0 and (top_k is not None or not min_p):
        assert ends[place] - shares[token] - slack <= value <= ends[place] + slack


@given(seed=st.integers(0, 2**63 - 1), place=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_the_generator_counts(seed: int, place: int) -> None:
    value = uniform(seed, place)
    assert 0.0 <= value < 1.0
    assert value == uniform(seed, place)
    assert value != uniform(seed, place + 1)


def test_logprobs_and_entropy_are_of_the_models_own_distribution() -> None:
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1]))
    drawn = sampler(temperature=0.0, logprobs=2).draw(logits.numpy(), 5)
    assert drawn.token == 0
    assert drawn.logprob == pytest.approx(math.log(0.7), abs=1e-6)
    assert drawn.entropy == pytest.approx(-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)), abs=1e-6)
    assert drawn.top is not None
    assert [t for t, _ in drawn.top] == [0, 1]
    impossible = torch.tensor([0.0, -math.inf])
    assert sampler(temperature=1.0).draw(impossible.numpy(), 0).entropy == pytest.approx(0.0)


def test_scores_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(LaminaError, match="not numbers"):
        sampler().draw(torch.tensor([0.0, math.nan]).numpy(), 0)


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(st.text("ab.", max_size=4), max_size=10),
    stops=st.lists(st.text("ab.", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_strings_however_the_text_is_cut(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    places = [p for p in (whole.find(s) for s in stops) if p >= 0]
    stop = StopText(tuple(stops))
    shown, reached = "", False
    for piece in pieces:
        text, reached = stop.push(piece)
        shown += text
        assert whole.startswith(shown)
        if reached:
            break
    if not reached:
        shown += stop.finish()
        assert not places
        assert shown == whole
    else:
        assert shown in {whole[: whole.find(s)] for s in stops if s in whole}
        assert not any(s in shown for s in stops)


@given(seed=st.integers(0, 2**63 - 1), place=st.integers(0, 2**31))
def test_a_number_is_philoxs_for_its_seed_and_place(seed: int, place: int) -> None:
    fresh = int(np.random.Philox(key=seed, counter=place).random_raw())
    assert [uniform(seed, place) for _ in range(2)] == [(fresh >> 11) * 2.0**-53] * 2
