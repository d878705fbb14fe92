"""Token vectors, learned place vectors, and the rotary tables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lamina.model.spec import EmbeddingSpec, RotarySpec


class Embeddings(nn.Module):
    """Token ids to vectors, plus the vectors of their places where positions are learned."""

    def __init__(self, spec: EmbeddingSpec, max_positions: int) -> None:
        super().__init__()
        self.token = nn.Embedding(spec.vocabulary, spec.width)
        self.position = nn.Embedding(max_positions, spec.width) if spec.positions == "learned" else None

    def forward(self, inputs: Tensor, positions: Tensor) -> Tensor:
        """``inputs`` and ``positions`` (B, T) int64 -> (B, T, D)."""
        hidden: Tensor = self.token(inputs)
        return hidden if self.position is None else hidden + self.position(positions)


def wavelengths(spec: RotarySpec, head_dim: int) -> Tensor:
    """Angular frequencies (head_dim / 2,) float32 on the CPU, after scaling."""
    with torch.device("cpu"):
        exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
        inverse = 1.0 / (spec.theta**exponents)
    if spec.scaling == "linear":
        return inverse / spec.factor
    if spec.scaling == "llama3":
        length = 2 * math.pi / inverse
        share = (spec.original_positions / length - spec.low) / (spec.high - spec.low)
        return torch.lerp(inverse / spec.factor, inverse, share.clamp(0.0, 1.0))
    return inverse


def rotary_tables(frequencies: Tensor, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (B, 1, T, head_dim) of the angles at ``positions`` (B, T), computed in float32.

    The sines of the first half carry the minus of the rotation, which saves negating it in every layer.
    """
    angles = positions[:, None, :, None].float() * frequencies.to(positions.device)
    cosines, sines = angles.cos(), angles.sin()
    return torch.cat((cosines, cosines), dim=-1).to(dtype), torch.cat((-sines, sines), dim=-1).to(dtype)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate the pairs (x[i], x[i + head_dim/2]) of ``x`` (B, H, T, head_dim) by their angles (rotate-half layout)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((second, first), dim=-1) * sines
