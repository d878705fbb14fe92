"""``deterministic``: the same request gets the same bits, whatever else is asked, and however it is cut up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from lamina.contracts.inference import SamplingParams
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.engine.adapters import fuse_adapter
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.native.binding import describe, open_library
from lamina.deployment.engine.speculation import Speculation
from lamina.model.adapters import read_adapter
from lamina.model.lora import add_lora, lora_parameters, save_lora
from lamina.testing import Answer

NATIVE_HERE = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")


class Exactly(Answer):
    """An answer to the last bit of its log-probabilities."""

    @property
    def bits(self) -> tuple[object, ...]:
        told = [(p.token, p.logprob, p.top) for chunk in self.chunks for p in chunk.logprobs]
        return (tuple(told), self.last.finish_reason, self.last.mean_logprob, self.last.mean_entropy)


def requests() -> list[tuple[list[int], SamplingParams, bool]]:
    """Prompts of which some begin alike, greedy and drawn, with and without an adapter."""
    chance = random.Random(5)
    stems = [[chance.randrange(80) for _ in range(n)] for n in (24, 33)]
    asked = []
    for number in range(8):
        stem = stems[number % 3] if number % 3 < 2 else []
        prompt = stem + [chance.randrange(80) for _ in range(chance.randrange(1, 30))]
        how = {"temperature": 0.0} if number % 2 else {"temperature": 0.8, "top_p": 0.9}
        how |= {"seed": number} if number % 4 else {}
        sampling = SamplingParams(max_tokens=6 + number, ignore_eos=True, logprobs=2, **how)
        asked.append((prompt, sampling, number % 3 == 0))
    return asked


@pytest.fixture
def run(tiny_model, tiny_tokenizer, tmp_path, monkeypatch):
    """``run(kernels, int8, order, …)``: the bits of all requests, and how often one was preempted."""
    adapted = tiny_model()
    add_lora(adapted, rank=3, alpha=6.0)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in lora_parameters(adapted):
            parameter.normal_(std=0.25)
    save_lora(adapted, tmp_path)

    def run(
        kernels: str, int8: bool, order: list[list[int]], *, blocks: int = 200, guess: int = 0, **options
    ) -> tuple[list[object], int]:
        monkeypatch.setattr(Speculation, "length", lambda *_: guess)
        model = quantize(tiny_model()) if int8 else tiny_model()
        options = {"deterministic": True, "block_tokens": 8, "max_sequences": 6} | options
        engine = Engine(model, tiny_tokenizer, version="v1", kernels=kernels, **options)
        try:
            engine._blocks.restrict(blocks)
            spec = engine.runner.model.spec
            adapter = fuse_adapter(
                read_adapter(Path(tmp_path), spec), spec.stack, name="a", device=engine.runner.device
            )
            asked, answers, seen = requests(), {}, []
            for together in order:
                for number in together:
                    prompt, sampling, with_adapter = asked[number]
                    answers[number] = Exactly()
                    given = {"adapter": adapter} if with_adapter else {}
                    engine.submit(f"r{number}", prompt, sampling, answers[number], **given)
                seen += list(engine._live.values())
                for number in together:
                    assert answers[number].bits
            return [answers[n].bits for n in sorted(answers)], sum(s.preemptions for s in seen)
        finally:
            engine.close()

    return run


ALONE = [[n] for n in range(8)]
WAYS = [
    pytest.param("auto", True, {}, id="native", marks=NATIVE_HERE),
    pytest.param("auto", True, {"cache": "int8"}, id="native, int8 keys", marks=NATIVE_HERE),
    pytest.param("auto", True, {"cache": "float16"}, id="native, float16 keys", marks=NATIVE_HERE),
    pytest.param("torch", True, {"cache": "int8"}, id="torch int8, int8 keys"),
    pytest.param("torch", False, {}, id="torch float32"),
]


@pytest.mark.parametrize(("kernels", "int8", "how"), WAYS)
def test_bits_depend_on_the_request_alone(run, kernels: str, int8: bool, how: dict[str, object]) -> None:
    """One by one against: all at once in other chunks; few blocks, so that some are preempted; over prefixes that are
    there; with guesses, few at a time."""
    quiet, _ = run(kernels, int8, ALONE, **how)
    assert len(set(quiet)) == 8
    order = random.Random(3).sample(range(8), 8)
    crowd, _ = run(kernels, int8, [order], chunk=8, wide_chunk=24, **how)
    assert crowd == quiet
    narrow, preempted = run(kernels, int8, [order[::-1]], blocks=16, chunk=16, **how)
    assert preempted
    assert narrow == quiet
    again, _ = run(kernels, int8, [ALONE[5] + ALONE[3], order], guess=4, max_sequences=2, **how)
    assert again == quiet


def test_without_a_seed_chance_decides_unless_it_is_deterministic(run) -> None:
    drawn = [run("torch", False, [[0]], deterministic=way)[0] for way in (True, True, False, False)]
    assert drawn[0] == drawn[1]
    assert drawn[2] != drawn[3]
