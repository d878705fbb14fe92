"""Rows drawn together by a few large operations get the tokens that each would get alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lamina.deployment.engine import drawing
from lamina.deployment.engine.drawing import draw_at_once, summarize
from lamina.deployment.engine.sampling import Drawn, Sampler
from lamina.kit.errors import LaminaError

PLAIN: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": None, "logprobs": None}
WAYS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.6},
    {"min_p": 0.05},
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 2000, "top_p": 0.8},
    {"top_p": 0.5},
    {"top_p": 0.95, "temperature": 0.8},
    {"top_p": 0.9, "top_k": 50, "min_p": 0.02},
    {"top_p": 0.999},
    {"temperature": 0.0, "logprobs": 3},
]


def drawn_alone(scores: torch.Tensor, given: list[Sampler], places: list[int]) -> list[Drawn]:
    return [s.draw(row, place) for row, s, place in zip(scores.numpy(), given, places, strict=True)]


def assert_as_alone(spread: float, device: str) -> None:
    torch.manual_seed(3)
    for turn in range(20):
        scores = spread * torch.randn(len(WAYS), 3000)
        if turn % 4 == 0:
            scores = scores.round(decimals=1)  # many are alike
        given = [Sampler(**PLAIN | way, seed=turn) for way in WAYS]
        places = [turn + n for n in range(len(WAYS))]
        together = draw_at_once(scores.to(device), given, places, [None] * len(WAYS))
        for found, alone in zip(together, drawn_alone(scores, given, places), strict=True):
            assert isinstance(found, Drawn)
            assert found.token == alone.token
            assert found.logprob == pytest.approx(alone.logprob, abs=1e-4)
            assert found.entropy == pytest.approx(alone.entropy, abs=1e-3)
            values = [value for _, value in alone.top or ()]
            assert [value for _, value in found.top or ()] == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0], ids=["flat", "usual", "sure"])
@pytest.mark.parametrize("few", [64, 4096], ids=["of-few", "of-all"])
def test_together_as_alone(monkeypatch, spread: float, few: int) -> None:
    monkeypatch.setattr(drawing, "_FEW", few)
    assert_as_alone(spread, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0], ids=["flat", "usual", "sure"])
def test_together_on_a_gpu_as_alone(spread: float) -> None:
    assert_as_alone(spread, "cuda")


def test_few_are_looked_at_where_they_are_enough(monkeypatch) -> None:
    torch.manual_seed(4)
    monkeypatch.setattr(torch.Tensor, "sort", None)  # the whole vocabulary is not sorted
    scores = 4 * torch.randn(3, 5000)
    given = [Sampler(**PLAIN | way, seed=1) for way in ({"top_p": 0.9}, {"top_k": 20}, {"temperature": 0.7})]
    assert all(isinstance(found, Drawn) for found in draw_at_once(scores, given, [0, 1, 2], [None] * 3))


def test_one_row_changed_alone() -> None:
    torch.manual_seed(5)
    scores = torch.randn(3, 50)
    given = [Sampler(**PLAIN | {"temperature": 0.0}, seed=0)] * 3

    def only_seven(row: torch.Tensor) -> torch.Tensor:
        return torch.full_like(row, float("-inf")).index_fill_(0, torch.tensor([7]), 0.0)

    found = draw_at_once(scores, given, [0, 0, 0], [None, only_seven, None])
    tokens = [drawn.token for drawn in found if isinstance(drawn, Drawn)]
    assert tokens == [int(scores[0].argmax()), 7, int(scores[2].argmax())]
    seven = found[1]
    assert isinstance(seven, Drawn)
    assert seven.logprob == pytest.approx(float(torch.log_softmax(scores[1], -1)[7]), abs=1e-5)


def test_a_row_of_which_nothing_is_possible_fails_alone() -> None:
    scores = torch.randn(3, 50)
    given = [Sampler(**PLAIN | way, seed=0) for way in ({}, {"temperature": 0.0}, {"top_p": 0.5})]
    nothing = [lambda row: torch.full_like(row, float("-inf"))] * 3
    for found in draw_at_once(scores, given, [0] * 3, nothing):
        assert isinstance(found, LaminaError)
        assert "no token is possible" in found.what
    found = draw_at_once(scores, given, [0] * 3, [None, nothing[0], None])
    assert [isinstance(drawn, Drawn) for drawn in found] == [True, False, True]


def test_rows_that_are_no_numbers_fail_alone() -> None:
    scores = torch.randn(4, 2000)
    scores[2, 100] = float("nan")
    given = [Sampler(**PLAIN | way, seed=0) for way in ({}, {"top_p": 0.5}, {"top_p": 0.5}, {"temperature": 0.0})]
    found = draw_at_once(scores, given, [0] * 4, [None] * 4)
    assert isinstance(found[2], LaminaError)
    assert [isinstance(found[n], Drawn) for n in (0, 1, 3)] == [True] * 3


def test_tokens_that_are_impossible_add_nothing() -> None:
    scores = torch.full((1, 8), float("-inf"))
    scores[0, 3], scores[0, 5] = 1.0, 2.0
    token, logprob, entropy, whole = summarize(scores)[0].tolist()
    expected = torch.tensor([1.0, 2.0]).log_softmax(-1)
    assert token == 5
    assert logprob == pytest.approx(float(expected[1]))
    assert entropy == pytest.approx(float(-(expected.exp() * expected).sum()))
    assert whole == pytest.approx(float(torch.tensor([1.0, 2.0]).logsumexp(0)))
