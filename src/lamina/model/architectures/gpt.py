"""Decoder-only transformers: GPT-2's form, Llama's form, and presets of them."""

from __future__ import annotations

from collections.abc import Callable

from lamina.kit.errors import ConfigError
from lamina.model.spec import (
    AttentionSpec,
    BlockSpec,
    EmbeddingSpec,
    FeedForwardSpec,
    HeadSpec,
    ModelSpec,
    NormSpec,
    RotarySpec,
)


def gpt2(
    *, vocabulary: int = 50257, width: int = 768, layers: int = 12, heads: int = 12, max_positions: int = 1024
) -> ModelSpec:
    """LayerNorm, learned positions, biases, tanh-GELU, tied head (Radford et al. 2019). Defaults: the 124 M model."""
    norm = NormSpec(kind="layer", eps=1e-5)
    block = BlockSpec(
        attention=AttentionSpec(
            heads=heads, kv_heads=heads, head_dim=_share(width, heads), bias=True, out_bias=True, rotary=None
        ),
        feedforward=FeedForwardSpec(inner=4 * width, activation="gelu-tanh", bias=True),
        norm=norm,
    )
    return ModelSpec(
        embeddings=EmbeddingSpec(vocabulary=vocabulary, width=width, positions="learned"),
        blocks=(block,) * layers,
        norm=norm,
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
            head_dim=_share(width, heads),
            rotary=RotarySpec(theta=theta),
        ),
        feedforward=FeedForwardSpec(inner=inner or _rounded(width * 8 // 3), activation="silu", gated=True),
        norm=norm,
    )
    return ModelSpec(
        embeddings=EmbeddingSpec(vocabulary=vocabulary, width=width),
        blocks=(block,) * layers,
        norm=norm,
        head=HeadSpec(tied=tied),
        max_positions=max_positions,
    )


def _smollm2_135m(vocabulary: int | None) -> ModelSpec:
    """SmolLM2-135M (arXiv 2502.02737)."""
    return llama(
        vocabulary=vocabulary or 49152,
        width=576,
        layers=30,
        heads=9,
        kv_heads=3,
        inner=1536,
        max_positions=8192,
        theta=100000.0,
    )


#: Presets by name; each takes the vocabulary size of the tokenizer, or None for the published one.
PRESETS: dict[str, Callable[[int | None], ModelSpec]] = {
    "nano": lambda vocabulary: llama(
        vocabulary=vocabulary or 4096, width=128, layers=4, heads=4, inner=320, max_positions=512
    ),
    "tiny": lambda vocabulary: llama(
        vocabulary=vocabulary or 8192, width=192, layers=6, heads=3, inner=512, max_positions=1024
    ),
    "small": lambda vocabulary: llama(
        vocabulary=vocabulary or 16384, width=384, layers=8, heads=6, inner=1024, max_positions=2048
    ),
    "smollm2-135m": _smollm2_135m,
    "gpt2": lambda vocabulary: gpt2(vocabulary=vocabulary or 50257),
}


def preset(name: str, *, vocabulary: int | None = None) -> ModelSpec:
    """The specification of a preset, for a tokenizer of ``vocabulary`` tokens."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset '{name}'", where="model.preset", hint="known: " + ", ".join(PRESETS))
    return PRESETS[name](vocabulary)


def _share(width: int, heads: int) -> int:
    if heads < 1 or width % heads:
        raise ConfigError(f"a width of {width} cannot be shared out over {heads} heads", where="model")
    return width // heads


def _rounded(inner: int, multiple: int = 64) -> int:
    return -(-inner // multiple) * multiple
