"""Encoder-decoders: the transformer of "Attention is all you need", Marian's form of it, and T5."""

from __future__ import annotations

import math

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
    Positions,
    RelativeSpec,
    StackSpec,
)


def vaswani(
    *,
    vocabulary: int = 37000,
    width: int = 512,
    layers: int = 6,
    heads: int = 8,
    inner: int = 2048,
    max_positions: int = 512,
    start_token: int = 0,
    activation: Activation = "relu",
    positions: Positions = "interleaved",
    bias: bool = False,
    dropout: float = 0.1,
) -> ModelSpec:
    """LayerNorm after the sums, sinusoidal positions, ReLU, one table for both sides and the head (arXiv 1706.03762).

    ``bias``: of the scores, as in Marian.
    """
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_dim=share(width, heads), bias=True, out_bias=True)
    embeddings = EmbeddingSpec(vocabulary=vocabulary, width=width, positions=positions, scale=math.sqrt(width))

    def stack(cross: AttentionSpec | None) -> StackSpec:
        block = BlockSpec(
            attention=attention,
            feedforward=FeedForwardSpec(inner=inner, activation=activation, bias=True),
            norm=NormSpec(kind="layer", eps=1e-5),
            placement="post",
            cross=cross,
        )
        return StackSpec(embeddings=embeddings, blocks=(block,) * layers, norm=None, causal=cross is not None)

    return ModelSpec(
        encoder=stack(None),
        decoder=stack(attention),
        head=HeadSpec(bias=bias),
        max_positions=max_positions,
        shared_embeddings=True,
        start_token=start_token,
        dropout=dropout,
    )


def marian(
    *,
    vocabulary: int = 58101,
    width: int = 512,
    layers: int = 6,
    heads: int = 8,
    inner: int = 2048,
    max_positions: int = 512,
    start_token: int = 58100,
    activation: Activation = "silu",
    dropout: float = 0.1,
) -> ModelSpec:
    """``vaswani`` as OPUS-MT has it: Swish, sines before cosines, scores with a bias (arXiv 1804.00344)."""
    return vaswani(
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        heads=heads,
        inner=inner,
        max_positions=max_positions,
        start_token=start_token,
        activation=activation,
        positions="sinusoidal",
        bias=True,
        dropout=dropout,
    )


def t5(
    *,
    vocabulary: int = 32128,
    width: int = 512,
    layers: int = 8,
    heads: int = 6,
    head_dim: int = 64,
    inner: int = 1024,
    gated: bool = True,
    start_token: int = 0,
    dropout: float = 0.1,
) -> ModelSpec:
    """RMSNorm before the parts, relative positions, unscaled attention (arXiv 1910.10683).

    ``gated``: version 1.1, with gated GELU and a head of its own; else version 1.0.
    """
    norm = NormSpec(kind="rms", eps=1e-6)
    attention = AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim, scale=1.0)
    feedforward = FeedForwardSpec(inner=inner, activation="gelu-tanh" if gated else "relu", gated=gated)

    def stack(cross: AttentionSpec | None) -> StackSpec:
        block = BlockSpec(attention=attention, feedforward=feedforward, norm=norm, cross=cross)
        return StackSpec(
            embeddings=EmbeddingSpec(vocabulary=vocabulary, width=width),
            blocks=(block,) * layers,
            norm=norm,
            causal=cross is not None,
            relative=RelativeSpec(),
        )

    return ModelSpec(
        encoder=stack(None),
        decoder=stack(attention),
        head=HeadSpec(tied=not gated, scale=1.0 if gated else width**-0.5),
        max_positions=512,
        shared_embeddings=True,
        start_token=start_token,
        dropout=dropout,
    )
