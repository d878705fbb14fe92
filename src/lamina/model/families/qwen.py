"""Qwen 2 (arXiv 2407.10671), with biases of queries, keys and values; Qwen 3 (arXiv 2505.09388), with norms of them.

Layers past ``max_window_layers`` may see a window only.
"""

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
from lamina.model.spec import BlockSpec, ModelSpec


def _model(fields: Fields, block: BlockSpec, positions: int) -> ModelSpec:
    layers = fields.whole("num_hidden_layers")
    sliding = fields.flag("use_sliding_window", False)
    first = fields.whole("max_window_layers", 28)
    seen: list[int | None] = [None] * layers
    if sliding:
        seen = windows(fields, layers, [i >= first for i in range(layers)])
    blocks = [replace(block, attention=replace(block.attention, window=window)) for window in seen]
    return model_of(fields, blocks, positions=positions, tied=False)


def _to_spec_2(config: Mapping[str, Any], where: str) -> ModelSpec:
    fields = Fields(config, where)
    positions = fields.whole("max_position_embeddings", 32768)
    block = with_bias(plain_block(fields, positions=positions), qkv=True, out=False, feedforward=False)
    return _model(fields, block, positions)


def _to_spec_3(config: Mapping[str, Any], where: str) -> ModelSpec:
    fields = Fields({"head_dim": 128, **config}, where)
    positions = fields.whole("max_position_embeddings", 32768)
    bias = fields.flag("attention_bias", False)
    block = with_bias(plain_block(fields, positions=positions), qkv=bias, out=bias, feedforward=False)
    return _model(fields, replace(block, attention=replace(block.attention, qk_norm=block.norm)), positions)


def _config(spec: ModelSpec, block: BlockSpec | None) -> dict[str, Any] | None:
    """What both write; None for what neither can express."""
    if block is None or block.placement != "pre" or block.norm.offset or block.feedforward.bias:
        return None
    rotary, kinds = block.attention.rotary, window_fields(spec)
    if rotary is None or kinds is None or any(b.attention.rotary != rotary for b in spec.stack.blocks):
        return None
    if block.attention.scale is not None:
        return None
    sliding = {"use_sliding_window": kinds["sliding_window"] is not None}
    return {**base_config(spec, block), **rope_fields(rotary), **sliding, **kinds}


def _from_spec_2(spec: ModelSpec) -> dict[str, Any] | None:
    block = common(spec)
    config = _config(spec, block)
    if config is None or block is None or block.attention.qk_norm or block.attention.out_bias:
        return None
    if not block.attention.bias or config["head_dim"] * config["num_attention_heads"] != config["hidden_size"]:
        return None
    return {"model_type": "qwen2", **class_fields(spec, "Qwen2"), **config}


def _from_spec_3(spec: ModelSpec) -> dict[str, Any] | None:
    block = common(spec)
    config = _config(spec, block)
    if config is None or block is None or block.attention.qk_norm != block.norm:
        return None
    if block.attention.bias != block.attention.out_bias:
        return None
    bias = {"attention_bias": block.attention.bias}
    return {"model_type": "qwen3", **class_fields(spec, "Qwen3"), **config, **bias}


QWEN2 = Family(
    model_type="qwen2",
    to_spec=_to_spec_2,
    from_spec=_from_spec_2,
    rules=(*RULES, *PRE_NORMS),
    prefix="model.",
    ignored=IGNORED,
)
QWEN3 = replace(QWEN2, model_type="qwen3", to_spec=_to_spec_3, from_spec=_from_spec_3)
