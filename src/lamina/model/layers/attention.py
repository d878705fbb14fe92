"""Causal self-attention, its mask, and the face of the cache that inference hands in."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.model.layers.embeddings import rotate
from lamina.model.layers.norms import make_norm
from lamina.model.spec import AttentionSpec


class Cache(Protocol):
    """Keys and values of the tokens so far; whoever runs the model owns it and knows how it lies in memory."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store ``k``, ``v`` (B, Hkv, T, Dh) for ``layer``; attend causally with ``q`` (B, H, T, Dh) over all stored.

        Rotary positions are already applied. Returns (B, H, T, Dh).
        """
        ...


def segment_mask(segments: Tensor) -> Tensor | None:
    """What may attend to what in packed rows: True (B, 1, T, T) where the document is the same and not later.

    None where plain causal attention gives the same for every real token: each row is one document, then padding
    (``segments`` (B, T) int64, documents numbered from 1, 0 = padding). What padding computes is never read.
    """
    real = segments != 0
    one_document = ((segments == segments[:, :1]) | ~real).all()
    if bool(one_document) and not bool((real[:, 1:] & ~real[:, :-1]).any()):
        return None
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    return (segments[:, None, :, None] == segments[:, None, None, :]) & causal


class Attention(nn.Module):
    """Multi-head causal self-attention with grouped queries (arXiv 1706.03762, 2305.13245)."""

    def __init__(self, spec: AttentionSpec, width: int, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_dim = spec.heads, spec.kv_heads, spec.head_dim
        self.q = nn.Linear(width, spec.heads * spec.head_dim, bias=spec.bias)
        self.k = nn.Linear(width, spec.kv_heads * spec.head_dim, bias=spec.bias)
        self.v = nn.Linear(width, spec.kv_heads * spec.head_dim, bias=spec.bias)
        self.o = nn.Linear(spec.heads * spec.head_dim, width, bias=spec.out_bias)
        self.q_norm = make_norm(spec.qk_norm, spec.head_dim) if spec.qk_norm else None
        self.k_norm = make_norm(spec.qk_norm, spec.head_dim) if spec.qk_norm else None

    def forward(
        self, x: Tensor, *, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D). ``mask`` (B, 1, T, T) bool, or None for plain causal; unused with a ``cache``."""
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, self.heads, self.head_dim)
        k = self.k(x).view(batch, length, self.kv_heads, self.head_dim)
        v = self.v(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if cache is not None:
            out = cache.attend(self.layer, q, k, v)
        else:
            grouped = self.heads != self.kv_heads
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
        merged: Tensor = self.o(out.transpose(1, 2).reshape(batch, length, -1))
        return merged
