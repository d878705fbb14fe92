"""Scaled dot-product attention with a gradient by plain products where torch's own is slow.

On processors with bfloat16 products torch's fused attention is quick forward, and its gradient takes over twice what
the five products in it take (`docs/log.md`). Here a few rows of a batch at a time are computed anew, so that their
weights stay in the caches and nothing of size T² outlives a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_CHUNK_ELEMENTS = 1 << 20  # scores that are held at a time: 2 MB in bfloat16
_LONGEST = 2048  # keys; beyond, one row's scores no longer fit


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, allowed: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """Attention (arXiv 1706.03762) of ``q`` (B, H, T, Dh) to ``k`` and ``v`` (B, Hkv, S, Dh), H a multiple of Hkv.

    ``allowed`` broadcasts to (B, H, T, S): bool, or what is added to the scores. Returns (B, H, T, Dh).
    """
    if _by_products(q, k, v, allowed):
        out: Tensor = _Attention.apply(q, k, v, allowed, causal, q.shape[-1] ** -0.5 if scale is None else scale)
        return out
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=causal, scale=scale, enable_gqa=grouped)


def _by_products(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> bool:
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or not torch.is_grad_enabled():
        return False
    if k.shape[2] > _LONGEST or (allowed is not None and allowed.dtype != torch.bool):
        return False
    return q.requires_grad or k.requires_grad or v.requires_grad


class _Attention(torch.autograd.Function):
    """Forward as torch does it; backward as ``attention_gradient`` does."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, allowed)
        ctx.causal, ctx.scale = causal, scale
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=allowed, is_causal=causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, allowed = ctx.saved_tensors
        return (*attention_gradient(q, k, v, grad, allowed, ctx.causal, ctx.scale), None, None, None)


@library.custom_op("lamina::attention_gradient", mutates_args=())
def attention_gradient(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, allowed: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of ``q``, ``k`` and ``v``, given that of the output, ``grad`` (B, H, T, Dh).

    The queries that share a key stand one below the other, (B · Hkv, H / Hkv · T, Dh), so that the products add up
    over them. A custom operator: for the compiler it is one step.
    """
    (batch, heads, length, width), kv_heads, keys = q.shape, k.shape[1], k.shape[2]
    shared = (-1, heads // kv_heads * length, width)
    own = (-1, keys, width)
    barred = None if allowed is None else ~allowed.expand(batch, -1, length, keys)
    if causal:
        barred = torch.ones(length, keys, dtype=torch.bool, device=q.device).triu(1).expand(batch, 1, length, keys)
    out = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
    rows = max(1, _CHUNK_ELEMENTS // (heads * length * keys))
    for start in range(0, batch, rows):
        part = slice(start, start + rows)
        queries, above = (q[part] * scale).reshape(shared), grad[part].reshape(shared)
        mine, values = k[part].reshape(own), v[part].reshape(own)
        scores = torch.bmm(queries, mine.transpose(1, 2))
        if barred is not None:
            scores.view(-1, heads, length, keys).masked_fill_(barred[part], float("-inf"))
        weights = scores.softmax(-1)
        sloped = torch._softmax_backward_data(torch.bmm(above, values.transpose(1, 2)), weights, -1, q.dtype)
        found = (
            torch.bmm(sloped, mine).mul_(scale),
            torch.bmm(sloped.transpose(1, 2), queries),
            torch.bmm(weights.transpose(1, 2), above),
        )
        for whole, slope in zip(out, found, strict=True):
            whole[part] = slope.view(whole[part].shape)
    return out


@attention_gradient.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, allowed: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
