"""SmolLM3 (Hugging Face 2025): Llama with layers that have no positions at all (NoPE, arXiv 2305.19466)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lamina.model.families.decoders import (
    IGNORED,
    PRE_NORMS,
    RULES,
    base_config,
    class_fields,
    common,
    model_of,
    plain_block,
    rope_fields,
    window_fields,
    windows,
    with_bias,
)
from lamina.model.families.weights import Family, Fields
from lamina.model.spec import ModelSpec

_THETA = 2_000_000.0


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a SmolLM3 ``config.json`` describes."""
    fields = Fields(config, where)
    positions = fields.whole("max_position_embeddings", 32768)
    bias = fields.flag("attention_bias", False)
    block = plain_block(fields, positions=positions, theta=_THETA)
    block = with_bias(block, qkv=bias, out=bias, feedforward=fields.flag("mlp_bias", False))
    layers, every = fields.whole("num_hidden_layers"), fields.whole("no_rope_layer_interval", 4)
    turned = fields.wholes("no_rope_layers") or [int((i + 1) % every != 0) for i in range(layers)]
    if len(turned) < layers:
        raise fields.refuse("no_rope_layers", f"must hold {layers} numbers, 1 for a layer with rotary positions")
    seen: list[int | None] = [None] * layers
    if fields.flag("use_sliding_window", False):
        seen = windows(fields, layers, [not turn for turn in turned[:layers]])
    blocks = [
        replace(
            block,
            attention=replace(block.attention, window=window, rotary=block.attention.rotary if turn else None),
        )
        for turn, window in zip(turned, seen, strict=False)
    ]
    return model_of(fields, blocks, positions=positions, tied=True)


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where SmolLM3 cannot express it."""
    block = common(spec)
    kinds = window_fields(spec) if block else None
    if block is None or kinds is None:
        return None
    attention = block.attention
    usual = attention.heads * attention.head_dim == spec.stack.embeddings.width
    if attention.qk_norm or attention.scale is not None or attention.bias != attention.out_bias or not usual:
        return None
    turnings = {b.attention.rotary for b in spec.stack.blocks if b.attention.rotary}
    if len(turnings) != 1 or block.placement != "pre" or block.norm.offset:
        return None
    config = base_config(spec, block)
    del config["head_dim"]
    return {
        "model_type": "smollm3",
        **class_fields(spec, "SmolLM3"),
        **config,
        "attention_bias": attention.bias,
        "mlp_bias": block.feedforward.bias,
        "no_rope_layers": [int(b.attention.rotary is not None) for b in spec.stack.blocks],
        **rope_fields(turnings.pop()),
        "use_sliding_window": kinds["sliding_window"] is not None,
        **kinds,
    }


FAMILY = Family(
    model_type="smollm3",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=(*RULES, *PRE_NORMS),
    prefix="model.",
    ignored=IGNORED,
    defaults=dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
)
