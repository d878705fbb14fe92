"""Specifications by name: the published sizes with their papers, and small ones for small machines and tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from lamina.kit.errors import ConfigError
from lamina.model.architectures.bert import bert
from lamina.model.architectures.gpt import gpt2, llama, qwen2, qwen3, smollm3
from lamina.model.architectures.seq2seq import marian, t5, vaswani
from lamina.model.spec import ModelSpec

#: Presets by name; each takes the vocabulary size of the tokenizer, or None for the published one.
PRESETS: dict[str, Callable[[int | None], ModelSpec]] = {
    # GPT, small ones in Llama's form
    "nano": lambda v: llama(vocabulary=v or 4096, width=128, layers=4, heads=4, inner=320, max_positions=512),
    "tiny": lambda v: llama(vocabulary=v or 8192, width=192, layers=6, heads=3, inner=512, max_positions=1024),
    "small": lambda v: llama(vocabulary=v or 16384, width=384, layers=8, heads=6, inner=1024, max_positions=2048),
    # norms of queries and keys, wide heads (arXiv 2302.05442)
    "modern-small": lambda v: qwen3(
        llama(vocabulary=v or 16384, width=384, layers=8, heads=3, head_dim=128, inner=1024, max_positions=2048)
    ),
    "gpt2": lambda v: gpt2(vocabulary=v or 50257),
    "llama-7b": lambda v: llama(
        vocabulary=v or 32000, width=4096, layers=32, heads=32, inner=11008, max_positions=2048, eps=1e-6, tied=False
    ),
    "smollm2-135m": lambda v: llama(
        vocabulary=v or 49152, width=576, layers=30, heads=9, kv_heads=3, inner=1536, max_positions=8192, theta=1e5
    ),
    "smollm2-360m": lambda v: llama(
        vocabulary=v or 49152, width=960, layers=32, heads=15, kv_heads=5, inner=2560, max_positions=8192, theta=1e5
    ),
    "smollm3-3b": lambda v: smollm3(
        llama(
            vocabulary=v or 128256,
            width=2048,
            layers=36,
            heads=16,
            kv_heads=4,
            inner=11008,
            max_positions=65536,
            eps=1e-6,
        )
    ),
    "qwen2-0.5b": lambda v: qwen2(
        llama(
            vocabulary=v or 151936,
            width=896,
            layers=24,
            heads=14,
            kv_heads=2,
            inner=4864,
            max_positions=32768,
            theta=1e6,
            eps=1e-6,
        )
    ),
    "qwen3-0.6b": lambda v: qwen3(
        llama(
            vocabulary=v or 151936,
            width=1024,
            layers=28,
            heads=16,
            kv_heads=8,
            head_dim=128,
            inner=3072,
            max_positions=40960,
            theta=1e6,
            eps=1e-6,
        )
    ),
    # encoders
    "bert-nano": lambda v: bert(vocabulary=v or 4096, width=128, layers=4, heads=4),
    "bert-tiny": lambda v: bert(vocabulary=v or 8192, width=256, layers=6, heads=4),
    "bert-base": lambda v: bert(vocabulary=v or 30522, next_sentence=True, dropout=0.1),
    # encoder-decoders
    "seq2seq-nano": lambda v: marian(vocabulary=v or 4096, width=128, layers=2, heads=4, inner=512, start_token=0),
    "seq2seq-tiny": lambda v: marian(vocabulary=v or 8192, width=256, layers=3, heads=4, inner=1024, start_token=0),
    "vaswani-base": lambda v: vaswani(vocabulary=v or 37000, positions="sinusoidal", bias=True),
    "marian": lambda v: marian(vocabulary=v or 58101, start_token=(v or 58101) - 1),
    "t5-small": lambda v: t5(vocabulary=v or 32128),
}


def preset(name: str, *, vocabulary: int | None = None) -> ModelSpec:
    """The specification of a preset, for a tokenizer of ``vocabulary`` tokens."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset '{name}'", where="model.preset", hint="known: " + ", ".join(PRESETS))
    return PRESETS[name](vocabulary)


def architecture_of(spec: ModelSpec) -> Literal["gpt", "bert", "seq2seq"]:
    """Which of the three a specification is: a decoder, an encoder, or both."""
    if spec.encoder is None:
        return "gpt"
    return "bert" if spec.decoder is None else "seq2seq"
