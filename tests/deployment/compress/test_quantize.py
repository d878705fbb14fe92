from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lamina.deployment.compress.int4 import Int4Linear, own_groups, round_groups
from lamina.deployment.compress.int8 import Int8Embedding, Int8Linear, quantize_rows
from lamina.deployment.compress.quantize import dequantize, is_quantized, open_served, quantize, save_served
from lamina.kit.errors import InputError, ModelFileError
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


def llama(*, tied: bool = True, width: int = 48, vocabulary: int = 97) -> ModelSpec:
    norm = NormSpec(kind="rms", eps=1e-5)
    block = BlockSpec(
        attention=AttentionSpec(heads=3, kv_heads=1, head_dim=16, rotary=RotarySpec()),
        feedforward=FeedForwardSpec(inner=80, activation="silu", gated=True),
        norm=norm,
    )
    return ModelSpec(
        decoder=StackSpec(
            embeddings=EmbeddingSpec(vocabulary=vocabulary, width=width), blocks=(block, block), norm=norm, causal=True
        ),
        head=HeadSpec(tied=tied),
        max_positions=64,
    )


def gpt2() -> ModelSpec:
    norm = NormSpec(kind="layer", eps=1e-5)
    block = BlockSpec(
        attention=AttentionSpec(heads=3, kv_heads=3, head_dim=16, bias=True, out_bias=True),
        feedforward=FeedForwardSpec(inner=96, activation="gelu-tanh", bias=True),
        norm=norm,
    )
    return ModelSpec(
        decoder=StackSpec(
            embeddings=EmbeddingSpec(vocabulary=97, width=48, positions="learned"),
            blocks=(block, block),
            norm=norm,
            causal=True,
        ),
        head=HeadSpec(),
        max_positions=64,
    )


@pytest.mark.parametrize("rows", [1, 2, 4, 7, 8, 9, 23, 64])
@pytest.mark.parametrize(("n", "k"), [(24, 32), (97, 48), (5, 20), (130, 576)])
def test_int8_product_is_the_dequantised_one(rows: int, n: int, k: int) -> None:
    generator = torch.Generator().manual_seed(rows * 1000 + n)
    weight = torch.randn(n, k, generator=generator)
    x = torch.randn(rows, k, generator=generator).bfloat16().float()
    layer = Int8Linear(*quantize_rows(weight), torch.randn(n, generator=generator))
    expected = F.linear(x, layer.weight.float() * layer.scale.float()[:, None], layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-2, atol=1e-2 * k**0.5)
    assert layer(x).dtype == torch.float32
    assert layer(x[:, None].bfloat16()).shape == (rows, 1, n)


def test_quantisation_error_is_half_a_step() -> None:
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(1)) * torch.logspace(-4, 3, 64)[:, None]
    weight[3] = 0.0
    steps, scale = quantize_rows(weight)
    error = (steps.float() * scale.float()[:, None] - weight).abs()
    # bfloat16 rounds the scale by at most 2^-8, so that the largest weight may be cut by so much
    assert bool((error <= scale.float()[:, None] * 0.5 + weight.abs() * 2**-8).all())
    assert bool((steps[3] == 0).all())


def grouped(n: int = 24, k: int = 96) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, k, generator=generator) * torch.logspace(-2, 1, n)[:, None]


def test_rounding_to_4_bits_is_at_most_half_a_step_off_within_the_range_and_no_worse_than_the_whole_range() -> None:
    weight = grouped()
    weight[3, :32] = 0.25
    values = Int4Linear(*round_groups(weight)).widened()
    groups, ours = weight.unflatten(1, (-1, 32)), values.unflatten(1, (-1, 32))
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    plain = (groups - groups.amin(-1, keepdim=True)) / step.unsqueeze(-1).clamp_min(1e-9)
    rounded = plain.round() * step.unsqueeze(-1) + groups.amin(-1, keepdim=True)
    assert (ours - groups).square().sum() < (rounded - groups).square().sum()
    inside = (groups - ours).abs() <= step.unsqueeze(-1) * 0.51
    assert inside.float().mean() > 0.9
    assert bool((ours[3, 0] == 0.25).all())


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_blocks_of_a_gguf_file_are_taken_as_they_are(kind: str) -> None:
    from gguf import GGMLQuantizationType, quants

    raw = quants.quantize(grouped().numpy(), GGMLQuantizationType[kind])
    expanded = torch.from_numpy(quants.dequantize(raw, GGMLQuantizationType[kind]))
    found = own_groups(expanded)
    assert found is not None
    layer = Int4Linear(*found)
    assert torch.equal(layer.widened(), expanded)
    blocks = torch.from_numpy(raw).view(24, 3, -1)
    assert torch.equal(layer.weight.view(24, 3, 16), blocks[..., -16:])
    assert torch.equal(layer.scale.view(torch.uint8).view(24, 3, 2), blocks[..., :2])
    assert (layer.minimum is None) == (kind == "Q4_0")
    assert own_groups(expanded + 1e-4) is None


def test_fused_groups_share_their_memory() -> None:
    linears = [nn.Linear(64, n) for n in (16, 8)]
    parts = [Int4Linear.of(linear) for linear in linears]
    x = torch.randn(3, 64)
    before = torch.cat([p(x) for p in parts], dim=-1)
    whole = Int4Linear.fused(parts)
    torch.testing.assert_close(whole(x), before)
    for name in ("weight", "scale", "minimum", "bias"):
        ours, theirs = getattr(parts[1], name), getattr(whole, name)
        assert ours.untyped_storage().data_ptr() == theirs.untyped_storage().data_ptr()


