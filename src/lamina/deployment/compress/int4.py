"""Weights as 4 bits in groups of 32 inputs, in the blocks of GGUF's Q4_1 and Q4_0 (W4A16).

A group has a scale and a minimum, ``weight ≈ scale * nibble + minimum``; without minimums ``scale * (nibble - 8)``.
Byte j of a group holds element j in its lower half and element j + 16 in its upper, as the file has them: such a matrix
is taken over as it is (``own_groups``), any other is rounded to nearest, with the clipping that loses least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lamina.deployment.compress.int8 import SLICE, joined, wide_dtype

GROUP = 32
_TOP = 15  # the greatest nibble
_ZERO = 8  # the nibble that means 0 where there are no minimums
CLIPS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8)  # shares of a group's range that are tried
WHOLE = (1.0,)


def round_groups(
    weight: Tensor, *, moments: Tensor | None = None, clips: Sequence[float] = CLIPS
) -> tuple[Tensor, Tensor, Tensor]:
    """Nibbles (N, K / 2) uint8, scales and minimums (N, K / 32) float16 of a ``weight`` (N, K), rounded to nearest.

    Of several clippings of a group's range the one with the least squared error is taken; with ``moments``
    (K / 32, 32, 32), of a group's inputs, the one whose products are least off. K is whole groups.
    """
    groups = weight.detach().float().unflatten(1, (-1, GROUP))
    scale, minimum = group_grid(groups, moments=moments, clips=clips)
    return packed(nibbles(groups, scale, minimum)), scale.squeeze(-1).half(), minimum.squeeze(-1).half()


def group_grid(
    groups: Tensor, *, moments: Tensor | None = None, clips: Sequence[float] = CLIPS
) -> tuple[Tensor, Tensor]:
    """Scales and minimums (N, G, 1) of ``groups`` (N, G, 32), as float16 has them; see ``round_groups``."""
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    least = torch.full_like(low, torch.inf)
    best = [torch.zeros_like(low), torch.zeros_like(low)]
    for clip in clips:
        middle, half = (low + high) / 2, (high - low) / 2 * clip
        minimum, scale = (middle - half).half().float(), (2 * half / _TOP).half().float()
        off = values(nibbles(groups, scale, minimum), scale, minimum) - groups
        weighted = off if moments is None else (off.transpose(0, 1) @ moments).transpose(0, 1)
        error = (weighted * off).sum(dim=-1, keepdim=True)
        better = error < least
        least = torch.where(better, error, least)
        best = [torch.where(better, new, old) for new, old in zip((scale, minimum), best, strict=True)]
    scale, minimum = best
    return scale, minimum


def own_groups(weight: Tensor) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """The 4-bit groups that a ``weight`` (N, K) float32 was expanded from: nibbles, scales, and minimums (None: Q4_0).

    None where it was not. llama.cpp's blocks use both ends of a group's range (Q4_1) or the end that is further from 0
    (Q4_0), so that they can be told from the values; they count only if they give every value back.
    """
    groups = weight.detach().float().unflatten(1, (-1, GROUP))
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    furthest = torch.where(high > -low, high, low)
    for scale, minimum in (((high - low) / _TOP, low), (-furthest / _ZERO, None)):
        scale = scale.half().float()
        lowest = -_ZERO * scale if minimum is None else minimum
        whole = nibbles(groups, scale, lowest)
        if torch.equal(values(whole, scale, lowest), groups):
            least = None if minimum is None else minimum.squeeze(-1).half()
            return packed(whole), scale.squeeze(-1).half(), least
    return None


def needs_rounding(weight: Tensor) -> bool:
    """Whether a ``weight`` (N, K) can be had in groups, and does not come from such."""
    return weight.shape[1] % GROUP == 0 and own_groups(weight) is None


def nibbles(groups: Tensor, scale: Tensor, minimum: Tensor) -> Tensor:
    """What ``groups`` (N, G, 32) become, whole numbers from 0 to 15 as floats."""
    inverse = torch.where(scale == 0, 0.0, 1.0 / scale)
    return ((groups - minimum) * inverse).round_().clamp_(0, _TOP)


def values(whole: Tensor, scale: Tensor, minimum: Tensor) -> Tensor:
    """What the nibbles ``whole`` stand for."""
    return whole * scale + minimum


def packed(whole: Tensor) -> Tensor:
    """Nibbles (N, G, 32) as bytes (N, 16 G)."""
    low, high = whole.to(torch.uint8).split(GROUP // 2, dim=-1)
    return (low | high << 4).flatten(1)


def unpacked(rows: Tensor) -> Tensor:
    """The inverse of ``packed``, as floats."""
    halves = rows.unflatten(1, (-1, GROUP // 2))
    return torch.cat((halves & _TOP, halves >> 4), dim=-1).float()


class Int4Linear(nn.Module):
    """``x @ W.T + bias``: ``weight`` uint8 (N, K / 2), ``scale`` and ``minimum`` (or None) float16 (N, K / 32)."""

    weight: Tensor
    scale: Tensor
    minimum: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, minimum: Tensor | None, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("minimum", minimum)
        self.register_buffer("bias", bias)
        self.out_features, self.in_features = weight.shape[0], 2 * weight.shape[1]
        self.wide = wide_dtype()

    @classmethod
    def of(cls, linear: nn.Linear, groups: tuple[Tensor, Tensor, Tensor | None] | None = None) -> Int4Linear:
        """``linear`` in ``groups``, else in those that it comes from, else rounded; its inputs are whole groups."""
        bias = None if linear.bias is None else linear.bias.detach().float()
        return cls(*(groups or own_groups(linear.weight) or round_groups(linear.weight)), bias)

    @classmethod
    def fused(cls, parts: Sequence[Int4Linear]) -> Int4Linear:
        """One layer that gives the outputs of ``parts`` side by side; they become views of it, not copies."""
        names = [name for name in ("weight", "scale", "minimum", "bias") if getattr(parts[0], name) is not None]
        wholes = {name: joined([getattr(p, name) for p in parts]) for name in names}
        for name in names:
            views = wholes[name].split([p.out_features for p in parts])
            for part, view in zip(parts, views, strict=True):
                setattr(part, name, view)
        return cls(wholes["weight"], wholes["scale"], wholes.get("minimum"), wholes.get("bias"))

    def rows(self, start: int, end: int) -> Tensor:
        """The rows ``start`` to ``end`` of the weights that it stands for, float32 (end - start, K)."""
        whole = unpacked(self.weight[start:end])
        scale = self.scale[start:end].float().unsqueeze(-1)
        if self.minimum is None:
            return ((whole - _ZERO) * scale).flatten(1)
        return values(whole, scale, self.minimum[start:end].float().unsqueeze(-1)).flatten(1)

    def widened(self) -> Tensor:
        """The weights that it stands for, float32 (N, K)."""
        return self.rows(0, self.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N), in ``x``'s dtype."""
        rows = x.reshape(-1, self.in_features).to(self.wide)
        step = max(1, SLICE // self.in_features)
        ends = range(0, self.out_features, step)
        out = torch.cat([F.linear(rows, self.rows(i, i + step).to(rows.dtype)) for i in ends], dim=1).to(x.dtype)
        if self.bias is not None:
            out = out + self.bias.to(x.dtype)
        return out.view(*x.shape[:-1], self.out_features)

    def few_rows(self) -> Callable[[Tensor], Tensor]:
        """The product as a plain function."""
        return self.forward

    def extra_repr(self) -> str:
        """For ``repr``."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def with_minimums(layers: Sequence[Int4Linear]) -> None:
    """Where some of a model's ``layers`` have minimums, the others get theirs, so that the file is of one form."""
    if all(layer.minimum is None for layer in layers):
        return
    for layer in layers:
        if layer.minimum is None:
            layer.minimum = -_ZERO * layer.scale
