"""Weights as int8 with one scale for each output channel (W8A16), symmetric: ``weight ≈ scale[:, None] * int8``.

Few rows (decoding) go through torch's int8 kernel in bfloat16; many rows (prefill, scoring) dequantise a slice of the
weight at a time, so that no second copy of it ever stays in memory. Rows do not influence each other in either path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Up to so many rows the int8 kernel wins over dequantising (measured on 2 cores, AVX2: 8 rows 41 µs a row, the
#: dequantised product 26 µs a row plus 95 µs at once for a 3072 x 576 weight).
FEW_ROWS = 8
SLICE = 4 * 1024 * 1024  # elements of a weight that are dequantised at once
_LANES = 16  # the kernel reads so many inputs at a time and does not handle a rest


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (N, K) and bfloat16 scales (N,) of a ``weight`` (N, K); an all-zero row has scale 1.

    The scale is rounded to bfloat16 first and the integers are chosen for the rounded one: it costs no accuracy.
    """
    wide = weight.detach().float()
    limit = wide.abs().amax(dim=1)
    scale = torch.where(limit > 0, limit / 127.0, torch.ones_like(limit)).to(torch.bfloat16)
    scale = torch.where(scale > 0, scale, torch.full_like(scale, torch.finfo(torch.bfloat16).tiny))
    steps = (wide / scale.float()[:, None]).round_().clamp_(-127, 127)
    return steps.to(torch.int8), scale


def wide_dtype() -> torch.dtype:
    """What large products are fastest in on this CPU: bfloat16 where it has the instructions, else float32."""
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        probe = getattr(torch.cpu, name, None)
        if probe is not None and probe():
            return torch.bfloat16
    return torch.float32


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The rows of ``parts`` under one another: no copy where each begins in memory at the end of the one before it."""
    first, end = parts[0], parts[0].storage_offset()
    for part in parts:
        same = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and part.is_contiguous() and part.storage_offset() == end):
            return torch.cat(list(parts))
        end += part.numel()
    rows = sum(part.shape[0] for part in parts)
    return first.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())


class Int8Linear(nn.Module):
    """``x @ (scale * weight).T + bias``: ``weight`` int8 (N, K), ``scale`` bfloat16 (N,), ``bias`` float32 (N,)."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.out_features, self.in_features = weight.shape
        self.wide = wide_dtype()

    @classmethod
    def of(cls, linear: nn.Linear) -> Int8Linear:
        """``linear``, quantised."""
        bias = None if linear.bias is None else linear.bias.detach().float()
        return cls(*quantize_rows(linear.weight), bias)

    @classmethod
    def fused(cls, parts: Sequence[Int8Linear]) -> Int8Linear:
        """One layer that gives the outputs of ``parts`` side by side; they become views of it, not copies."""
        bias = None
        if parts[0].bias is not None:
            bias = torch.cat([p.bias for p in parts if p.bias is not None])
        whole = cls(joined([p.weight for p in parts]), torch.cat([p.scale for p in parts]), bias)
        start = 0
        for part in parts:
            end = start + part.out_features
            part.weight, part.scale = whole.weight[start:end], whole.scale[start:end]
            part.bias = None if whole.bias is None else whole.bias[start:end]
            start = end
        return whole

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N), in ``x``'s dtype."""
        rows = x.reshape(-1, self.in_features)
        if rows.shape[0] <= FEW_ROWS and self.in_features % _LANES == 0:
            out = torch._weight_int8pack_mm(rows.to(torch.bfloat16), self.weight, self.scale).to(x.dtype)
        else:
            out = self._dequantised(rows.to(self.wide)).to(x.dtype)
        if self.bias is not None:
            out = out + self.bias.to(x.dtype)
        return out.view(*x.shape[:-1], self.out_features)

    def few_rows(self) -> Callable[[Tensor], Tensor]:
        """The product for up to ``FEW_ROWS`` bfloat16 rows (M, K) as a bare function: what decoding calls most."""
        weight, scale, bias = self.weight, self.scale, self.bias
        if self.in_features % _LANES:
            return self.forward
        if bias is None:
            return lambda rows: torch._weight_int8pack_mm(rows, weight, scale)
        return lambda rows: (torch._weight_int8pack_mm(rows, weight, scale) + bias).to(rows.dtype)

    def widened(self) -> Tensor:
        """The weights that it stands for, float32 (N, K)."""
        return self.weight.float() * self.scale.float()[:, None]

    def _dequantised(self, rows: Tensor) -> Tensor:
        step = max(1, SLICE // self.in_features)
        parts = [
            F.linear(rows, self.weight[i : i + step].to(rows.dtype)) * self.scale[i : i + step].to(rows.dtype)
            for i in range(0, self.out_features, step)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        """For ``repr``."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Int8Embedding(nn.Module):
    """A table of vectors as int8 rows (V, D) with their scales (V,); looks up float32 vectors."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    @classmethod
    def of(cls, embedding: nn.Embedding) -> Int8Embedding:
        """``embedding``, quantised."""
        return cls(*quantize_rows(embedding.weight))

    def widened(self) -> Tensor:
        """The vectors that it stands for, float32 (V, D)."""
        return self.weight.float() * self.scale.float()[:, None]

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, D) float32."""
        return self.weight[ids].float() * self.scale[ids].float().unsqueeze(-1)
