"""Decoder-only transformers: GPT-2's form, Llama's and its descendants', and a small modern one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lamina.model.architectures.sizes import rounded, share
from lamina.model.spec import (
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    RotarySpec,
    StackSpec,
)


def gpt2(
    *, vocabulary: int = 50257, width: int = 768, layers: int = 12, heads: int = 12, max_positions: int = 1024
) -> ModelSpec:
    """LayerNorm, learned positions, biases, tanh-GELU, tied head (Radford et al. 2019). Defaults: the 124 M model."""
    norm = NormSpec(kind="layer", eps=1e-5)
    head_dim = share(width, heads)
    block = BlockSpec(
        attention=AttentionSpec(heads=heads, kv_heads=heads, head_dim=head_dim, bias=True, out_bias=True),
        feedforward=FeedForwardSpec(inner=4 * width, activation="gelu-tanh", bias=True),
        norm=norm,
    )
    embeddings = EmbeddingSpec(vocabulary=vocabulary, width=width, positions="learned")
    return ModelSpec(
        decoder=StackSpec(embeddings=embeddings, blocks=(block,) * layers, norm=norm, causal=True),
        head=HeadSpec(tied=True),
        max_positions=max_positions,
    )


def llama(
    *,
    vocabulary: int = 32000,
    width: int = 512,
    layers: int = 8,
    heads: int = 8,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    inner: int | None = None,
    max_positions: int = 2048,
    theta: float = 10000.0,
    eps: float = 1e-5,
    tied: bool = True,
) -> ModelSpec:
    """RMSNorm, rotary positions, gated SiLU, no biases (arXiv 2302.13971). ``inner`` is by default 8/3 of the width."""
    norm = NormSpec(kind="rms", eps=eps)
    block = BlockSpec(
        attention=AttentionSpec(
            heads=heads,
            kv_heads=kv_heads or heads,
            head_dim=head_dim or share(width, heads),
            rotary=RotarySpec(theta=theta),
        ),
        feedforward=FeedForwardSpec(inner=inner or rounded(width * 8 // 3), activation="silu", gated=True),
        norm=norm,
    )
    embeddings = EmbeddingSpec(vocabulary=vocabulary, width=width)
    return ModelSpec(
        decoder=StackSpec(embeddings=embeddings, blocks=(block,) * layers, norm=norm, causal=True),
        head=HeadSpec(tied=tied),
        max_positions=max_positions,
    )


def qwen2(spec: ModelSpec) -> ModelSpec:
    """A ``llama`` with biases of queries, keys and values (arXiv 2407.10671)."""
    return _with_attention(spec, lambda attention: replace(attention, bias=True))


def qwen3(spec: ModelSpec) -> ModelSpec:
    """A ``llama`` with norms of queries and keys (arXiv 2505.09388)."""
    norm = spec.stack.blocks[0].norm
    return _with_attention(spec, lambda attention: replace(attention, qk_norm=norm))


def smollm3(spec: ModelSpec, *, every: int = 4) -> ModelSpec:
    """A ``llama`` in which every fourth layer has no positions (arXiv 2305.19466)."""
    stack = spec.stack
    blocks = tuple(
        replace(
            block, attention=replace(block.attention, rotary=None if (i + 1) % every == 0 else RotarySpec(theta=2e6))
        )
        for i, block in enumerate(stack.blocks)
    )
    return replace(spec, decoder=replace(stack, blocks=blocks))


def _with_attention(spec: ModelSpec, change: Callable[[AttentionSpec], AttentionSpec]) -> ModelSpec:
    stack = spec.stack
    blocks = tuple(replace(block, attention=change(block.attention)) for block in stack.blocks)
    return replace(spec, decoder=replace(stack, blocks=blocks))
