"""Descriptions and pictures of models."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from lamina.model.architectures.presets import PRESETS, preset
from lamina.model.checkpoint import open_model
from lamina.model.show import attention_maps, describe, draw, draw_attention
from lamina.model.transformer import Transformer


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_parts_add_up_to_the_model(name: str) -> None:
    described = describe(preset(name))
    assert sum(part.parameters * part.times for part in described.parts) == described.parameters
    assert f"{described.parameters:,}" in described.text()
    svg = ElementTree.fromstring(draw(described, f"<{name}> & co"))
    texts = ["".join(node.itertext()) for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == f"<{name}> & co"
    assert all(any(f"{p.parameters * p.times:,}" == t for t in texts) for p in described.parts)


def test_costs_of_smollm2_by_hand() -> None:
    described = describe(preset("smollm2-135m"), context=1000)
    width, inner, kv, layers, vocabulary = 576, 1536, 192, 30, 49152
    products = layers * (2 * width * width + 2 * width * kv + 3 * width * inner) + vocabulary * width
    assert described.flops == 2 * products + layers * 4 * 576 * 1000
    assert described.cache_bytes == layers * 2 * kv * 4
    assert described.weight_bytes["bfloat16"] == 2 * described.parameters == 2 * 134_515_008
    assert describe(preset("smollm2-135m"), context=0).flops == 2 * products
    assert describe(preset("bert-base")).cache_bytes == 0


@torch.no_grad()
def test_what_tokens_attend_to_is_what_the_model_computes(reference, any_variant) -> None:
    """The values, weighted by the maps, give the attention's own output."""
    folder, _ = reference(any_variant)
    model = open_model(folder)
    ids = torch.randint(0, 80, (1, 9), generator=torch.Generator().manual_seed(1))
    seen: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    for name, module in model.named_modules():
        if name.endswith(("attention", "cross")):

            def keep(module, arguments, given, out, name=name) -> None:
                attended = arguments[0] if given.get("source") is None else given["source"]
                seen[name] = (module, attended, out)

            module.register_forward_hook(keep, with_kwargs=True)
    maps = attention_maps(model, ids, sources=ids[:, :6] if model.encoder and model.decoder else None)
    assert set(maps) == set(seen)
    for name, (module, attended, out) in seen.items():
        torch.testing.assert_close(maps[name].sum(-1), torch.ones(maps[name].shape[:2]))
        values = module._pair(attended)[1][0].repeat_interleave(module.heads // module.kv_heads, dim=0)
        wanted = module.o((maps[name] @ values).transpose(0, 1).reshape(1, maps[name].shape[1], -1))
        torch.testing.assert_close(wanted, out, rtol=1e-4, atol=1e-5)


def test_attention_is_drawn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Transformer(preset("nano", vocabulary=60))
    maps = attention_maps(model, torch.arange(5)[None])
    draw_attention(maps, ["the", "sea", "&", "<b>", "."], tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    ElementTree.fromstring(text)
    assert "decoder.blocks.3.attention" in text
    assert text.count("<image") == 4 * 5
