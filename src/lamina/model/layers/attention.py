"""Attention, one class for self- and cross-attention, and T5's relative positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lamina.model.layers.attend import attend
from lamina.model.layers.cache import KeyValueCache
from lamina.model.layers.embeddings import rotate
from lamina.model.layers.masks import Mask
from lamina.model.layers.norms import make_norm
from lamina.model.spec import AttentionSpec, RelativeSpec


class Attention(nn.Module):
    """Multi-head attention with grouped queries (arXiv 1706.03762, 2305.13245)."""

    def __init__(self, spec: AttentionSpec, width: int, layer: int, *, source_width: int | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_dim = spec.heads, spec.kv_heads, spec.head_dim
        self.scale = spec.scale
        self.q = nn.Linear(width, spec.heads * spec.head_dim, bias=spec.bias)
        self.k = nn.Linear(source_width or width, spec.kv_heads * spec.head_dim, bias=spec.bias)
        self.v = nn.Linear(source_width or width, spec.kv_heads * spec.head_dim, bias=spec.bias)
        self.o = nn.Linear(spec.heads * spec.head_dim, width, bias=spec.out_bias)
        self.q_norm = make_norm(spec.qk_norm, spec.head_dim) if spec.qk_norm else None
        self.k_norm = make_norm(spec.qk_norm, spec.head_dim) if spec.qk_norm else None

    def forward(
        self,
        x: Tensor,
        *,
        mask: Mask,
        rotary: tuple[Tensor, Tensor] | None = None,
        bias: Tensor | None = None,
        cache: KeyValueCache | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D): attention to ``source`` (B, S, D'), or to ``x`` itself and what ``cache`` holds.

        ``bias`` (B, H, T, S) is added to the scores. Of fewer sources than rows each is that of as many rows that
        follow each other (the beams of a search).
        """
        batch, length, _ = x.shape
        q, k, v = self._project(x, rotary, cache, source)
        allowed = mask.allowed if bias is None else _with_bias(mask, bias.to(q.dtype))
        beams = 1 if source is None else batch // k.shape[0]
        if beams > 1:
            q = q.unflatten(0, (-1, beams)).transpose(1, 2).flatten(2, 3)  # side by side, as if they were places
        out = attend(q, k, v, allowed=allowed, causal=mask.causal and bias is None, scale=self.scale)
        if beams > 1:
            out = out.unflatten(2, (beams, length)).transpose(1, 2).flatten(0, 1)
        merged: Tensor = self.o(out.transpose(1, 2).reshape(batch, length, -1))
        return merged

    def weights(
        self,
        x: Tensor,
        *,
        mask: Mask,
        rotary: tuple[Tensor, Tensor] | None = None,
        bias: Tensor | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        """How much each token attends to each, (B, H, T, S), rows adding up to 1: for people who look inside."""
        q, k, _ = self._project(x, rotary, None, source)
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        scores = q @ k.transpose(-1, -2) * (self.head_dim**-0.5 if self.scale is None else self.scale)
        none = torch.zeros((1, 1, *scores.shape[-2:]), dtype=scores.dtype, device=x.device)
        return (scores + _with_bias(mask, none if bias is None else bias)).softmax(-1)

    def _project(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        cache: KeyValueCache | None,
        source: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, Dh), keys and values (B, Hkv, S, Dh), turned to their places."""
        q = self.q(x).view(*x.shape[:2], self.heads, self.head_dim)
        q = (q if self.q_norm is None else self.q_norm(q)).transpose(1, 2)
        if source is not None:
            k, v = cache.source(self.layer, lambda: self._pair(source)) if cache else self._pair(source)
            return q, k, v
        k, v = self._pair(x)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        return q, k, v

    def _pair(self, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, Hkv, S, Dh), not yet rotated."""
        shape = (attended.shape[0], attended.shape[1], self.kv_heads, self.head_dim)
        k, v = self.k(attended).view(shape), self.v(attended).view(shape)
        return (k if self.k_norm is None else self.k_norm(k)).transpose(1, 2), v.transpose(1, 2)


def _with_bias(mask: Mask, bias: Tensor) -> Tensor:
    """``bias`` (B, H, T, S), minus infinity where the mask does not allow it."""
    allowed = mask.allowed
    if mask.causal:
        allowed = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).tril()
    return bias if allowed is None else bias.masked_fill(~allowed, -math.inf)


class RelativeBias(nn.Module):
    """T5's relative position bias (arXiv 1910.10683)."""

    def __init__(self, spec: RelativeSpec, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(spec.buckets, heads)
        self._spec, self._causal = spec, causal

    def forward(self, positions: Tensor, others: Tensor) -> Tensor:
        """What is added to the scores of ``positions`` (B, T) for ``others`` (B, S): (B, H, T, S)."""
        distances = others[:, None, :] - positions[:, :, None]
        bias: Tensor = self.table(relative_buckets(distances, self._spec, causal=self._causal))
        return bias.permute(0, 3, 1, 2)


def relative_buckets(distances: Tensor, spec: RelativeSpec, *, causal: bool) -> Tensor:
    """The bucket of each distance (another's place less one's own), as T5 counts them.

    Not ``causal``: half of the buckets for either direction.
    """
    buckets = spec.buckets if causal else spec.buckets // 2
    side = torch.zeros_like(distances) if causal else (distances > 0).long() * buckets
    away = (-distances).clamp(min=0) if causal else distances.abs()
    exact = buckets // 2
    wide = torch.log(away.clamp(min=1).float() / exact) / math.log(spec.max_distance / exact) * (buckets - exact)
    far = (exact + wide.long()).clamp(max=buckets - 1)
    return side + torch.where(away < exact, away, far)
