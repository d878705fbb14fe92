"""In which numbers keys and values are kept, and what a token of them takes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lamina.model.transformer import Transformer

#: None: float32 on a processor, on a GPU bfloat16 (other numbers are read there without CUDA graphs).
Cache = Literal["float32", "int8"] | None


def cache_dtype(cache: Cache, device: torch.device, narrow: torch.dtype) -> torch.dtype:
    """Of stored keys and values; ``narrow``: what a GPU computes in."""
    if cache == "int8":
        return torch.int8
    return torch.float32 if cache == "float32" or device.type == "cpu" else narrow


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
