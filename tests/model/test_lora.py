from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lamina.kit.errors import ConfigError, ModelFileError
from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.checkpoint import open_model, save_model
from lamina.model.lora import (
    DEFAULT_TARGETS,
    TARGETS,
    LoraLinear,
    add_lora,
    load_lora,
    lora_layers,
    lora_parameters,
    merge_lora,
    save_lora,
)
from lamina.model.transformer import Transformer


def make(kind: str = "llama", *, tied: bool = True) -> Transformer:
    torch.manual_seed(0)
    if kind == "gpt2":
        return Transformer(gpt2(vocabulary=61, width=32, layers=2, heads=4, max_positions=32)).eval()
    return Transformer(llama(vocabulary=61, width=32, layers=2, heads=4, kv_heads=2, inner=40, tied=tied)).eval()


def disturb(model: Transformer) -> None:
    with torch.no_grad():
        for parameter in lora_parameters(model):
            parameter.add_(torch.randn_like(parameter) * 0.1)


IDS = torch.randint(0, 61, (2, 12), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_merging_computes_what_the_adapters_did(kind: str, tied: bool):
    model = make(kind, tied=tied)
    before = model.logits(model(IDS))
    add_lora(model, rank=3, alpha=5.0, targets=TARGETS)
    assert torch.equal(model.logits(model(IDS)), before), "a fresh adapter changes nothing"
    disturb(model)
    adapted = model.logits(model(IDS))
    assert not torch.allclose(adapted, before, atol=1e-3)
    merge_lora(model)
    torch.testing.assert_close(model.logits(model(IDS)), adapted, rtol=1e-5, atol=1e-5)
    assert not list(lora_layers(model))


@torch.no_grad()
def test_an_adapter_on_a_tied_head_unties_and_leaves_the_embedding(tmp_path: Path):
    model = make(tied=True)
    embedding = model.stack.embeddings.token.weight.clone()
    add_lora(model, rank=2, alpha=4.0, targets=("head",))
    disturb(model)
    adapted = model.logits(model(IDS))
    merge_lora(model)
    assert torch.equal(model.stack.embeddings.token.weight, embedding)
    assert not model.spec.head.tied
    save_model(model, tmp_path)
    again = open_model(tmp_path)
    torch.testing.assert_close(again.logits(again(IDS)), adapted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_without_the_head_the_tie_stays():
    model = make(tied=True)
    add_lora(model, rank=2, alpha=4.0)
    disturb(model)
    merge_lora(model)
    assert model.spec.head.tied
    assert model.head.weight is model.stack.embeddings.token.weight


@torch.no_grad()
@pytest.mark.parametrize("targets", [DEFAULT_TARGETS, TARGETS])
def test_merging_a_tied_model_to_which_tokens_were_added(tmp_path: Path, targets: tuple[str, ...]):
    """PEFT's issues 2777 and transformers' 45127: the added rows, and the tie, were lost."""
    import transformers

    save_model(make(tied=True), tmp_path / "base")
    grown = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    grown.resize_token_embeddings(67)
    grown.save_pretrained(tmp_path / "grown")
    model, ids = open_model(tmp_path / "grown"), torch.tensor([[3, 61, 66, 7, 64]])
    added = model.stack.embeddings.token.weight[61:].clone()
    add_lora(model, rank=3, alpha=5.0, targets=targets)
    disturb(model)
    adapted = model.logits(model(ids))
    assert adapted.shape[-1] == 67
    merge_lora(model)
    torch.testing.assert_close(model.logits(model(ids)), adapted, rtol=1e-5, atol=1e-5)
    assert model.spec.head.tied == ("head" not in targets)
    save_model(model, tmp_path / "merged")
    again, theirs = open_model(tmp_path / "merged"), transformers.AutoModelForCausalLM.from_pretrained
    assert torch.equal(again.stack.embeddings.token.weight[61:], added)
    for logits in (again.logits(again(ids)), theirs(tmp_path / "merged")(ids).logits):
        torch.testing.assert_close(logits, adapted, rtol=1e-5, atol=1e-5)


def test_only_the_adapters_learn():
    model = make()
    names = add_lora(model, rank=2, alpha=4.0, targets=("q", "v"))
    assert names == [f"decoder.blocks.{i}.attention.{p}" for i in range(2) for p in "qv"]
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {f"{name}.lora_{side}" for name in names for side in ("down", "up")}
    merge_lora(model)
    assert all(p.requires_grad for p in model.parameters())


@torch.no_grad()
def test_the_peft_format_there_and_back(tmp_path: Path):
    model = make()
    add_lora(model, rank=3, alpha=6.0, targets=("q", "down"))
    disturb(model)
    save_lora(model, tmp_path, base="some/base")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 6.0)
    assert config["target_modules"] == ["down_proj", "q_proj"]
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert tensors["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"].shape == (3, 32)
    assert tensors["base_model.model.model.layers.0.mlp.down_proj.lora_B.weight"].shape == (32, 3)
    other = make()
    load_lora(other, tmp_path)
    assert torch.equal(other.logits(other(IDS)), model.logits(model(IDS)))


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path):
    model = make()
    add_lora(model, rank=3, alpha=6.0, targets=("q",))
    with pytest.raises(ModelFileError, match="merge"):
        save_model(model, tmp_path / "unmerged")
    save_lora(model, tmp_path / "adapter")
    narrow = Transformer(llama(vocabulary=61, width=16, layers=2, heads=2))
    with pytest.raises(ModelFileError, match=r"q_proj\.lora_A"):
        load_lora(narrow, tmp_path / "adapter")
    with pytest.raises(ModelFileError, match="no such layers"):
        load_lora(Transformer(llama(vocabulary=61, width=32, layers=1, heads=4)), tmp_path / "adapter")
    with pytest.raises(ModelFileError, match="not a PEFT adapter"):
        load_lora(make(), tmp_path)
    fused = make("gpt2")
    add_lora(fused, rank=2, alpha=4.0, targets=("q",))
    with pytest.raises(ModelFileError, match="fused"):
        save_lora(fused, tmp_path / "fused")


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"targets": ("q", "knee")}, "knee"), ({"targets": ()}, "none given"), ({"rank": 0}, "above zero")],
)
def test_wrong_settings(settings: dict, word: str):
    with pytest.raises(ConfigError, match=word):
        add_lora(make(), **settings)
    model = make()
    add_lora(model)
    with pytest.raises(ConfigError, match="already"):
        add_lora(model)


def test_the_frozen_weight_is_cast_once_and_anew_when_it_changes() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(8, 4, bias=False).requires_grad_(False), rank=2, alpha=4.0)
    x = torch.randn(3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        first = layer(x)
        assert layer._frozen() is layer._frozen()
        assert layer._frozen().dtype == torch.bfloat16
        torch.testing.assert_close(first, nn.functional.linear(x, layer.weight), rtol=0, atol=0)
        with torch.no_grad():
            layer.weight.mul_(2)
        torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight), rtol=0, atol=0)
    assert layer._frozen() is layer.weight
