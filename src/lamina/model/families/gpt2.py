"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

Its linear layers are stored transposed (``Conv1D``: in × out) with query, key and value in one matrix; the activation
is the tanh form of GELU. Old files lack the prefix and carry the causal mask as buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.model.families.weights import Family, Fields, Rule, plain_decoder, same
from lamina.model.spec import (
    Activation,
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    StackSpec,
)

_ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
}

_H = "transformer.h.{i}"
_B = "decoder.blocks.{i}"
_RULES = (
    same("decoder.embeddings.token.weight", "transformer.wte.weight"),
    same("decoder.embeddings.position.weight", "transformer.wpe.weight"),
    *(
        rule
        for kind, transpose in (("weight", True), ("bias", False))
        for rule in (
            same(f"{_B}.attention_norm.{kind}", f"{_H}.ln_1.{kind}"),
            Rule(tuple(f"{_B}.attention.{p}.{kind}" for p in "qkv"), f"{_H}.attn.c_attn.{kind}", transpose),
            Rule((f"{_B}.attention.o.{kind}",), f"{_H}.attn.c_proj.{kind}", transpose),
            same(f"{_B}.feedforward_norm.{kind}", f"{_H}.ln_2.{kind}"),
            Rule((f"{_B}.feedforward.up.{kind}",), f"{_H}.mlp.c_fc.{kind}", transpose),
            Rule((f"{_B}.feedforward.down.{kind}",), f"{_H}.mlp.c_proj.{kind}", transpose),
        )
    ),
    same("decoder.norm.weight", "transformer.ln_f.weight"),
    same("decoder.norm.bias", "transformer.ln_f.bias"),
    same("head.weight", "lm_head.weight"),
)


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a GPT-2 ``config.json`` describes."""
    fields = Fields(config, where)
    for key, usual in (
        ("scale_attn_weights", True),
        ("scale_attn_by_inverse_layer_idx", False),
        ("add_cross_attention", False),
    ):
        if fields.flag(key, usual) is not usual:
            raise fields.refuse(key, f"other than {str(usual).lower()} is not supported")
    width, heads = fields.whole("n_embd", 768), fields.whole("n_head", 12)
    norm = NormSpec(kind="layer", eps=fields.number("layer_norm_epsilon", 1e-5))
    block = BlockSpec(
        attention=AttentionSpec(
            heads=heads, kv_heads=heads, head_dim=width // max(heads, 1), bias=True, out_bias=True, rotary=None
        ),
        feedforward=FeedForwardSpec(
            inner=fields.whole("n_inner", 4 * width),
            activation=fields.choice("activation_function", "gelu_new", _ACTIVATIONS),
            bias=True,
        ),
        norm=norm,
    )
    embeddings = EmbeddingSpec(vocabulary=fields.whole("vocab_size", 50257), width=width, positions="learned")
    return ModelSpec(
        decoder=StackSpec(embeddings=embeddings, blocks=(block,) * fields.whole("n_layer", 12), norm=norm, causal=True),
        head=HeadSpec(tied=fields.flag("tie_word_embeddings", True)),
        max_positions=fields.whole("n_positions", 1024),
    )


def _expressible(spec: ModelSpec) -> bool:
    stack = spec.decoder
    if stack is None or not plain_decoder(spec):
        return False
    block = stack.blocks[0]
    attention, feedforward, embeddings = block.attention, block.feedforward, stack.embeddings
    usual = EmbeddingSpec(vocabulary=embeddings.vocabulary, width=embeddings.width, positions="learned")
    return (
        all(b == block for b in stack.blocks)
        and block.norm == stack.norm
        and block.norm.kind == "layer"
        and block.placement == "pre"
        and embeddings == usual
        and attention.rotary is None
        and attention.window is None
        and attention.scale is None
        and attention.qk_norm is None
        and attention.bias
        and attention.out_bias
        and attention.heads == attention.kv_heads
        and attention.heads * attention.head_dim == embeddings.width
        and feedforward.bias
        and not feedforward.gated
        and feedforward.activation in _ACTIVATIONS.values()
    )


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where GPT-2 cannot express it."""
    stack, head = spec.decoder, spec.head
    if stack is None or head is None or not _expressible(spec):
        return None
    feedforward = stack.blocks[0].feedforward
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": stack.embeddings.vocabulary,
        "n_positions": spec.max_positions,
        "n_embd": stack.embeddings.width,
        "n_layer": len(stack.blocks),
        "n_head": stack.blocks[0].attention.heads,
        "n_inner": feedforward.inner,
        "activation_function": next(n for n, ours in _ACTIVATIONS.items() if ours == feedforward.activation),
        "layer_norm_epsilon": stack.blocks[0].norm.eps,
        "tie_word_embeddings": head.tied,
    }


FAMILY = Family(
    model_type="gpt2",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=_RULES,
    prefix="transformer.",
    ignored=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
)
