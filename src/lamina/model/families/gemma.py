"""Gemma 3's text model (arXiv 2503.19786): norms before and after each part, norms of queries and keys, windows.

The embedding is scaled by the root of its width; norms are stored less one; five of six layers see a window and turn
faster than those that see everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lamina.model.families.decoders import (
    FULL,
    IGNORED,
    RULES,
    SLIDING,
    base_config,
    common,
    model_of,
    plain_block,
    rope_parameters,
    rotary_of,
    window_fields,
    windows,
)
from lamina.model.families.weights import Family, Fields, same
from lamina.model.spec import ModelSpec, NormSpec, RotarySpec

_THETA = {FULL: 1_000_000.0, SLIDING: 10_000.0}
_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_after": "post_attention_layernorm",
    "feedforward_norm": "pre_feedforward_layernorm",
    "feedforward_after": "post_feedforward_layernorm",
}


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a Gemma 3 ``config.json`` (of the text model) describes."""
    usual = {"head_dim": 256, "hidden_act": config.get("hidden_activation", "gelu_pytorch_tanh")}
    fields = Fields({"sliding_window": 4096, **usual, **config}, where)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.get(key) is not None:
            raise fields.refuse(key, "is not supported")
    for key in ("use_bidirectional_attention", "attention_bias"):
        if fields.flag(key, False):
            raise fields.refuse(key, "is not supported")
    positions = fields.whole("max_position_embeddings", 131072)
    turning = _turning(fields, positions)
    layers, every = fields.whole("num_hidden_layers"), fields.whole("sliding_window_pattern", 6)
    norm = NormSpec(kind="rms", eps=fields.number("rms_norm_eps", 1e-6), offset=True)
    block = replace(plain_block(fields, positions=positions), norm=norm, placement="sandwich")
    attention = replace(
        block.attention, qk_norm=norm, scale=fields.number("query_pre_attn_scalar", 256.0) ** -0.5, rotary=None
    )
    blocks = [
        replace(block, attention=replace(attention, window=w, rotary=turning[FULL if w is None else SLIDING]))
        for w in windows(fields, layers, [bool((i + 1) % every) for i in range(layers)])
    ]
    width = fields.whole("hidden_size")
    return model_of(fields, blocks, positions=positions, tied=True, scale=math.sqrt(width))


def _turning(fields: Fields, positions: int) -> dict[str, RotarySpec]:
    """Rotary positions of either kind of layer: tables by kind (transformers 5), or single keys (transformers 4)."""
    tables = fields.table("rope_parameters")
    old = {
        FULL: fields.number("rope_theta", _THETA[FULL]),
        SLIDING: fields.number("rope_local_base_freq", _THETA[SLIDING]),
    }
    found = {}
    for kind, theta in old.items():
        table = tables.get(kind) or (fields.table("rope_scaling") if kind == FULL else {})
        if not isinstance(table, Mapping):
            raise fields.refuse("rope_parameters", f"must hold a table for {kind}")
        found[kind] = rotary_of(dict(table), fields, positions, theta)
    return found


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where Gemma 3 cannot express it."""
    block = common(spec, scale=math.sqrt(spec.stack.embeddings.width))
    kinds = window_fields(spec) if block else None
    if block is None or kinds is None or spec.head is None:
        return None
    attention = block.attention
    if attention.qk_norm != block.norm or not block.norm.offset or block.placement != "sandwich":
        return None
    if attention.scale is None or attention.bias or attention.out_bias or block.feedforward.bias:
        return None
    turning: dict[str, RotarySpec] = {}
    for kind, other in zip(kinds["layer_types"], spec.stack.blocks, strict=True):
        if other.attention.rotary is None or turning.setdefault(kind, other.attention.rotary) != other.attention.rotary:
            return None
    config = base_config(spec, block)
    config["hidden_activation"] = config.pop("hidden_act")
    return {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        **config,
        "query_pre_attn_scalar": _scalar(attention.scale),
        "rope_parameters": {kind: rope_parameters(rotary) for kind, rotary in turning.items()},
        **kinds,
    }


def _scalar(scale: float) -> float | int:
    """What ``scale`` is the inverse root of; whole where it is."""
    value = scale**-2
    return round(value) if abs(value - round(value)) < 1e-6 * value else value


FAMILY = Family(
    model_type="gemma3_text",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=(
        *RULES,
        *(same(f"decoder.blocks.{{i}}.{a}.weight", f"model.layers.{{i}}.{b}.weight") for a, b in _NORMS.items()),
    ),
    prefix="model.",
    ignored=IGNORED,
    defaults=dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id")),
)
