"""Keys and values in half precision and in int8: the same answers however a prompt is cut and whoever is asked beside,
near float32's."""

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
from lamina.deployment.engine.cache import Cache, bytes_per_token, halved, narrowed
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
KINDS: tuple[Cache, ...] = ("float16", "int8")


def runner(model: Any, kernels: Any, cache: Cache, context: int = 320) -> Runner:
    made = Runner(model, blocks=80, block_tokens=4, context=context, kernels=kernels, cache=cache)
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


def test_halves_are_the_nearest_and_never_infinite() -> None:
    heads = torch.randn(9, 3, 16) * torch.logspace(-8, 7, 9)[:, None, None]
    near = heads.abs() < 65504
    assert not bool(near.all())
    halves = halved(heads)
    assert halves.dtype == torch.float16
    assert torch.equal(halves[near], heads[near].half())
    assert torch.equal(halves[~near].float(), 65504 * heads[~near].sign())
    assert bool(torch.isnan(halved(torch.tensor([float("nan"), float("inf"), -float("inf")]))).all())


@NATIVE_HERE
def test_stored_halves_are_the_nearest_at_each_level(tiny_model, monkeypatch) -> None:
    """Keys and values that are biases alone, so that they are known: ties, what rounds up to a power of two, halves
    without a leading one, what is less than half of the least, and what is beyond the largest."""
    ties = [(1024 + n + 0.5) * 2.0**power for n in (0, 1, 2, 1023) for power in (-24, -10, 5)]
    small = [n * 2.0**-26 for n in (1, 2, 3, 6, 10, 4093, 4094, 4096)]
    edges = [65503.9, 65504.0, 65519.9, 65520.0, 1e30, 1e-30, 0.0, 1 / 3]
    heads = torch.tensor([*ties, *small, *edges, *torch.logspace(-9, 6, 36)])
    expected = halved(torch.stack((heads, -heads)).view(8, 1, 16))
    for level in LEVELS[: best_level(-1) + 1]:
        monkeypatch.setenv("LAMINA_NATIVE_LEVEL", level)
        model = quantize(tiny_model("gpt2"))
        attention = model.stack.blocks[0].attention
        for part, bias in ((attention.k, heads), (attention.v, -heads)):
            part.scale.zero_()
            part.bias.copy_(bias)
        run = runner(model, "native", "float16", context=64)
        run.prefill(IDS[:40], Place(SCATTERED, 0), scores=False)
        run.decode([7], [Place(SCATTERED, 40)])
        stored = run._layers[0].store.view(8, 80, 4, 16)[:, list(SCATTERED)].flatten(1, 2)[:, :41]
        assert torch.equal(stored, expected.expand(-1, 41, -1))
        run.close()


@NATIVE_HERE
@pytest.mark.parametrize(("cache", "off"), [("float16", 6e-3), ("int8", 0.05)])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_scores_are_torchs_at_each_level_and_their_bits_do_not_depend_on_the_cut(
    family, cache, off, tiny_model, monkeypatch
) -> None:
    """Also beyond the tokens that are attended to in one go, and by rows as by spans."""
    plain = dequantize(quantize(tiny_model(family, positions=320)), torch.float32)
    expected = {n: in_pieces(runner(plain, "torch", cache), 64, n) for n in (21, 299)}
    for level in LEVELS[: best_level(-1) + 1]:
        monkeypatch.setenv("LAMINA_NATIVE_LEVEL", level)
        for length, truth in expected.items():
            seen = []
            for rows in (1, 4, 8, 23, 32):
                run = runner(quantize(tiny_model(family, positions=320)), "native", cache)
                seen.append(in_pieces(run, rows, length))
                run.close()
            assert all(torch.equal(seen[0], other) for other in seen[1:])
            torch.testing.assert_close(seen[0], truth, rtol=0, atol=off)


@pytest.mark.parametrize(("cache", "off"), [("float16", 8e-3), ("int8", 0.25)])
@pytest.mark.parametrize("kernels", KERNELS)
def test_scores_are_near_those_of_float32(kernels, cache, off, tiny_model) -> None:
    found = []
    for kind in (None, cache):
        model = tiny_model(positions=320)
        run = runner(quantize(model) if kernels == "native" else model, kernels, kind)
        found.append(in_pieces(run, 64, 299))
        found.append(run.decode([7], [Place(SCATTERED, 299)])[0])
        run.close()
    for exact, near in zip(found[:2], found[2:], strict=True):
        assert not torch.equal(exact, near)
        torch.testing.assert_close(near, exact, rtol=0, atol=off)


