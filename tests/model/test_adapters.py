from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lamina.kit.errors import ModelFileError, TooLargeError
from lamina.model.adapters import read_adapter
from lamina.model.architectures.gpt import gpt2, llama
from lamina.model.lora import add_lora, lora_layers, lora_parameters, save_lora
from lamina.model.transformer import Transformer

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def model(**changed) -> Transformer:
    given = {"vocabulary": 61, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "inner": 40} | changed
    return Transformer(llama(**given))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    adapted = model()
    add_lora(adapted, rank=3, alpha=6.0, targets=("q", "down"))
    with torch.no_grad():
        for parameter in lora_parameters(adapted):
            parameter.normal_()
    save_lora(adapted, tmp_path / "a", base="some/base")
    return tmp_path / "a"


def change(folder: Path, **settings) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def tensors(folder: Path, changed) -> None:
    found = load_file(folder / WEIGHTS)
    changed(found)
    save_file(found, folder / WEIGHTS)


def test_an_adapter_is_read_by_the_models_layers(folder: Path) -> None:
    found = read_adapter(folder, model().spec)
    assert sorted(found.layers) == sorted(
        f"decoder.blocks.{i}.{name}" for i in range(2) for name in ("attention.q", "feedforward.down")
    )
    part = found.layers["decoder.blocks.1.feedforward.down"]
    assert (part.down.shape, part.up.shape, part.scale) == ((3, 40), (32, 3), 2.0)
    assert (found.rank, found.base, len(found.digest)) == (3, "some/base", 64)
    change(folder, use_rslora=True)
    other = read_adapter(folder, model().spec)
    assert other.layers["decoder.blocks.1.feedforward.down"].scale == pytest.approx(6 / 3**0.5)
    assert other.digest != found.digest, "the settings are part of what it is"


def test_a_fused_tensor_is_taken_apart(tmp_path: Path) -> None:
    """GPT-2's query, key and value are one layer for PEFT: one ``lora_A``, and ``lora_B`` of all three."""
    spec = gpt2(vocabulary=61, width=32, layers=1, heads=4, max_positions=32)
    down, up = torch.randn(2, 32), torch.randn(96, 2)
    name = "base_model.model.transformer.h.0.attn.c_attn"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "fan_in_fan_out": True}))
    found = read_adapter(tmp_path, spec)
    assert [torch.equal(found.layers[f"decoder.blocks.0.attention.{p}"].down, down) for p in "qkv"] == [True] * 3
    assert torch.equal(torch.cat([found.layers[f"decoder.blocks.0.attention.{p}"].up for p in "qkv"]), up)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": "3"}, "numbers"),
        ({"lora_alpha": float("inf")}, "numbers"),
        ({"r": 4}, "shape"),
    ],
)
def test_settings_that_would_be_computed_otherwise_are_refused(folder: Path, settings, says: str) -> None:
    change(folder, **settings)
    with pytest.raises(ModelFileError, match=says):
        read_adapter(folder, model().spec)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda t: t[f"{Q}.lora_A.weight"].fill_(float("nan")), "finite"),
        (lambda t: t.update({f"{Q}.lora_A.weight": torch.zeros(3, 31)}), "shape"),
        (lambda t: t.pop(f"{Q}.lora_B.weight"), "missing"),
        (lambda t: t.update({f"{Q}.lora_magnitude_vector": torch.ones(32)}), "no part of a LoRA"),
        (lambda t: t.update({f"{Q}.lora_A.weight": torch.ones(3, 32, dtype=torch.int8)}), "finite"),
        (lambda t: t.update({f"{Q.replace('q_proj', 'w_proj')}.lora_A.weight": torch.ones(3, 32)}), "w_proj"),
        (lambda t: t.clear(), "no tensors"),
    ],
    ids=["nan", "shape", "half", "vector", "integers", "unknown", "empty"],
)
def test_tensors_that_do_not_fit_are_refused(folder: Path, changed, says: str) -> None:
    tensors(folder, changed)
    with pytest.raises(ModelFileError, match=says):
        read_adapter(folder, model().spec)


def test_another_base_a_pickle_and_too_high_a_rank_are_refused(folder: Path) -> None:
    with pytest.raises(ModelFileError, match="shape"):
        read_adapter(folder, model(width=64).spec)
    with pytest.raises(ModelFileError, match=r"layers\.1"):
        read_adapter(folder, model(layers=1).spec)
    with pytest.raises(TooLargeError, match="rank 3"):
        read_adapter(folder, model().spec, most_rank=2)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(ModelFileError, match="pickle"):
        read_adapter(folder, model().spec)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(ModelFileError, match="not a PEFT adapter"):
        read_adapter(folder, model().spec)


def test_what_is_read_is_what_was_saved(folder: Path) -> None:
    from lamina.model.lora import load_lora

    other = model()
    load_lora(other, folder)
    layers, found = dict(lora_layers(other)), read_adapter(folder, other.spec).layers
    assert set(layers) == set(found)
    assert all(torch.equal(layers[name].lora_up, part.up) for name, part in found.items())
    assert {layer.scale for layer in layers.values()} == {2.0}
