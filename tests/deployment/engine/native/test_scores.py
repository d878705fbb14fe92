"""What drawing asks of scores is the same at every level of instructions, and without the library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.drawing import draw_at_once
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native.scores import Summary, shares_of, summarize
from lamina.deployment.engine.sampling import Sampler
from lamina.kit.errors import LaminaError

LEVELS = ["off", *(native.LEVELS[: native.best_level(-1) + 1] if native.open_library() is not None else ())]
SIZES = (1, 3, 7, 8, 9, 31, 1023, 1024, 1025, 5000)


def made(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4, size).astype(np.float32)


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch) -> str:
    monkeypatch.setenv("LAMINA_NATIVE_LEVEL", request.param)
    return request.param


@pytest.mark.parametrize("size", SIZES)
def test_a_summary_is_that_of_the_distribution(level: str, size: int) -> None:
    scores = made(size, seed=size)
    if size > 2:
        scores[size // 2] = -math.inf
        scores[[1, -1]] = scores.max() + 1  # the greatest twice
    wide = scores.astype(np.float64)
    shares = np.exp(wide - wide.max())
    normed = shares / shares.sum()
    found = Summary.of(summarize(np.stack([made(size), scores]))[1])
    assert (found.greatest, found.likeliest) == (scores.max(), int(scores.argmax()))
    assert found.mass == pytest.approx(shares.sum(), rel=1e-6)
    assert found.entropy == pytest.approx(-(normed * np.log(np.maximum(normed, 1e-300))).sum(), abs=1e-5)
    assert found.logprob(float(scores[0])) == pytest.approx(math.log(normed[0]), abs=1e-5)


@pytest.mark.parametrize("size", [5, 2000])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_no_number_is_told_wherever_it_stands(level: str, size: int, wrong: float) -> None:
    for place in (0, size // 2, size - 1):
        scores = made(size)
        scores[place] = wrong
        broken, whole = summarize(np.stack([scores, made(size)]))
        with pytest.raises(LaminaError, match="not numbers"):
            Summary.of(broken)
        assert Summary.of(whole).mass >= 1.0, "the other row's facts are its own"
    with pytest.raises(LaminaError, match="not numbers"):
        Summary.of(summarize(np.full((1, size), -np.inf, np.float32))[0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_shares_are_relative_to_the_likeliest(level: str, size: int, temperature: float) -> None:
    scores = made(size, seed=size)
    scores[0] = -math.inf if size > 1 else 1.0
    wide = scores.astype(np.float64)
    expected = np.exp((wide - wide.max()) / temperature)
    np.testing.assert_allclose(shares_of(scores, temperature), expected, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-30, 1e-6])
def test_however_cold_the_likeliest_is_left(level: str, temperature: float) -> None:
    scores = torch.tensor([1.0, 3.0, 2.0, -math.inf])
    sampler = Sampler.settle(SamplingParams(temperature=temperature), {})
    assert {sampler.draw(scores.numpy(), place).token for place in range(20)} == {1}
    assert [drawn.token for drawn in draw_at_once(scores[None], [sampler], [0], [None])] == [1]


def test_where_nothing_is_possible_it_is_told(level: str) -> None:
    for temperature in (0.0, 1.0):
        sampler = Sampler.settle(SamplingParams(temperature=temperature), {})
        with pytest.raises(LaminaError, match="no token is possible"):
            sampler.draw(np.zeros(5, np.float32), 0, lambda scores: scores - math.inf)
