"""Keys and values in int8: the same answers however a prompt is cut and whoever is asked beside, near float32's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.compress.quantize import dequantize, quantize
from lamina.deployment.engine.cache import Cache, bytes_per_token, narrowed
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.native.binding import LEVELS, best_level, describe, open_library
from lamina.deployment.engine.place import Place
from lamina.deployment.engine.runner import Runner
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.gguf.convert import import_gguf

NATIVE_HERE = pytest.mark.skipif(open_library() is None, reason=f"native kernels: {describe()}")
IDS = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 23, 8, 9, 71, 70, 69, 1, 44, 6] * 14
SCATTERED = tuple(range(79, -1, -1))
KERNELS = ["torch", pytest.param("native", marks=NATIVE_HERE)]


def runner(model: Any, kernels: Any, cache: Cache = "int8") -> Runner:
    made = Runner(model, blocks=80, block_tokens=4, context=320, kernels=kernels, cache=cache)
    assert made.kernels == kernels
    return made


def in_pieces(run: Runner, rows: int, length: int) -> torch.Tensor:
    """The scores after ``length`` tokens that are computed ``rows`` at a time."""
    for start in range(0, length, rows):
        scores = run.prefill(IDS[start : min(start + rows, length)], Place(SCATTERED, start), scores=True)
    assert scores is not None
    return scores


def test_a_head_is_as_near_as_half_a_step_of_its_own() -> None:
    heads = torch.randn(7, 3, 16) * torch.logspace(-3, 3, 7)[:, None, None]
    heads[2, 1] = 0.0
    numbers, scales = narrowed(heads)
    assert numbers.dtype == torch.int8
    assert bool(((numbers * scales[..., None] - heads).abs() <= scales[..., None] * 0.5001).all())
    assert int(numbers[2, 1].abs().max()) == 0
    assert bool((numbers.abs().amax(-1) == 127)[heads.abs().amax(-1) > 0].all())


@NATIVE_HERE
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_scores_are_torchs_at_each_level_and_their_bits_do_not_depend_on_the_cut(
    family, tiny_model, monkeypatch
) -> None:
    """Also beyond the tokens that are attended to in one go, and by rows as by spans."""
    plain = dequantize(quantize(tiny_model(family, positions=320)), torch.float32)
    expected = {n: in_pieces(runner(plain, "torch"), 64, n) for n in (21, 299)}
    for level in LEVELS[: best_level(-1) + 1]:
        monkeypatch.setenv("LAMINA_NATIVE_LEVEL", level)
        for length, truth in expected.items():
            seen = []
            for rows in (1, 4, 8, 23, 32):
                run = runner(quantize(tiny_model(family, positions=320)), "native")
                seen.append(in_pieces(run, rows, length))
                run.close()
            assert all(torch.equal(seen[0], other) for other in seen[1:])
            torch.testing.assert_close(seen[0], truth, rtol=0, atol=0.05)


@pytest.mark.parametrize("kernels", KERNELS)
def test_scores_are_near_those_of_float32(kernels, tiny_model) -> None:
    found = []
    for cache in (None, "int8"):
        run = runner(quantize(tiny_model(positions=320)), kernels, cache)  # type: ignore[arg-type]
        found.append(in_pieces(run, 64, 299))
        found.append(run.decode([7], [Place(SCATTERED, 299)])[0])
        run.close()
    for exact, near in zip(found[:2], found[2:], strict=True):
        assert not torch.equal(exact, near)
        torch.testing.assert_close(near, exact, rtol=0, atol=0.25)


def test_four_times_the_tokens_but_for_the_scales(tiny_model) -> None:
    model = tiny_model()  # two layers of two key-value heads of 16
    assert bytes_per_token(model, None) == bytes_per_token(model, "float32") == 2 * 2 * 2 * 16 * 4
    assert bytes_per_token(model, "int8") == 2 * 2 * 2 * (16 + 4)
    layer = runner(model, "torch")._layers[0]
    assert layer.scales is not None
    assert layer.store.nbytes + layer.scales.nbytes == 320 * bytes_per_token(model, "int8") // 2


@NATIVE_HERE
def test_a_poisoned_row_is_alone_with_it(tiny_model) -> None:
    model = quantize(tiny_model())
    model.stack.embeddings.token.scale[5] = float("nan")
    run = runner(model, "native")
    scores = run.decode([5, 6], [Place((0,), 0), Place((1,), 0)])
    assert bool(torch.isnan(scores[0]).all())
    assert torch.isnan(scores[1]).nonzero().tolist() == [[5]], "the head shares the token's scale"


@NATIVE_HERE
@pytest.mark.material
def test_a_real_model_loses_next_to_nothing(material, tmp_path) -> None:
    """SmolLM2-135M over 192 tokens of a novel: perplexity within half a percent of that with float32."""
    import_gguf(next(material("smollm2").rglob("*.gguf")), tmp_path)
    text = next(material("moby-dick").rglob("data.txt")).read_text()[20_000:22_000]
    ids = open_tokenizer(tmp_path).encode(text)[:193]
    model = quantize(open_model(tmp_path))
    nats = []
    for cache in (None, "int8"):
        run = Runner(model, blocks=12, block_tokens=16, context=192, kernels="native", cache=cache)  # type: ignore[arg-type]
        scores = torch.cat([run.check(ids[n : n + 32], Place(range(12), n)) for n in range(0, 192, 32)])
        nats.append(float(F.cross_entropy(scores, torch.tensor(ids[1:]))))
        run.close()
    assert math.exp(nats[1] - nats[0]) < 1.005


class Answer:
    """What an engine delivers for one request."""

    def __init__(self, engine: Engine, id: str, prompt: list[int]) -> None:
        self.chunks: list[Chunk] = []
        self.ended = False
        engine.submit(id, prompt, SamplingParams(temperature=0.0, max_tokens=24), self._take)

    def _take(self, item: Any) -> None:
        self.chunks.append(item)

    @property
    def done(self) -> bool:
        return bool(self.chunks) and (not isinstance(self.chunks[-1], Chunk) or bool(self.chunks[-1].finish_reason))


@pytest.mark.parametrize("kernels", KERNELS)
def test_greedy_answers_do_not_depend_on_batches_pieces_prefixes_or_preemption(
    kernels, tiny_model, tiny_tokenizer
) -> None:
    generator = torch.Generator().manual_seed(7)
    asked = [torch.randint(0, 80, (n,), generator=generator).tolist() for n in (1, 9, 17, 24, 29, 13)]
    asked += [[*asked[4], *more] for more in asked[:3]]

    def tokens(few_blocks: bool = False, **options: Any) -> list[list[int]]:
        options = {"max_sequences": 6, "block_tokens": 4, "context": 96} | options
        # torch's int8 kernel for single tokens is another one than that for prompts
        model = quantize(tiny_model()) if kernels == "native" else tiny_model()
        engine = Engine(model, tiny_tokenizer, version="v1", kernels=kernels, cache="int8", **options)
        if few_blocks:
            engine._blocks._free = dict.fromkeys(range(24))
            engine._blocks.total = 24
        try:
            answers = [Answer(engine, str(i), prompt) for i, prompt in enumerate(asked)]
            wait_for(lambda: all(a.done for a in answers))
            return [[t for chunk in a.chunks for t in chunk.tokens] for a in answers]
        finally:
            engine.close()

    alone = tokens(max_sequences=1)
    assert len({tuple(t) for t in alone}) > 5, "the model says the same to everybody"
    assert tokens(chunk=4, wide_chunk=8) == alone
    assert tokens(few_blocks=True) == alone


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "no answer"
        time.sleep(0.005)