@pytest.mark.parametrize("kernels", KERNELS)
def test_huge_keys_and_values_stay_finite_in_halves(kernels, tiny_model) -> None:
    model = quantize(tiny_model(positions=320))
    for block in model.stack.blocks:
        block.attention.v.scale *= 1e6
    run = runner(model, kernels, "float16")
    scores = in_pieces(run, 16, 21)
    assert float(run._layers[0].store.abs().max()) == 65504
    assert bool(torch.isfinite(scores).all())
    assert bool(torch.isfinite(run.decode([7], [Place(SCATTERED, 21)])).all())
    run.close()


def test_twice_the_tokens_or_four_times_but_for_the_scales(tiny_model) -> None:
    model = tiny_model()  # two layers of two key-value heads of 16
    assert bytes_per_token(model, None) == bytes_per_token(model, "float32") == 2 * 2 * 2 * 16 * 4
    assert bytes_per_token(model, "float16") == 2 * 2 * 2 * 16 * 2
    assert bytes_per_token(model, "int8") == 2 * 2 * 2 * (16 + 4)
    for cache in KINDS:
        layer = runner(tiny_model(), "torch", cache)._layers[0]
        assert (layer.scales is not None) == (cache == "int8")
        scales = 0 if layer.scales is None else layer.scales.nbytes
        assert layer.store.nbytes + scales == 320 * bytes_per_token(model, cache) // 2


@NATIVE_HERE
@pytest.mark.parametrize("cache", KINDS)
def test_a_poisoned_row_is_alone_with_it(cache, tiny_model) -> None:
    model = quantize(tiny_model())
    model.stack.embeddings.token.scale[5] = float("nan")
    run = runner(model, "native", cache)
    scores = run.decode([5, 6], [Place((0,), 0), Place((1,), 0)])
    assert bool(torch.isnan(scores[0]).all())
    assert torch.isnan(scores[1]).nonzero().tolist() == [[5]], "the head shares the token's scale"
    stored = run._layers[0].store if cache == "float16" else run._layers[0].scales
    assert stored is not None
    assert bool(torch.isnan(stored[:, 0]).all())
    assert not bool(torch.isnan(stored[:, 4]).any())


@NATIVE_HERE
@pytest.mark.material
def test_a_real_model_loses_next_to_nothing(material, tmp_path) -> None:
    """SmolLM2-135M over 192 tokens of a novel: perplexity within 0.05 % of that with float32, in int8 within 0.5 %."""
    import_gguf(next(material("smollm2").rglob("*.gguf")), tmp_path)
    text = next(material("moby-dick").rglob("data.txt")).read_text()[20_000:22_000]
    ids = open_tokenizer(tmp_path).encode(text)[:193]
    model = quantize(open_model(tmp_path))
    nats: dict[Any, float] = {}
    for cache in (None, *KINDS):
        run = Runner(model, blocks=12, block_tokens=16, context=192, kernels="native", cache=cache)
        scores = torch.cat([run.check(ids[n : n + 32], Place(range(12), n)) for n in range(0, 192, 32)])
        nats[cache] = float(F.cross_entropy(scores, torch.tensor(ids[1:])))
        run.close()
    assert 1 / 1.0005 < math.exp(nats["float16"] - nats[None]) < 1.0005
    assert math.exp(nats["int8"] - nats[None]) < 1.005


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


@pytest.mark.parametrize("cache", KINDS)
@pytest.mark.parametrize("kernels", KERNELS)
def test_greedy_answers_do_not_depend_on_batches_pieces_prefixes_or_preemption(
    kernels, cache, tiny_model, tiny_tokenizer
) -> None:
    generator = torch.Generator().manual_seed(7)
    asked = [torch.randint(0, 80, (n,), generator=generator).tolist() for n in (1, 9, 17, 24, 29, 13)]
    asked += [[*asked[4], *more] for more in asked[:3]]

    def tokens(few_blocks: bool = False, **options: Any) -> list[list[int]]:
        options = {"max_sequences": 6, "block_tokens": 4, "context": 96} | options
        # torch's int8 kernel for single tokens is another one than that for prompts
        model = quantize(tiny_model()) if kernels == "native" else tiny_model()
        engine = Engine(model, tiny_tokenizer, version="v1", kernels=kernels, cache=cache, **options)
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
