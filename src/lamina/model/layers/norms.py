"""Layer normalisation and RMSNorm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lamina.model.spec import NormSpec


class LayerNorm(nn.Module):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last dimension (arXiv 1607.06450)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * weight`` over the last dimension, in float32, then cast back (arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        if x.dtype == torch.float32 == self.weight.dtype:
            if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
                out: Tensor = _RmsNorm.apply(x, self.weight, self.eps)
                return out
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class _RmsNorm(torch.autograd.Function):
    """torch's values; a gradient in fewer passes over memory, which keeps nothing but the input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return F.rms_norm(x, weight.shape, weight, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        width = x.shape[-1]
        inverse = (torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / width + ctx.eps).rsqrt_()
        slope = grad * x
        for_weight = (slope * inverse).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, for_weight, None
        shared = (slope @ weight)[..., None] * inverse.pow(3) / -width
        return (grad * weight).mul_(inverse).addcmul_(x, shared), for_weight, None


class OffsetRMSNorm(nn.Module):
    """``x / sqrt(mean(x²) + eps) * (1 + weight)``, all of it in float32, then cast back (Gemma, arXiv 2503.19786)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return F.rms_norm(x.float(), self.weight.shape, 1.0 + self.weight.float(), self.eps).to(x.dtype)


def make_norm(spec: NormSpec, width: int) -> nn.Module:
    """The norm that the specification names, over ``width`` features."""
    if spec.kind == "layer":
        return LayerNorm(width, spec.eps)
    return OffsetRMSNorm(width, spec.eps) if spec.offset else RMSNorm(width, spec.eps)
