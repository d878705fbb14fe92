"""Llama and its kin (arXiv 2302.13971): SmolLM, TinyLlama, Llama 2 and 3.

RoPE is rotate-half, as in the Hugging Face files; the RMSNorm is computed in float32. Small members tie the head to
the embedding and have no ``lm_head`` tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lamina.model.families.weights import Family, Fields, same
from lamina.model.spec import (
    Activation,
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    RotarySpec,
)

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu-tanh",
    "relu": "relu",
}
_SCALINGS: dict[str, Literal["none", "linear", "llama3"]] = {"default": "none", "linear": "linear", "llama3": "llama3"}

_PROJECTIONS = {
    "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj",
    "attention.v": "self_attn.v_proj",
    "attention.o": "self_attn.o_proj",
    "feedforward.gate": "mlp.gate_proj",
    "feedforward.up": "mlp.up_proj",
    "feedforward.down": "mlp.down_proj",
}

_RULES = (
    same("embeddings.token.weight", "model.embed_tokens.weight"),
    same("blocks.{i}.attention_norm.weight", "model.layers.{i}.input_layernorm.weight"),
    same("blocks.{i}.feedforward_norm.weight", "model.layers.{i}.post_attention_layernorm.weight"),
    *(
        same(f"blocks.{{i}}.{ours}.{kind}", f"model.layers.{{i}}.{theirs}.{kind}")
        for ours, theirs in _PROJECTIONS.items()
        for kind in ("weight", "bias")
    ),
    same("norm.weight", "model.norm.weight"),
    same("head.weight", "lm_head.weight"),
)


def _rotary(fields: Fields, positions: int) -> RotarySpec:
    """From ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling`` (transformers 4)."""
    table = dict(fields.table("rope_scaling")) | dict(fields.table("rope_parameters"))
    inner = Fields(table, f"{fields.where}: rope_parameters")
    theta = inner.number("rope_theta", fields.number("rope_theta", 10000.0))
    if inner.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0)) != 1.0:
        raise fields.refuse("partial_rotary_factor", "other than 1 is not supported")
    key = "rope_type" if "rope_type" in table else "type"
    scaling = inner.choice(key, "default", _SCALINGS)
    if scaling == "none":
        return RotarySpec(theta=theta)
    return RotarySpec(
        theta=theta,
        scaling=scaling,
        factor=inner.number("factor", 1.0),
        low=inner.number("low_freq_factor", 1.0),
        high=inner.number("high_freq_factor", 4.0),
        original_positions=inner.whole("original_max_position_embeddings", positions),
    )


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a Llama ``config.json`` describes."""
    fields = Fields(config, where)
    width, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    positions = fields.whole("max_position_embeddings", 2048)
    norm = NormSpec(kind="rms", eps=fields.number("rms_norm_eps", 1e-6))
    bias = fields.flag("attention_bias", False)
    block = BlockSpec(
        attention=AttentionSpec(
            heads=heads,
            kv_heads=fields.whole("num_key_value_heads", heads),
            head_dim=fields.whole("head_dim", width // max(heads, 1)),
            bias=bias,
            out_bias=bias,
            rotary=_rotary(fields, positions),
        ),
        feedforward=FeedForwardSpec(
            inner=fields.whole("intermediate_size"),
            activation=fields.choice("hidden_act", "silu", _ACTIVATIONS),
            gated=True,
            bias=fields.flag("mlp_bias", False),
        ),
        norm=norm,
    )
    return ModelSpec(
        embeddings=EmbeddingSpec(vocabulary=fields.whole("vocab_size"), width=width),
        blocks=(block,) * fields.whole("num_hidden_layers"),
        norm=norm,
        head=HeadSpec(tied=fields.flag("tie_word_embeddings", False)),
        max_positions=positions,
    )


def _expressible(spec: ModelSpec) -> bool:
    block = spec.blocks[0]
    attention, feedforward = block.attention, block.feedforward
    return (
        all(b == block for b in spec.blocks)
        and block.norm == spec.norm
        and spec.norm.kind == "rms"
        and spec.embeddings.positions == "none"
        and attention.rotary is not None
        and attention.qk_norm is None
        and attention.bias == attention.out_bias
        and feedforward.gated
    )


def _rope_parameters(rotary: RotarySpec) -> dict[str, Any]:
    rope_type = next(name for name, scaling in _SCALINGS.items() if scaling == rotary.scaling)
    parameters: dict[str, Any] = {"rope_type": rope_type, "rope_theta": rotary.theta}
    if rotary.scaling != "none":
        parameters["factor"] = rotary.factor
    if rotary.scaling == "llama3":
        parameters["low_freq_factor"] = rotary.low
        parameters["high_freq_factor"] = rotary.high
        parameters["original_max_position_embeddings"] = rotary.original_positions
    return parameters


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where Llama cannot express it."""
    if not _expressible(spec):
        return None
    attention, feedforward = spec.blocks[0].attention, spec.blocks[0].feedforward
    rotary = attention.rotary or RotarySpec()
    parameters = _rope_parameters(rotary)
    scaling = {k: v for k, v in parameters.items() if k != "rope_theta"} if rotary.scaling != "none" else None
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": spec.embeddings.vocabulary,
        "hidden_size": spec.embeddings.width,
        "intermediate_size": feedforward.inner,
        "num_hidden_layers": len(spec.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_dim,
        "hidden_act": next(name for name, ours in _ACTIVATIONS.items() if ours == feedforward.activation),
        "max_position_embeddings": spec.max_positions,
        "rms_norm_eps": spec.norm.eps,
        "attention_bias": attention.bias,
        "mlp_bias": feedforward.bias,
        "tie_word_embeddings": spec.head.tied,
        "rope_parameters": parameters,
        "rope_theta": rotary.theta,  # for readers of the older form
        "rope_scaling": scaling,
    }


FAMILY = Family(
    model_type="llama",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=_RULES,
    prefix="model.",
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)
