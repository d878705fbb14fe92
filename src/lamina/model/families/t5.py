"""T5 (arXiv 1910.10683), version 1.0 and 1.1 (gated, untied), as an encoder-decoder.

Attention is not scaled; relative positions are a bias that all layers share and that lies in the first; the norm is
an RMSNorm; version 1.0 multiplies the decoder's output by width ** -0.5, and its head is the embedding.
"""

from __future__ import annotations

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
    RelativeSpec,
    StackSpec,
)

_PROJECTIONS: dict[str, tuple[Activation, bool]] = {
    "relu": ("relu", False),
    "gated-gelu": ("gelu-tanh", True),
    "gelu": ("gelu", False),
    "gelu_new": ("gelu-tanh", False),
    "gated-gelu_new": ("gelu-tanh", True),
    "gated-relu": ("relu", True),
    "silu": ("silu", False),
    "gated-silu": ("silu", True),
}
_POSITIONS = 512  # the longest text of its training; nothing in the model bounds it


def _attention(stack: str, ours: str, place: int, theirs: str) -> tuple[Rule, ...]:
    block, layer = f"{stack}.blocks.{{i}}", f"{stack}.block.{{i}}.layer.{place}"
    return (
        *(same(f"{block}.{ours}.{p}.weight", f"{layer}.{theirs}.{p}.weight") for p in "qkvo"),
        same(f"{block}.{ours}_norm.weight", f"{layer}.layer_norm.weight"),
    )


def _feedforward(stack: str, place: int) -> tuple[Rule, ...]:
    block, layer = f"{stack}.blocks.{{i}}", f"{stack}.block.{{i}}.layer.{place}"
    dense = f"{layer}.DenseReluDense"
    return (
        same(f"{block}.feedforward.gate.weight", f"{dense}.wi_0.weight"),
        same(f"{block}.feedforward.up.weight", f"{dense}.wi.weight", without=f"{block}.feedforward.gate.weight"),
        same(f"{block}.feedforward.up.weight", f"{dense}.wi_1.weight", beside=f"{block}.feedforward.gate.weight"),
        same(f"{block}.feedforward.down.weight", f"{dense}.wo.weight"),
        same(f"{block}.feedforward_norm.weight", f"{layer}.layer_norm.weight"),
    )


_RULES: tuple[Rule, ...] = (
    same("encoder.embeddings.token.weight", "shared.weight"),
    *_attention("encoder", "attention", 0, "SelfAttention"),
    *_feedforward("encoder", 1),
    *_attention("decoder", "attention", 0, "SelfAttention"),
    *_attention("decoder", "cross", 1, "EncDecAttention"),
    *_feedforward("decoder", 2),
    *(
        rule
        for stack in ("encoder", "decoder")
        for rule in (
            same(
                f"{stack}.relative.table.weight",
                f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            ),
            same(f"{stack}.norm.weight", f"{stack}.final_layer_norm.weight"),
        )
    ),
    same("head.weight", "lm_head.weight"),
)


def to_spec(config: Mapping[str, Any], where: str) -> ModelSpec:
    """The specification that a T5 ``config.json`` describes.

    transformers 5 writes ``tie_word_embeddings`` true always and keeps the old flag as ``scale_decoder_outputs``.
    """
    fields = Fields(config, where)
    width, heads = fields.whole("d_model", 512), fields.whole("num_heads", 8)
    norm = NormSpec(kind="rms", eps=fields.number("layer_norm_epsilon", 1e-6))
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_dim=fields.whole("d_kv", 64), scale=1.0)
    activation, gated = fields.choice("feed_forward_proj", "relu", _PROJECTIONS)
    feedforward = FeedForwardSpec(inner=fields.whole("d_ff", 2048), activation=activation, gated=gated)
    relative = RelativeSpec(
        buckets=fields.whole("relative_attention_num_buckets", 32),
        max_distance=fields.whole("relative_attention_max_distance", 128),
    )
    embeddings = EmbeddingSpec(vocabulary=fields.whole("vocab_size", 32128), width=width)
    layers = fields.whole("num_layers", 6)
    tied = fields.flag("tie_word_embeddings", True)
    scaled = fields.flag("scale_decoder_outputs", tied)

    def stack(count: int, cross: AttentionSpec | None) -> StackSpec:
        block = BlockSpec(attention=attention, feedforward=feedforward, norm=norm, cross=cross)
        return StackSpec(
            embeddings=embeddings, blocks=(block,) * count, norm=norm, causal=cross is not None, relative=relative
        )

    return ModelSpec(
        encoder=stack(layers, None),
        decoder=stack(fields.whole("num_decoder_layers", layers), attention),
        head=HeadSpec(tied=tied, scale=width**-0.5 if scaled else 1.0),
        max_positions=fields.whole("n_positions", _POSITIONS),
        shared_embeddings=True,
        start_token=fields.whole("decoder_start_token_id", fields.whole("pad_token_id", 0)),
        dropout=fields.number("dropout_rate", 0.1),
    )


def from_spec(spec: ModelSpec) -> dict[str, Any] | None:
    """The ``config.json`` of ``spec``, or None where T5 cannot express it."""
    encoder, decoder, head = spec.encoder, spec.decoder, spec.head
    if encoder is None or decoder is None or head is None or spec.outputs or not spec.shared_embeddings:
        return None
    block, embeddings = encoder.blocks[0], encoder.embeddings
    attention, feedforward, norm, relative = block.attention, block.feedforward, block.norm, encoder.relative
    proj = next((n for n, p in _PROJECTIONS.items() if p == (feedforward.activation, feedforward.gated)), None)
    if relative is None or proj is None or norm.kind != "rms" or norm.offset or block.placement != "pre":
        return None
    heads, head_dim = attention.heads, attention.head_dim
    plain = AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim, scale=1.0)
    usual = EmbeddingSpec(vocabulary=embeddings.vocabulary, width=embeddings.width)
    ours = BlockSpec(attention=plain, feedforward=feedforward, norm=norm)
    crossing = BlockSpec(attention=plain, feedforward=feedforward, norm=norm, cross=plain)
    scaled = head.scale != 1.0
    fits = (
        all(b == ours for b in encoder.blocks)
        and all(b == crossing for b in decoder.blocks)
        and encoder.norm == decoder.norm == norm
        and encoder.embeddings == decoder.embeddings == usual
        and decoder.relative == relative
        and (encoder.causal, decoder.causal) == (False, True)
        and head == HeadSpec(tied=head.tied, scale=embeddings.width**-0.5 if scaled else 1.0)
        and not feedforward.bias
    )
    if not fits:
        return None
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": embeddings.vocabulary,
        "d_model": embeddings.width,
        "d_kv": attention.head_dim,
        "d_ff": feedforward.inner,
        "num_layers": len(encoder.blocks),
        "num_decoder_layers": len(decoder.blocks),
        "num_heads": attention.heads,
        "relative_attention_num_buckets": relative.buckets,
        "relative_attention_max_distance": relative.max_distance,
        "dropout_rate": spec.dropout,
        "layer_norm_epsilon": norm.eps,
        "feed_forward_proj": proj,
        "n_positions": spec.max_positions,
        "tie_word_embeddings": head.tied,
        "scale_decoder_outputs": scaled,
        "decoder_start_token_id": spec.start_token,
        "pad_token_id": spec.start_token,
    }


FAMILY = Family(
    model_type="t5",
    to_spec=to_spec,
    from_spec=from_spec,
    rules=_RULES,
    prefix="",
    ignored=(
        r"(encoder|decoder)\.embed_tokens\.weight",
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    ),
)
