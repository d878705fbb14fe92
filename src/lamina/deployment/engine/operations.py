"""The small operations of the torch path, each as few torch calls as it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.model.layers.hollow import hollow
from lamina.model.spec import NormSpec

_EXACT = 64  # the likeliest tokens whose int8 scores are computed again in float32


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate ``heads`` (N, H, Dh) in place; ``sines`` carry the sign of the rotate-half layout."""
    rolled = heads.roll(heads.shape[-1] // 2, dims=-1)
    heads.mul_(cosines).addcmul_(rolled, sines)


def rotary(frequencies: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, 1, Dh) of every place; the first half of the sines negated, as ``rotate`` wants them."""
    angles = torch.arange(context, device=frequencies.device).float()[:, None] * frequencies
    cosines, sines = angles.cos(), angles.sin()
    return torch.cat((cosines, cosines), dim=-1).unsqueeze(1), torch.cat((-sines, sines), dim=-1).unsqueeze(1)


def norm(module: Any, spec: NormSpec) -> Callable[[Tensor], Tensor]:
    """The norm as one function of float32 rows (N, D).

    On a CPU RMSNorm is layer normalisation of (x, -x), whose mean is 0 and whose variance is the mean square of x:
    torch has one kernel for it, and six for ``rms_norm`` (3 against 16 µs for a row of 576).
    """
    weight = module.weight.detach().float() + (1.0 if spec.offset else 0.0)
    if spec.kind == "layer":
        bias = module.bias.detach().float()
        return lambda x: F.layer_norm(x, weight.shape, weight, bias, spec.eps)
    width = weight.shape[0]
    if weight.device.type != "cpu":
        return lambda x: F.rms_norm(x, (width,), weight, spec.eps)
    twice = torch.cat((weight, weight))
    signs = torch.tensor([[1.0], [-1.0]])

    def rms(x: Tensor) -> Tensor:
        both = (x.unsqueeze(1) * signs).view(x.shape[0], 2 * width)
        return torch.layer_norm(both, (2 * width,), twice, None, spec.eps).narrow(1, 0, width)

    return rms


def attend(q: Tensor, seen: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """Attention of queries (1, H, T, Dh) over keys and values (2 · kv_heads, S, Dh): (T, H · Dh).

    ``mask`` (T, S) bool; None: T is 1, or S, and each sees up to itself. ``scale`` of the scores; None: Dh ** -0.5.
    """
    keys, values = seen.unsqueeze(0).chunk(2, dim=1)
    count = q.shape[2]
    causal, grouped = mask is None and count > 1, keys.shape[1] != q.shape[1]
    out = F.scaled_dot_product_attention(
        q, keys, values, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )
    return out.transpose(1, 2).reshape(count, -1)


def int8_scores(head: Any, normed: Tensor) -> Tensor:
    """Scores (B, V) float32 of an int8 ``head`` from ``normed`` (B, D) float32.

    The kernel rounds its sums to bfloat16, too coarse to order the likeliest tokens: those are done again.
    """
    scores = torch.cat([head(rows.to(torch.bfloat16)) for rows in normed.split(8)]).float()
    likely = scores.topk(min(_EXACT, scores.shape[1]), dim=-1).indices
    for row, (vector, ids) in enumerate(zip(normed, likely, strict=True)):
        scores[row, ids] = (head.weight[ids].float() @ vector) * head.scale[ids].float()
    return scores


def bare(linear: Any) -> Callable[[Tensor], Tensor]:
    """The product of an ``nn.Linear`` as a plain function."""
    weight, bias = linear.weight, linear.bias
    return lambda rows: F.linear(rows, weight, bias)


def fuse(parts: list[Any]) -> nn.Module:
    """One layer for several with the same input; the ``parts`` become views of it."""
    if hasattr(type(parts[0]), "fused"):
        fused: nn.Module = type(parts[0]).fused(parts)
        return fused
    outputs = sum(p.out_features for p in parts)
    with hollow():
        whole = nn.Linear(parts[0].in_features, outputs, bias=parts[0].bias is not None)
    for name in ("weight", "bias"):
        if getattr(parts[0], name) is None:
            continue
        tensor = torch.cat([getattr(p, name).detach() for p in parts])
        setattr(whole, name, nn.Parameter(tensor, requires_grad=False))
        for part, view in zip(parts, tensor.split([p.out_features for p in parts]), strict=True):
            setattr(part, name, nn.Parameter(view, requires_grad=False))
    return whole
