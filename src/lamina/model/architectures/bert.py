"""Encoders: BERT's form, and presets of it."""

from __future__ import annotations

from lamina.model.architectures.sizes import share
from lamina.model.spec import (
    Activation,
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    OutputSpec,
    StackSpec,
)


def bert(
    *,
    vocabulary: int = 30522,
    width: int = 768,
    layers: int = 12,
    heads: int = 12,
    inner: int | None = None,
    max_positions: int = 512,
    activation: Activation = "gelu",
    next_sentence: bool = False,
    dropout: float = 0.0,
) -> ModelSpec:
    """LayerNorm after the sums, learned positions, two kinds of token, masked language model (arXiv 1810.04805).

    ``next_sentence``: with the pooler and its second objective.
    """
    norm = NormSpec(kind="layer", eps=1e-12)
    head_dim = share(width, heads)
    block = BlockSpec(
        attention=AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim, bias=True, out_bias=True),
        feedforward=FeedForwardSpec(inner=inner or 4 * width, activation=activation, bias=True),
        norm=norm,
        placement="post",
    )
    embeddings = EmbeddingSpec(vocabulary=vocabulary, width=width, positions="learned", segments=2, norm=norm)
    return ModelSpec(
        encoder=StackSpec(embeddings=embeddings, blocks=(block,) * layers, norm=None, causal=False),
        head=HeadSpec(bias=True, transform=activation, norm=norm),
        outputs=(OutputSpec(kind="pooler"), OutputSpec(kind="next-sentence")) if next_sentence else (),
        max_positions=max_positions,
        dropout=dropout,
    )
