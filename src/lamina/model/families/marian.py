"""Marian (OPUS-MT; arXiv 1804.00344): the encoder-decoder of "Attention is all you need", as Hugging Face keeps it.

Norms come after the residual sums; sinusoidal positions with sines first, then cosines, are computed, not stored;
the head has a bias of its own (``final_logits_bias``); a text starts with the padding token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lamina.model.families.weights import Family, Fields, Rule, same
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
    "swish": "silu",
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu-tanh",
    "relu": "relu",
}
_EPS = 1e-5  # torch's, which the files do not name


def _rules(stack: str) -> tuple[Rule, ...]:
    ours, theirs = f"{stack}.blocks.{{i}}", f"model.{stack}.layers.{{i}}"
    parts = {f"attention.{p}": f"self_attn.{n}_proj" for p, n in zip("qkvo", ("q", "k", "v", "out"), strict=True)}
    parts |= {f"cross.{p}": f"encoder_attn.{n}_proj" for p, n in zip("qkvo", ("q", "k", "v", "out"), strict=True)}
    parts |= {"attention_norm": "self_attn_layer_norm", "cross_norm": "encoder_attn_layer_norm"}
    parts |= {"feedforward.up": "fc1", "feedforward.down": "fc2", "feedforward_norm": "final_layer_norm"}
    return tuple(
        same(f"{ours}.{a}.{kind}", f"{theirs}.{b}.{kind}") for a, b in parts.items() for kind in ("weight", "bias")
    )


_DECODER = "decoder.embeddings.token.weight"
_RULES: tuple[Rule, ...] = (
    same("encoder.embeddings.token.weight", "model.shared.weight", without=_DECODER),
    same("encoder.embeddings.token.weight", "model.encoder.embed_tokens.weight", beside=_DECODER),
    same(_DECODER, "model.decoder.embed_tokens.weight"),
    *_rules("encoder"),
    *_rules("decoder"),
    same("head.weight", "lm_head.weight"),
    Rule(("head.bias",), "final_logits_bias", row=True),
)


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a Marian ``config.json`` describes."""
    fields = Fields(config, where)
    width, vocabulary = fields.whole("d_model", 1024), fields.whole("vocab_size", 58101)
    shared = fields.flag("share_encoder_decoder_embeddings", True)
    for key in ("normalize_before", "add_final_layer_norm", "normalize_embedding", "static_position_embeddings"):
        usual = key == "static_position_embeddings"
        if fields.flag(key, usual) is not usual:
            raise fields.refuse(key, f"other than {str(usual).lower()} is not supported")
    norm = NormSpec(kind="layer", eps=_EPS)
    activation = fields.choice("activation_function", "gelu", _ACTIVATIONS)
    scale = math.sqrt(width) if fields.flag("scale_embedding", False) else 1.0

    def stack(name: str, vocabulary: int) -> StackSpec:
        heads = fields.whole(f"{name}_attention_heads", 16)
        attention = AttentionSpec(
            heads=heads, kv_heads=heads, head_dim=width // max(heads, 1), bias=True, out_bias=True
        )
        block = BlockSpec(
            attention=attention,
            feedforward=FeedForwardSpec(inner=fields.whole(f"{name}_ffn_dim", 4096), activation=activation, bias=True),
            norm=norm,
            placement="post",
            cross=attention if name == "decoder" else None,
        )
        embeddings = EmbeddingSpec(vocabulary=vocabulary, width=width, positions="sinusoidal", scale=scale)
        layers = fields.whole(f"{name}_layers", 12)
        return StackSpec(embeddings=embeddings, blocks=(block,) * layers, norm=None, causal=name == "decoder")

    return ModelSpec(
        encoder=stack("encoder", vocabulary),
        decoder=stack("decoder", vocabulary if shared else fields.whole("decoder_vocab_size", vocabulary)),
        head=HeadSpec(tied=fields.flag("tie_word_embeddings", True), bias=True),
        max_positions=fields.whole("max_position_embeddings", 1024),
        shared_embeddings=shared,
        start_token=fields.whole("decoder_start_token_id", 58100),
        dropout=fields.number("dropout", 0.1),
    )


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where Marian cannot express it."""
    encoder, decoder, head = spec.encoder, spec.decoder, spec.head
    if (
        encoder is None
        or decoder is None
        or head is None
        or spec.outputs
        or head != HeadSpec(tied=head.tied, bias=True)
    ):
        return None
    width, activation = encoder.embeddings.width, encoder.blocks[0].feedforward.activation
    if activation not in _ACTIVATIONS.values() or not all(_usual(s, width, activation) for s in (encoder, decoder)):
        return None
    if encoder.embeddings.scale != decoder.embeddings.scale:
        return None
    config: dict[str, Any] = {"model_type": "marian", "architectures": ["MarianMTModel"], "is_encoder_decoder": True}
    for name, stack in (("encoder", encoder), ("decoder", decoder)):
        config[f"{name}_layers"] = len(stack.blocks)
        config[f"{name}_attention_heads"] = stack.blocks[0].attention.heads
        config[f"{name}_ffn_dim"] = stack.blocks[0].feedforward.inner
    return config | {
        "vocab_size": encoder.embeddings.vocabulary,
        "decoder_vocab_size": decoder.embeddings.vocabulary,
        "d_model": width,
        "activation_function": next(n for n, ours in _ACTIVATIONS.items() if ours == activation),
        "scale_embedding": encoder.embeddings.scale != 1.0,
        "share_encoder_decoder_embeddings": spec.shared_embeddings,
        "tie_word_embeddings": head.tied,
        "max_position_embeddings": spec.max_positions,
        "dropout": spec.dropout,
        "decoder_start_token_id": spec.start_token,
        "pad_token_id": spec.start_token,
    }


def _usual(stack: StackSpec, width: int, activation: Activation) -> bool:
    """Whether a stack is as Marian's are."""
    block, embeddings = stack.blocks[0], stack.embeddings
    attention = block.attention
    heads, head_dim = attention.heads, attention.head_dim
    plain = AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim, bias=True, out_bias=True)
    expected = BlockSpec(
        attention=plain,
        feedforward=FeedForwardSpec(inner=block.feedforward.inner, activation=activation, bias=True),
        norm=NormSpec(kind="layer", eps=_EPS),
        placement="post",
        cross=plain if stack.causal else None,
    )
    return (
        all(b == expected for b in stack.blocks)
        and stack.norm is None
        and stack.relative is None
        and embeddings.positions == "sinusoidal"
        and embeddings.scale in (1.0, math.sqrt(width))
        and embeddings.width == attention.heads * attention.head_dim == width
        and embeddings.norm is None
        and not embeddings.segments
    )


FAMILY = Family(
    model_type="marian",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=_RULES,
    prefix="model.",
    ignored=(r"model\.(encoder|decoder)\.embed_positions\.weight",),
)
