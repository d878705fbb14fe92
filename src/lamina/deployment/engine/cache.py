"""In which numbers keys and values are kept, and what a token of them takes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lamina.model.transformer import Transformer

#: None: float32 on a processor, on a GPU bfloat16 (other numbers are read there without CUDA graphs). float16, not
#: bfloat16: it is 8 times as exact, and a processor widens it by one instruction (F16C, AVX-512, ARM).
Cache = Literal["float32", "float16", "int8"] | None

_NAMED = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
_LARGEST = torch.finfo(torch.float16).max


def cache_dtype(cache: Cache, device: torch.device, narrow: torch.dtype) -> torch.dtype:
    """Of stored keys and values; ``narrow``: what a GPU computes in."""
    if cache is not None:
        return _NAMED[cache]
    return torch.float32 if device.type == "cpu" else narrow


def bytes_per_token(model: Transformer, cache: Cache) -> int:
    """Bytes of keys and values that a token needs; an int8 head has a float32 scale."""
    size = cache_dtype(cache, model.stack.embeddings.token.weight.device, torch.bfloat16).itemsize
    scale = torch.float32.itemsize if cache == "int8" else 0
    attentions = (block.attention for block in model.spec.stack.blocks)
    return sum(2 * a.kv_heads * (a.head_dim * size + scale) for a in attentions)


def narrowed(heads: Tensor) -> tuple[Tensor, Tensor]:
    """``heads`` (…, head_dim) as int8 and their scales (…) float32: the largest number of each becomes 127."""
    most = heads.abs().amax(dim=-1, keepdim=True).float()
    steps = torch.where(most > 0, heads * (127.0 / most), 0.0)
    return steps.round().to(torch.int8), (most / 127.0).squeeze(-1)


def halved(heads: Tensor) -> Tensor:
    """``heads`` as float16: beyond 65504 that with its sign; what is not finite becomes no number."""
    return (heads.clamp(-_LARGEST, _LARGEST) + heads * 0.0).half()


def kept(heads: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """``heads`` (…, head_dim) as a store of ``dtype`` holds them, and their scales (…) where it has some."""
    if dtype == torch.int8:
        return narrowed(heads)
    return halved(heads) if dtype == torch.float16 else heads, None
