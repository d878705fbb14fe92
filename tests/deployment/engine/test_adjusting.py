"""Each rule against the processors of ``transformers``, and what an answer is drawn from when several hold."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from lamina.contracts.inference import SamplingParams
from lamina.deployment.engine.adjusting import Adjuster, Rules
from lamina.deployment.engine.drawing import draw_at_once, draw_together
from lamina.deployment.engine.sampling import Sampler
from lamina.kit.errors import InputError, LaminaError

WORDS = 40


def adjuster(tokens: list[int], prompt: int, *, ends: frozenset[int] = frozenset(), **asked: object) -> Adjuster:
    rules = Rules.settle(SamplingParams(**asked), {}, WORDS)  # type: ignore[arg-type]
    return Adjuster(rules, tokens, prompt, ends=ends)


def scores(seed: int) -> torch.Tensor:
    return 3 * torch.randn(WORDS, generator=torch.Generator().manual_seed(seed))


tokens = st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=12)
seeds = st.integers(0, 10_000)


@settings(max_examples=60, deadline=None)
@given(said=tokens, seed=seeds, penalty=st.floats(0.5, 2.0))
def test_repetition_is_that_of_transformers(said, seed, penalty) -> None:
    row = scores(seed)
    expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([said]), row[None].clone())[0]
    ours = adjuster(said, len(said) // 2, repetition_penalty=penalty)(row)
    torch.testing.assert_close(ours, expected)


@settings(max_examples=60, deadline=None)
@given(said=tokens, seed=seeds, presence=st.floats(-2, 2), frequency=st.floats(-2, 2), prompt=st.integers(0, 12))
def test_presence_and_frequency_are_openais_formula(said, seed, presence, frequency, prompt) -> None:
    prompt = min(prompt, len(said))
    row, counts = scores(seed), Counter(said[prompt:])
    expected = row.clone()
    for token, count in counts.items():
        expected[token] -= count * frequency + presence
    ours = adjuster(said, prompt, presence_penalty=presence, frequency_penalty=frequency)(row)
    torch.testing.assert_close(ours, expected)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, bias=st.dictionaries(st.integers(0, WORDS - 1), st.floats(-100, 100), min_size=1, max_size=5))
def test_bias_is_that_of_transformers(seed, bias) -> None:
    row = scores(seed)
    processor = theirs.SequenceBiasLogitsProcessor({(token,): float(value) for token, value in bias.items()})
    expected = processor(torch.tensor([[1, 2]]), row[None].clone())[0]
    torch.testing.assert_close(adjuster([1, 2], 1, logit_bias=tuple(bias.items()))(row), expected)


def test_ends_wait_for_the_least_length_as_in_transformers() -> None:
    processor = theirs.MinNewTokensLengthLogitsProcessor(2, 3, torch.tensor([4, 7]), device="cpu")
    said = [1, 2]
    ours = adjuster(said, 2, ends=frozenset({4, 7}), min_tokens=3)
    for place in range(5):
        row = scores(place)
        torch.testing.assert_close(ours(row), processor(torch.tensor([said]), row[None].clone())[0])
        said.append(5)


def test_an_answer_that_grows_is_counted_once() -> None:
    """Step by step, or read at once after an interruption: the same scores."""
    asked = {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.2, "logit_bias": ((3, 2.0),)}
    said = [3, 9]
    one = adjuster(said, 2, **asked)
    for step, token in enumerate([5, 5, 3, 11, 5]):
        row = scores(step)
        before = row.clone()
        again = adjuster(list(said), 2, **asked)
        torch.testing.assert_close(one(row), again(row))
        assert torch.equal(row, before), "the model's own scores stay"
        said.append(token)


def cut(asked: SamplingParams, row: torch.Tensor) -> torch.Tensor:
    """The distribution that ``transformers`` draws from."""
    ids = torch.tensor([[0]])
    out = row[None].clone()
    if asked.temperature:
        out = theirs.TemperatureLogitsWarper(asked.temperature)(ids, out)
    if asked.top_k:
        out = theirs.TopKLogitsWarper(asked.top_k)(ids, out)
    if asked.top_p and asked.top_p < 1:
        out = theirs.TopPLogitsWarper(asked.top_p)(ids, out)
    if asked.min_p:
        out = theirs.MinPLogitsWarper(asked.min_p)(ids, out)
    return out.softmax(-1)[0]


CUTS = [
    {"min_p": 0.1},
    {"min_p": 0.3, "top_k": 8},
    {"min_p": 0.05, "top_p": 0.8},
    {"top_k": 12, "top_p": 0.7, "min_p": 0.02},
    {"top_k": 5},
    {"top_p": 0.6},
    {"temperature": 1.7},
]


@pytest.mark.parametrize("fields", CUTS, ids=str)
@pytest.mark.parametrize("together", [False, True])
def test_draws_follow_the_distribution_that_transformers_cuts(fields, together) -> None:
    asked = SamplingParams(**{"temperature": 0.9, "seed": 5} | fields)
    sampler, row, count = Sampler.settle(asked, {}), scores(3), 2000
    expected = cut(asked, row)
    if together:
        drawn = draw_at_once(row.expand(count, -1), [sampler] * count, range(count), [None] * count)
    else:
        drawn = draw_together(row.expand(count, -1), [sampler] * count, range(count))
    found = torch.zeros(WORDS)
    for one in drawn:
        found[one.token] += 1 / count
    assert set(found.nonzero().flatten().tolist()) <= set(expected.nonzero().flatten().tolist())
    assert float((found - expected).abs().sum() / 2) < 0.05, "total variation"


def test_a_row_alone_is_adjusted_and_fails_alone() -> None:
    def broken(row: torch.Tensor) -> torch.Tensor:
        raise LaminaError("no token may come")

    rows = torch.stack([scores(1), scores(1), scores(1)])
    samplers = [Sampler.settle(SamplingParams(temperature=0.0, logprobs=1), {})] * 3
    best = int(rows[0].argmax())
    banned = adjuster([0], 1, logit_bias=((best, -100.0),))
    for draw in (draw_together, draw_at_once):
        plain, adjusted, failed = draw(rows, samplers, [1, 1, 1], [None, banned, broken])
        assert plain.token == best
        assert adjusted.token == int(rows[1].topk(2).indices[1])
        assert adjusted.top[0][0] == best, "log-probabilities are the model's own"
        assert adjusted.logprob == pytest.approx(float(rows[1].log_softmax(0)[adjusted.token]), abs=1e-5)
        assert isinstance(failed, LaminaError)


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"repetition_penalty": math.nan}, "repetition_penalty"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"frequency_penalty": math.nan}, "frequency_penalty"),
        ({"logit_bias": ((WORDS, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((-1, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((1, math.inf),)}, "logit_bias"),
        ({"logit_bias": tuple((0, 1.0) for _ in range(1025))}, "logit_bias"),
        ({"min_tokens": -1}, "min_tokens"),
    ],
)
def test_values_that_cannot_be_are_refused(asked, where) -> None:
    with pytest.raises(InputError) as raised:
        adjuster([1], 1, **asked)
    assert raised.value.where == where


def test_the_models_own_penalty_holds_where_the_request_names_none() -> None:
    assert Rules.settle(SamplingParams(), {"repetition_penalty": 1.1}, WORDS).repetition == 1.1
    assert Rules.settle(SamplingParams(repetition_penalty=1.0), {"repetition_penalty": 1.1}, WORDS).idle
    assert Sampler.settle(SamplingParams(), {"min_p": 0.2}).min_p == 0.2
    with pytest.raises(InputError):
        Sampler.settle(SamplingParams(min_p=1.5), {})
