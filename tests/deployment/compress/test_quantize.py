from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional as F

from lamina.deployment.compress.int8 import Int8Embedding, Int8Linear, quantize_rows
from lamina.deployment.compress.quantize import is_quantized, open_served, quantize, save_served
from lamina.kit.errors import InputError, ModelFileError
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


@pytest.mark.parametrize("spec", [llama(), llama(tied=False), gpt2()], ids=["tied", "untied", "gpt2"])
def test_saved_and_opened_again_it_says_the_same(spec: ModelSpec, tmp_path) -> None:
    torch.manual_seed(0)
    model = Transformer(spec).eval()
    ids = torch.arange(20)[None] % 97
    with torch.inference_mode():
        plain = model.logits(model(ids))
        save_served(model, tmp_path / "served", like=None, quantize="int8")
        assert is_quantized(model)
        ours = model.logits(model(ids))
        again = open_served(tmp_path / "served")
        theirs = again.logits(again(ids))
    assert torch.equal(ours, theirs)
    assert (ours - plain).abs().max() < 0.05 * plain.abs().max()
    config = json.loads((tmp_path / "served" / "config.json").read_text())
    assert config["quantization_config"]["bits"] == 8
    size = (tmp_path / "served" / "model.safetensors").stat().st_size
    assert size < 1.6 * sum(p.numel() for p in Transformer(spec).parameters())


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