def test_rows_of_a_batch_do_not_influence_each_other() -> None:
    layer = Int8Linear(*quantize_rows(torch.randn(96, 64, generator=torch.Generator().manual_seed(2))))
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
    together = layer(x)
    for i in range(8):
        assert torch.equal(layer(x[i : i + 1]), together[i : i + 1])


def test_fused_layers_share_their_memory() -> None:
    parts = [Int8Linear(*quantize_rows(torch.randn(n, 32)), torch.randn(n)) for n in (16, 8, 24)]
    x = torch.randn(3, 32)
    before = torch.cat([p(x) for p in parts], dim=-1)
    whole = Int8Linear.fused(parts)
    assert torch.equal(whole(x), before)
    assert torch.equal(torch.cat([p(x) for p in parts], dim=-1), before)
    assert parts[1].weight.untyped_storage().data_ptr() == whole.weight.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("spec", "bits"),
    [
        *((spec, "int8") for spec in (llama(), llama(tied=False), gpt2())),
        *((spec, "int4") for spec in (llama(width=64), llama(width=64, tied=False), gpt2())),
    ],
    ids=["tied", "untied", "gpt2", "tied int4", "untied int4", "gpt2 int4"],
)
def test_saved_and_opened_again_it_says_the_same(spec: ModelSpec, bits: str, tmp_path) -> None:
    torch.manual_seed(0)
    model = Transformer(spec).eval()
    ids = torch.arange(20)[None] % 97
    with torch.inference_mode():
        plain = model.logits(model(ids))
        save_served(model, tmp_path / "served", like=None, quantize=bits)
        assert is_quantized(model)
        ours = model.logits(model(ids))
        again = open_served(tmp_path / "served")
        theirs = again.logits(again(ids))
        plain_again = dequantize(again, torch.float32)
        torch.testing.assert_close(plain_again.logits(plain_again(ids)), theirs, rtol=0, atol=0.05)
    assert torch.equal(ours, theirs)
    assert (ours - plain).abs().max() < (0.05 if bits == "int8" else 0.4) * plain.abs().max()
    config = json.loads((tmp_path / "served" / "config.json").read_text())
    assert config["quantization_config"]["bits"] == int(bits[-1])
    size = (tmp_path / "served" / "model.safetensors").stat().st_size
    assert size < 1.6 * sum(p.numel() for p in Transformer(spec).parameters())


def test_perplexity_of_4_bits_is_near_that_of_8() -> None:
    """Of a small model that has learned a chain of tokens with noise."""
    generator = torch.Generator().manual_seed(3)

    def texts(count: int) -> torch.Tensor:
        rows = [torch.randint(0, 97, (count,), generator=generator)]
        for _ in range(24):
            noise = torch.randint(0, 97, (count,), generator=generator)
            rows.append(torch.where(torch.rand(count, generator=generator) < 0.1, noise, (3 * rows[-1] + 1) % 97))
        return torch.stack(rows, dim=1)

    def nats(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model.logits(model(ids[:, :-1])).flatten(0, 1).float(), ids[:, 1:].flatten())

    torch.manual_seed(0)
    model = Transformer(llama(width=64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nats(model, texts(16)).backward()
        optimizer.step()
    held_out, state = texts(64), model.state_dict()
    found = {}
    for bits in ("none", "int8", "int4"):
        copy = Transformer(model.spec)
        copy.load_state_dict(state)
        with torch.no_grad():
            found[bits] = float(nats(quantize(copy, bits) if bits != "none" else copy.eval(), held_out))
    assert found["none"] < 2.0, "it has not learned"
    assert abs(found["int8"] - found["none"]) < 0.01
    assert abs(found["int4"] - found["int8"]) < 0.02


def test_tied_table_is_held_once() -> None:
    model = quantize(Transformer(llama()))
    assert isinstance(model.stack.embeddings.token, Int8Embedding)
    assert model.head.weight.data_ptr() == model.stack.embeddings.token.weight.data_ptr()


def test_plain_folder(tmp_path) -> None:
    torch.manual_seed(0)
    model = Transformer(llama()).eval()
    save_served(model, tmp_path / "plain", like=None, quantize="none")
    ids = torch.arange(9)[None]
    again = open_served(tmp_path / "plain")
    torch.testing.assert_close(again.logits(again(ids)).float(), model.logits(model(ids)), rtol=2e-2, atol=2e-2)
    with pytest.raises(InputError):
        save_served(quantize(again), tmp_path / "x", like=None, quantize="none")


def test_what_is_no_decoder_with_a_head_is_refused_and_left_as_it_is(tmp_path) -> None:
    for spec in (preset("bert-nano", vocabulary=50), replace(llama(), head=None)):
        model = Transformer(spec)
        kinds = [type(module) for module in model.modules()]
        for refused in (
            lambda model=model: quantize(model),
            lambda model=model: save_served(model, tmp_path, like=None),
        ):
            with pytest.raises(InputError, match="only decoders with a vocabulary head"):
                refused()
        assert [type(module) for module in model.modules()] == kinds


def test_malformed_folders_are_refused(tmp_path) -> None:
    save_served(Transformer(llama()), tmp_path, like=None, quantize="int8")
    config = json.loads((tmp_path / "config.json").read_text())
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        open_served(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    config["quantization_config"] = {"quant_method": "gptq"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="gptq"):
        open_served(tmp_path)
