"""Calibrated quantisation on small random decoders: what is folded changes nothing, and each method does its part."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lamina.deployment.compress.awq import awq, best_scales, output_error
from lamina.deployment.compress.calibrated import quantize_calibrated
from lamina.deployment.compress.calibration import Inputs, readers, walk
from lamina.deployment.compress.folding import Link, links
from lamina.deployment.compress.gptq import gptq, gptq_round
from lamina.deployment.compress.grids import fit_grids
from lamina.deployment.compress.int4 import WHOLE, Int4Linear, round_groups
from lamina.deployment.compress.int8 import Int8Linear
from lamina.deployment.compress.quantize import open_served, quantize, save_served
from lamina.deployment.compress.smoothquant import int8_error, smooth, smoothing
from lamina.kit.errors import InputError, LaminaError
from lamina.model.architectures.gpt import qwen2, qwen3
from lamina.model.architectures.presets import preset
from lamina.model.spec import (
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    RotarySpec,
    StackSpec,
)
from lamina.model.transformer import Transformer

RMS = NormSpec(kind="rms", eps=1e-5)


def decoder(block: BlockSpec, *, norm: NormSpec = RMS, positions: str = "none") -> ModelSpec:
    embeddings = EmbeddingSpec(vocabulary=97, width=64, positions=positions)  # type: ignore[arg-type]
    return ModelSpec(
        decoder=StackSpec(embeddings=embeddings, blocks=(block, block), norm=norm, causal=True),
        head=HeadSpec(),
        max_positions=64,
    )


def llama() -> ModelSpec:
    return decoder(
        BlockSpec(
            attention=AttentionSpec(heads=4, kv_heads=2, head_dim=16, rotary=RotarySpec()),
            feedforward=FeedForwardSpec(inner=96, activation="silu", gated=True),
            norm=RMS,
        )
    )


def gpt2() -> ModelSpec:
    norm = NormSpec(kind="layer", eps=1e-5)
    block = BlockSpec(
        attention=AttentionSpec(heads=4, kv_heads=4, head_dim=16, bias=True, out_bias=True),
        feedforward=FeedForwardSpec(inner=96, activation="gelu-tanh", bias=True),
        norm=norm,
    )
    return decoder(block, norm=norm, positions="learned")


def relu() -> ModelSpec:
    spec = gpt2()
    block = replace(spec.stack.blocks[0], feedforward=FeedForwardSpec(inner=96, activation="relu", bias=True))
    return decoder(block, norm=block.norm, positions="learned")


def gemma() -> ModelSpec:
    norm = NormSpec(kind="rms", eps=1e-5, offset=True)
    block = replace(llama().stack.blocks[0], norm=norm, placement="sandwich")
    return decoder(block, norm=norm)


def late() -> ModelSpec:
    block = replace(gpt2().stack.blocks[0], placement="post")
    return decoder(block, norm=block.norm, positions="learned")


SPECS: dict[str, Callable[[], ModelSpec]] = {
    "llama": llama,
    "qwen2": lambda: qwen2(llama()),
    "qwen3": lambda: qwen3(llama()),
    "gpt2": gpt2,
    "relu": relu,
    "gemma": gemma,
    "post": late,
}


def model_of(spec: ModelSpec, spread: float = 6.0) -> Transformer:
    """Random weights with a few channels that are much larger than the others, as trained models have them."""
    torch.manual_seed(0)
    model = Transformer(spec).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(spread)
        elif "norm" in name and name.endswith("weight"):
            parameter.add_(torch.rand_like(parameter) * 0.5)
            parameter[::17] *= 12.0
        elif name.endswith("bias"):
            parameter.normal_(std=0.1)
    return model


@pytest.fixture
def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randint(0, 97, (12, 48), generator=generator).split(4))


def seen_by(model: Transformer, batches: list[Tensor]) -> list[dict[str, Inputs]]:
    return [dict(seen) for _, seen in walk(model, batches)]


def test_the_walk_sees_what_layers_read(batches: list[Tensor]) -> None:
    model = model_of(llama())
    rows: list[Tensor] = []
    hook = model.stack.blocks[1].feedforward.down.register_forward_pre_hook(
        lambda module, given: rows.append(given[0].flatten(0, 1))
    )
    for ids in batches:
        model(ids)
    hook.remove()
    x, found = torch.cat(rows), seen_by(model, batches)[1]["inner"]
    torch.testing.assert_close(found.moments, x.T @ x / len(x))
    torch.testing.assert_close(found.size, x.abs().mean(0))
    torch.testing.assert_close(found.peak, x.abs().amax(0))
    assert torch.equal(found.rows, x[:512])
    torch.testing.assert_close(found.of_groups[2], found.moments[64:, 64:])


@pytest.mark.parametrize("name", SPECS)
def test_what_is_folded_changes_nothing(name: str, batches: list[Tensor]) -> None:
    model, generator = model_of(SPECS[name](), spread=2.0), torch.Generator().manual_seed(2)
    plain = model.logits(model(batches[0]))
    count = 0
    for block in model.stack.blocks:
        for link in links(block):
            width = link.layers[0].in_features
            link.fold(link.even(torch.rand(width, generator=generator) * 8 + 0.1))
            count += 1
    assert count == {"gpt2": 6, "post": 2}.get(name, 8)
    torch.testing.assert_close(model.logits(model(batches[0])), plain, rtol=1e-4, atol=1e-4)


def test_a_smoothed_model_says_the_same_and_loses_less_to_int8_inputs(batches: list[Tensor]) -> None:
    model = model_of(llama())
    plain, before = model.logits(model(batches[0])), seen_by(model, batches)
    raw = [int8_error(link, s[link.reads].rows, torch.ones(64)) for s, link in _norm_links(model, before)]
    smooth(model, batches)
    torch.testing.assert_close(model.logits(model(batches[0])), plain, rtol=1e-4, atol=1e-4)
    after = seen_by(model, batches)
    ours = [int8_error(link, s[link.reads].rows, torch.ones(64)) for s, link in _norm_links(model, after)]
    assert all(a <= b * 1.001 for a, b in zip(ours, raw, strict=True))
    assert sum(ours) < 0.5 * sum(raw)


def _norm_links(model: Transformer, seen: list[dict[str, Inputs]]):  # type: ignore[no-untyped-def]
    return [(s, link) for s, block in zip(seen, model.stack.blocks, strict=True) for link in links(block)[:2]]


def test_the_strength_of_smoothing_is_the_papers(batches: list[Tensor]) -> None:
    model = model_of(llama())
    seen, link = _norm_links(model, seen_by(model, batches))[0]
    weights = torch.stack([getattr(model.stack.blocks[0].attention, n).weight.abs().amax(0) for n in "qkv"]).amax(0)
    expected = seen["attention"].peak.sqrt() / weights.sqrt()
    torch.testing.assert_close(smoothing(link, seen["attention"], 0.5), expected)
    smooth(model, batches, strength=0.5)
    again = seen_by(model, batches)[0]["attention"]
    torch.testing.assert_close(again.peak, seen["attention"].peak / expected, rtol=1e-4, atol=1e-5)


def correlated(rows: int = 400, width: int = 96) -> tuple[Tensor, Tensor]:
    """A weight and inputs whose channels depend on each other."""
    generator = torch.Generator().manual_seed(4)
    mixed = (
        torch.randn(24, width, generator=generator)
        * torch.logspace(-1, 1, width)[torch.randperm(width, generator=generator)]
    )
    x = torch.randn(rows, 24, generator=generator) @ mixed + 0.1 * torch.randn(rows, width, generator=generator)
    return torch.randn(40, width, generator=generator), x


@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_loses_far_less_than_rounding_on_its_inputs(act_order: bool) -> None:
    weight, x = correlated()
    moments = x.T @ x / len(x)
    found = {"plain": round_groups(weight), "gptq": gptq_round(weight, moments, act_order=act_order)}
    error = {name: output_error(weight, Int4Linear(*groups).widened(), moments) for name, groups in found.items()}
    assert error["gptq"] < 0.5 * error["plain"]
    ours = Int4Linear(*gptq_round(weight, moments, act_order=act_order))
    measured = float((ours(x) - x @ weight.T).square().sum(1).mean())
    assert measured == pytest.approx(error["gptq"], rel=0.02)


def test_gptq_of_independent_inputs_is_rounding() -> None:
    weight, _ = correlated()
    plain = round_groups(weight)
    for act_order in (False, True):
        ours = gptq_round(weight, torch.eye(96), act_order=act_order)
        assert torch.equal(ours[0], plain[0])
        assert all(torch.equal(a, b) for a, b in zip(ours, fit_grids(weight, torch.eye(96), plain), strict=True))


def test_gptq_stands_inputs_that_never_come_and_refuses_nan() -> None:
    weight, x = correlated()
    x[:, 5] = 0.0
    found = Int4Linear(*gptq_round(weight, x.T @ x / len(x))).widened()
    assert torch.isfinite(found).all()
    assert (found[:, 5] - weight[:, 5]).abs().max() < 0.5
    with pytest.raises(LaminaError, match="finite"):
        gptq_round(weight, torch.full((96, 96), torch.nan))


def test_awq_scales_lose_no_more_than_none_and_weigh_large_inputs(batches: list[Tensor]) -> None:
    model = model_of(llama())
    seen = seen_by(model, batches)
    for s, block in zip(seen, model.stack.blocks, strict=True):
        for link in links(block):
            inputs = s[link.reads]
            scales = best_scales(link, inputs)
            even = link.even(inputs.size)
            assert (scales.argmax() == even.argmax()) or torch.equal(scales, torch.ones_like(scales))
            errors = [_awq_error(link, tried, inputs) for tried in (scales, torch.ones_like(scales))]
            assert errors[0] <= errors[1]


def _awq_error(link: Link, scales: Tensor, inputs: Inputs) -> float:
    rounded = [
        (layer.weight, Int4Linear(*round_groups(layer.weight * scales, clips=WHOLE)).widened() / scales)
        for layer in link.layers
    ]
    return sum(output_error(weight, values, inputs.moments) for weight, values in rounded)


@pytest.mark.parametrize("method", [awq, gptq], ids=["awq", "gptq"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "post"])
def test_blocks_of_the_model_are_nearer_to_the_plain_one_than_rounded(
    name: str, method: Callable[..., Transformer], batches: list[Tensor]
) -> None:
    plain = model_of(SPECS[name]())
    want = torch.cat([plain(ids) for ids in batches])
    rounded = quantize(copy.deepcopy(plain), "int4")
    ours = quantize(method(copy.deepcopy(plain), batches), "int4")
    far = [float((torch.cat([m(ids) for ids in batches]) - want).square().mean()) for m in (rounded, ours)]
    assert far[1] < far[0]
    assert all(
        isinstance(getattr(*place), Int4Linear)
        for block in ours.stack.blocks
        for places in readers(block).values()
        for place in places
    )


def test_layers_without_whole_groups_and_of_4_bits_already_stay(batches: list[Tensor]) -> None:
    spec = llama()
    block = replace(spec.stack.blocks[0], feedforward=FeedForwardSpec(inner=80, activation="silu", gated=True))
    for method in (awq, gptq):
        model = model_of(decoder(block))
        own = Int4Linear(*round_groups(model.stack.blocks[0].attention.o.weight)).widened()
        blocks_of_file = own.unflatten(1, (-1, 32))
        blocks_of_file[..., 0] = blocks_of_file.amin(-1)  # as llama.cpp's blocks, which use both ends of the range
        blocks_of_file[..., 1] = blocks_of_file.amax(-1)
        fixed = Int4Linear(*round_groups(blocks_of_file.flatten(1), clips=(1.0,))).widened()
        model.stack.blocks[0].attention.o.weight.copy_(fixed)
        done = quantize(method(model, batches), "int4")
        assert isinstance(done.stack.blocks[0].feedforward.down, Int8Linear)
        torch.testing.assert_close(done.stack.blocks[0].attention.o.widened(), fixed, rtol=1e-3, atol=1e-3)


def test_saved_with_the_name_of_the_method_and_opened(batches: list[Tensor], tmp_path) -> None:  # type: ignore[no-untyped-def]
    for method, bits in (("smoothquant", "int8"), ("gptq", "int4")):
        model = quantize_calibrated(model_of(llama()), method, batches)  # type: ignore[arg-type]
        said = model.logits(model(batches[0]))
        save_served(model, tmp_path / method, like=None, quantize=bits, calibration=method)  # type: ignore[arg-type]
        about = json.loads((tmp_path / method / "config.json").read_text())["quantization_config"]
        assert about["calibration"] == method
        assert about["bits"] == int(bits[-1])
        again = open_served(tmp_path / method)
        assert torch.equal(again.logits(again(batches[0])), said)


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(InputError, match="no tokens"):
        quantize_calibrated(model_of(llama()), "awq", [])


def test_hooks_and_blocks_are_as_before(batches: list[Tensor]) -> None:
    model = model_of(llama())
    blocks = model.stack.blocks
    list(walk(model, batches))
    assert model.stack.blocks is blocks
    assert not any(m._forward_pre_hooks for m in model.modules() if isinstance(m, nn.Linear))


@pytest.fixture(scope="module")
def real(material: Callable[[str], Path]) -> Transformer:
    """The first block of SmolLM2-135M between its first 2,048 tokens; the file has it in blocks of 4 bits."""
    from gguf import GGUFReader, quants

    file = next(material("smollm2").rglob("*.gguf"))
    tensors = {t.name: t for t in GGUFReader(file).tensors}

    def values(name: str, rows: int | None = None) -> Tensor:
        tensor = tensors[f"{name}.weight"]
        data = tensor.data if rows is None else tensor.data[:rows]
        return torch.from_numpy(np.array(quants.dequantize(data, tensor.tensor_type), np.float32))

    stack = preset("smollm2-135m").stack
    embeddings = replace(stack.embeddings, vocabulary=2048)
    spec = ModelSpec(
        decoder=replace(stack, embeddings=embeddings, blocks=stack.blocks[:1]), head=HeadSpec(), max_positions=64
    )
    model = Transformer(spec).eval().requires_grad_(False)
    block = model.stack.blocks[0]
    model.stack.embeddings.token.weight.copy_(values("token_embd", 2048))
    model.stack.norm.weight.copy_(values("output_norm"))
    for module, names in (
        (block.attention, {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}),
        (block.feedforward, {"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}),
        (block, {"attention_norm": "attn_norm", "feedforward_norm": "ffn_norm"}),
    ):
        for ours, theirs in names.items():
            getattr(module, ours).weight.copy_(values(f"blk.0.{theirs}"))
    return model


def test_on_real_weights_folding_is_exact_and_both_methods_lose_less_than_rounding(real: Transformer) -> None:
    generator = torch.Generator().manual_seed(5)
    batches = list(torch.randint(0, 2048, (16, 64), generator=generator).split(8))
    kept = quantize_calibrated(copy.deepcopy(real), "gptq", batches).stack.blocks[0]
    assert torch.equal(kept.attention.q.widened(), real.stack.blocks[0].attention.q.weight)  # its own 4 bits
    model = copy.deepcopy(real)
    plain = model.logits(model(batches[0]))
    for link in links(model.stack.blocks[0]):  # now no weight is of 4 bits any more
        link.fold(link.even(torch.rand(link.layers[0].in_features, generator=generator) * 1.5 + 0.5))
    torch.testing.assert_close(model.logits(model(batches[0])), plain, rtol=1e-4, atol=1e-4)
    want = torch.cat([model(ids) for ids in batches])
    lost = {}
    for name, done in (
        ("plain", quantize(copy.deepcopy(model), "int4")),
        ("awq", quantize_calibrated(copy.deepcopy(model), "awq", batches)),
        ("gptq", quantize_calibrated(copy.deepcopy(model), "gptq", batches)),
    ):
        lost[name] = float((torch.cat([done(ids) for ids in batches]) - want).square().mean())
    assert lost["awq"] < 0.9 * lost["plain"]
    assert lost["gptq"] < 0.9 * lost["plain"]
