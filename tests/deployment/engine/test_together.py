"""Answers and prompts in one call of the native library: the same bits as each by itself, and the same answers."""

from __future__ import annotations

import random
from functools import partial
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.engine import stepping
from lamina.deployment.engine.adapters import EngineAdapter, fuse_adapter
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.native.binding import describe, open_library
from lamina.deployment.engine.place import Piece, Place
from lamina.deployment.engine.runner import Runner
from lamina.kit.errors import LaminaError
from lamina.model.adapters import read_adapter
from lamina.model.lora import add_lora, lora_parameters, save_lora
from lamina.testing import Answer

pytestmark = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")
BLOCK = 4
#: Tokens that a sequence has stored, how many come, and whether their scores are wanted.
SEQUENCES = st.lists(st.tuples(st.integers(0, 70), st.integers(1, 24), st.booleans()), min_size=1, max_size=7)


def made_adapter(run: Runner, folder: Path, tiny_model) -> EngineAdapter:
    model = tiny_model()
    add_lora(model, rank=4, alpha=8.0, targets=("q", "v", "o", "up", "down"))
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.normal_(std=0.25)
    save_lora(model, folder)
    spec = run.model.spec
    return fuse_adapter(read_adapter(folder, spec), spec.stack, name="odd", device=run.device)


@pytest.mark.parametrize("cache", [None, "float16", "int8"])
def test_pieces_are_computed_as_if_alone(cache, tiny_model, tmp_path) -> None:
    """Rows of adapters among them."""
    models = [quantize(tiny_model()) for _ in range(2)]
    both, apart = (
        Runner(model, blocks=180, block_tokens=BLOCK, context=100, kernels="native", cache=cache) for model in models
    )

    adapters = [None, made_adapter(both, tmp_path / "odd", tiny_model), None]

    @given(sequences=SEQUENCES, seed=st.integers(0, 999))
    @settings(max_examples=40, deadline=None)
    def check(sequences: list[tuple[int, int, bool]], seed: int) -> None:
        chance = random.Random(seed)
        ids = [chance.randrange(88) for _ in range(94)]
        blocks = chance.sample(range(180), 180)
        needed = [-(-(stored + size) // BLOCK) for stored, size, _ in sequences]
        tables = [tuple(blocks[end - count : end]) for end, count in zip(accumulate(needed), needed, strict=True)]
        pieces, expected = [], []
        for number, (table, (stored, size, scores)) in enumerate(zip(tables, sequences, strict=True)):
            adapter = adapters[(number + seed) % 3]
            for run in (both, apart):
                if stored:
                    run.prefill(ids[:stored], Place(table, 0, adapter), scores=False)
            piece = Piece(ids[stored : stored + size], Place(table, stored, adapter), scores)
            pieces.append(piece)
            found = apart.prefill(piece.tokens, piece.place, scores=scores)
            expected += [] if found is None else [found]
        told = both.together(pieces)
        assert len(told) == len(expected)
        assert all(torch.equal(*rows) for rows in zip(told, expected, strict=True))
        for table, (stored, size, _) in zip(tables, sequences, strict=True):  # what they stored, too
            after = Place(table, stored + size - 1)
            assert torch.equal(both.decode([5], [after]), apart.decode([5], [after]))

    check()


def test_neighbouring_places_of_two_sequences_are_not_taken_for_one(tiny_model) -> None:
    """Rows whose places follow each other by chance; the first block is shared, as a prefix is."""
    tables = [(7, 1, 2), (7, 3, 4), (7, 5, 6)]

    def filled() -> Runner:
        run = Runner(quantize(tiny_model()), blocks=8, block_tokens=BLOCK, context=16, kernels="native")
        for number, table in enumerate(tables):
            ids = [9, 8, 7, 6, *(20 * number + k for k in range(6))]
            run.prefill(ids, Place(table, 0), scores=False)
        return run

    pieces = [Piece([40 + n], Place(tables[n % 3], 5 + n)) for n in range(3)]
    pieces = [*pieces, *(Piece([50 + n] * 3, Place(table, 8)) for n, table in enumerate(tables))]
    run = filled()
    alone = [run.prefill(p.tokens, p.place, scores=True) for p in pieces]
    assert torch.equal(filled().together(pieces), torch.stack(alone))  # type: ignore[arg-type]


GREEDY = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)


@pytest.fixture
def engine(engine, tiny_model):
    return partial(engine, model=quantize(tiny_model()), kernels="native", max_sequences=5, chunk=16, wide_chunk=32)


def ask(engine: Engine, number: int) -> Answer:
    answer = Answer()
    engine.submit(f"r{number}", [(11 * number + 3 * k) % 80 for k in range(5 + 9 * number)], GREEDY, answer)
    return answer


def crowd(engine: Engine) -> list[list[int]]:
    """Prompts that come while others are answered."""
    with engine._wake:
        answers = [ask(engine, number) for number in range(8)]
    return [answer.tokens for answer in answers]


def test_a_step_of_answers_and_prompts_is_one_call(engine, monkeypatch) -> None:
    one = engine()
    alone = [ask(one, number).tokens for number in range(8)]
    one = engine()
    perform, calls = one._stepper.perform, []

    def counted(name: str):
        way = getattr(one._runner, name)

        def call(*given: object, **more: object):
            calls[-1][1].append(name)
            return way(*given, **more)

        return call

    def performed(step) -> None:
        calls.append((len(step.decode) + len(step.prefill), []))
        perform(step)

    for name in ("together", "decode", "prefill"):
        monkeypatch.setattr(one._runner, name, counted(name))
    monkeypatch.setattr(one._stepper, "perform", performed)
    assert crowd(one) == alone
    assert any(parts > 2 and names == ["together"] for parts, names in calls)
    assert all(len(names) == 1 for _, names in calls), "the weights are read once a step"


def test_where_it_fails_each_is_computed_by_itself(engine, monkeypatch) -> None:
    one = engine()
    alone = [ask(one, number).tokens for number in range(8)]
    one = engine()
    failed = []

    def broken(pieces: list[Piece]) -> torch.Tensor:
        failed.append(len(pieces))
        raise MemoryError

    monkeypatch.setattr(one._runner, "together", broken)
    assert crowd(one) == alone
    assert failed
    assert one._blocks.free == one._blocks.total


def test_prompts_that_were_read_together_are_found_again(engine) -> None:
    one = engine()
    first = crowd(one)
    again = [ask(one, number).wait() for number in range(8)]
    assert [answer.tokens for answer in again] == first
    whole = [(5 + 9 * number - 1) // 8 * 8 for number in range(8)]  # blocks of 8; the last token is always computed
    assert [answer.last.usage.cached_tokens for answer in again] == whole


def test_a_draw_that_fails_after_it_ends_the_one_that_is_to_blame(engine, monkeypatch) -> None:
    one, draw = engine(), stepping.draw_together
    alone = [ask(one, number).tokens for number in range(7)]

    def poisoned(scores, samplers, places, adjusts):
        if any(place > 70 for place in places):
            raise RuntimeError("poison")
        return draw(scores, samplers, places, adjusts)

    monkeypatch.setattr(stepping, "draw_together", poisoned)
    one = engine()
    with one._wake:
        answers = [ask(one, number) for number in range(8)]  # the last begins with 68 tokens
    *good, bad = answers
    assert isinstance(bad.ended, LaminaError)
    assert [answer.tokens for answer in good if answer is not answers[6]] == alone[:6]
    assert one._blocks.free == one._blocks.total
