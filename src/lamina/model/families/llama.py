"""Llama and its kin (arXiv 2302.13971): SmolLM, TinyLlama, Llama 2 and 3.

RoPE is rotate-half, as in the Hugging Face files; the RMSNorm is computed in float32. Small members tie the head to
the embedding and have no ``lm_head`` tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    with_bias,
)
from lamina.model.families.weights import Family, Fields
from lamina.model.spec import ModelSpec


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a Llama ``config.json`` describes."""
    fields = Fields(config, where)
    positions = fields.whole("max_position_embeddings", 2048)
    bias = fields.flag("attention_bias", False)
    block = plain_block(fields, positions=positions)
    block = with_bias(block, qkv=bias, out=bias, feedforward=fields.flag("mlp_bias", False))
    return model_of(fields, (block,) * fields.whole("num_hidden_layers"), positions=positions, tied=False)


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where Llama cannot express it."""
    block = common(spec)
    if block is None or any(other != block for other in spec.stack.blocks):
        return None
    attention = block.attention
    if attention.qk_norm or attention.window or attention.scale is not None or attention.rotary is None:
        return None
    if attention.bias != attention.out_bias or block.placement != "pre" or block.norm.offset:
        return None
    return {
        "model_type": "llama",
        **class_fields(spec, "Llama"),
        **base_config(spec, block),
        "attention_bias": attention.bias,
        "mlp_bias": block.feedforward.bias,
        **rope_fields(attention.rotary),
    }


FAMILY = Family(
    model_type="llama",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=(*RULES, *PRE_NORMS),
    prefix="model.",
    ignored=IGNORED,
)
