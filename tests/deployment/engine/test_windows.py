"""Gemma 3: blocks that see a window shorter than the prompt, however the prompt and the answer are cut up."""

from __future__ import annotations

import random
import time

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.attending import first_seen
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.layer import check_served, is_plain
from lamina.deployment.engine.place import Paging, Place
from lamina.deployment.engine.runner import Runner
from lamina.deployment.engine.speculation import Speculation
from lamina.model.generate import greedy
from lamina.testing import Answer

ASKED = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


@pytest.fixture
def ask(tiny_model, tiny_tokenizer):
    """``ask(prompts, blocks=…, …)``: the answers of an engine, its sequences, and itself."""
    made: list[Engine] = []

    def run(prompts: list[list[int]], *, blocks: int | None = None, model=None, **options):
        sizes = {"kernels": "torch", "block_tokens": 4, "chunk": 8, "wide_chunk": 24, "max_sequences": 6} | options
        engine = Engine(model or tiny_model("gemma3"), tiny_tokenizer, version="v1", **sizes)
        made.append(engine)
        if blocks is not None:
            engine._blocks.restrict(blocks)
        return answered(engine, prompts)

    yield run
    for engine in made:
        engine.close()


def answered(engine: Engine, prompts: list[list[int]]):
    answers = [Answer() for _ in prompts]
    for prompt, answer in zip(prompts, answers, strict=True):
        engine.submit(f"r{time.monotonic_ns()}", prompt, ASKED, answer)
    seen = list(engine._live.values())
    return [answer.tokens for answer in answers], answers, seen, engine


def prompts(count: int = 6) -> list[list[int]]:
    """Of 30 to 80 tokens, two of three of which begin alike: the window of the model is 12."""
    chance = random.Random(2)
    stem = [chance.randrange(80) for _ in range(26)]
    rest = [[chance.randrange(80) for _ in range(chance.randrange(4, 54))] for _ in range(count)]
    return [[*stem, *more] if n % 3 else [*rest[0][:26], *more] for n, more in enumerate(rest)]


@pytest.fixture
def expected(tiny_model) -> list[list[int]]:
    """What the plain loop says."""
    found = [greedy(tiny_model("gemma3"), prompt, end=(), max_tokens=20) for prompt in prompts()]
    assert len({tuple(one) for one in found}) == len(found), "the model says the same to everybody"
    return found


def test_the_window_matters(tiny_model, expected) -> None:
    model = tiny_model("gemma3")
    shifted = [[9, 9, 9, *prompt[3:]] for prompt in prompts()]
    assert [greedy(model, prompt, end=(), max_tokens=20) for prompt in shifted] != expected, "what is far is seen"
    with torch.inference_mode():
        first, other = (model(torch.tensor([ids])) for ids in (prompts()[0], shifted[0]))
    assert not torch.equal(first[0, -1], other[0, -1])


@pytest.mark.parametrize("guess", [0, 4])
@pytest.mark.parametrize("deterministic", [False, True])
def test_answers_are_those_of_the_plain_loop(ask, expected, deterministic, guess, monkeypatch) -> None:
    """In chunks, batched, over prefixes that are there, by guesses."""
    monkeypatch.setattr(Speculation, "length", lambda *_: guess)
    found, _, _, engine = ask(prompts(), deterministic=deterministic)
    assert found == expected
    again, answers, _, _ = answered(engine, prompts())
    assert again == expected
    assert all(answer.last.usage.cached_tokens >= 24 for answer in answers)
    engine._blocks.check([])
    alone, *_ = ask(prompts()[:2], chunk=128, wide_chunk=128, max_sequences=1, deterministic=deterministic)
    assert alone == expected[:2], "whole"


def test_and_so_are_preempted_ones(ask, expected) -> None:
    found, _, seen, engine = ask(prompts(), blocks=48)
    assert found == expected
    assert sum(sequence.preemptions for sequence in seen) > 0
    engine._blocks.check([])


def test_and_those_of_int8_weights(ask, tiny_model) -> None:
    asked = prompts()[:3]
    plain = dequantize(quantize(tiny_model("gemma3")), torch.float32)
    found, *_ = ask(asked, model=quantize(tiny_model("gemma3")), kernels="auto")
    wanted = [greedy(plain, prompt, end=(), max_tokens=20) for prompt in asked]
    alike = [sum(a == b for a, b in zip(one, other, strict=True)) for one, other in zip(found, wanted, strict=True)]
    assert max(alike) >= 10, (found, wanted)


@pytest.mark.parametrize("deterministic", [False, True])
def test_scores_are_the_models(tiny_model, deterministic) -> None:
    """After a prompt in pieces of all kinds, and after each token behind it."""
    model, ids = tiny_model("gemma3"), prompts()[0][:60]
    with torch.inference_mode():
        wanted = model.logits(model(torch.tensor([ids])))[0]
    options = {"blocks": 20, "block_tokens": 4, "context": 80, "kernels": "torch", "deterministic": deterministic}
    runner = Runner(tiny_model("gemma3"), **options)
    blocks, stored = [*range(5), *range(12, 20), 7, 6], 0
    for piece in (5, 1, 20, 13):
        scores = runner.prefill(ids[stored : stored + piece], Place(blocks, stored), scores=True)
        stored += piece
        torch.testing.assert_close(scores, wanted[stored - 1], rtol=0, atol=1e-4)
    for at in range(stored, len(ids)):
        torch.testing.assert_close(runner.decode([ids[at]], [Place(blocks, at)])[0], wanted[at], rtol=0, atol=1e-4)


def test_only_torch_computes_it(tiny_model) -> None:
    model = tiny_model("gemma3")
    check_served(model.spec)
    assert not any(is_plain(block) for block in model.spec.stack.blocks)
    for kernels in ("native", "compiled", "auto"):
        runner = Runner(quantize(tiny_model("gemma3")), blocks=8, block_tokens=4, context=32, kernels=kernels)
        assert runner.kernels == "torch"


def test_a_view_begins_where_the_window_does() -> None:
    assert [first_seen(end, 12) for end in (1, 12, 13, 40)] == [0, 0, 1, 28]
    assert first_seen(40, None) == 0
    paging = Paging(4, torch.device("cpu"))
    beside, apart = Place([5, 6, 7], 0), Place([5, 9, 2], 0)
    assert paging.view(beside, 11, 6) == slice(26, 31)
    assert paging.view(apart, 11, 6).tolist() == [38, 39, 8, 9, 10]
    assert paging.view(apart, 11, 8) == slice(8, 11), "blocks that are left behind do not count"
