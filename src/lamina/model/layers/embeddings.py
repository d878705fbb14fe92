"""Token vectors, vectors of places and of kinds of token, and the rotary tables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lamina.model.layers.norms import make_norm
from lamina.model.spec import EmbeddingSpec, RotarySpec


class Embeddings(nn.Module):
    """Token ids to vectors (B, T, D), with what the specification adds to them.

    ``token`` may be another stack's table.
    """

    def __init__(self, spec: EmbeddingSpec, max_positions: int, *, token: nn.Embedding | None = None) -> None:
        super().__init__()
        self.scale = spec.scale
        self.token = nn.Embedding(spec.vocabulary, spec.width) if token is None else token
        self.position = nn.Embedding(max_positions, spec.width) if spec.positions == "learned" else None
        self.segment = nn.Embedding(spec.segments, spec.width) if spec.segments else None
        self.norm = make_norm(spec.norm, spec.width) if spec.norm else None
        self._interleaved = spec.positions == "interleaved"
        self._waves = Constant(sinusoids(spec.width)) if spec.positions in ("sinusoidal", "interleaved") else None

    def forward(self, inputs: Tensor, positions: Tensor, kinds: Tensor | None = None) -> Tensor:
        """``inputs``, ``positions`` and ``kinds`` (of token; None = all the first) (B, T) int64 -> (B, T, D)."""
        hidden: Tensor = self.token(inputs)
        if self.scale != 1.0:  # the factor in the precision of the vectors, as Gemma has it
            hidden = hidden * torch.full((), self.scale, dtype=hidden.dtype, device=hidden.device)
        if self.segment is not None:
            hidden = hidden + (self.segment.weight[0] if kinds is None else self.segment(kinds))
        if self.position is not None:
            hidden = hidden + self.position(positions)
        if self._waves is not None:
            hidden = hidden + place_vectors(positions, self._waves.on(positions.device), self._interleaved).to(
                hidden.dtype
            )
        return hidden if self.norm is None else self.norm(hidden)


class Constant:
    """A tensor that no checkpoint holds and no cast touches, copied to each device that asks for it once."""

    def __init__(self, values: Tensor) -> None:
        self._at = {values.device: values}

    def on(self, device: torch.device) -> Tensor:
        """The values there."""
        if device not in self._at:
            self._at[device] = next(iter(self._at.values())).to(device)
        return self._at[device]


def sinusoids(width: int) -> Tensor:
    """The angular frequencies (width / 2,) of sinusoidal positions, float64 on the CPU (arXiv 1706.03762)."""
    with torch.device("cpu"):
        return 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def place_vectors(positions: Tensor, frequencies: Tensor, interleaved: bool) -> Tensor:
    """Vectors (B, T, D) float32 of ``positions`` (B, T): sines, then cosines, or in turn."""
    angles = positions[..., None].double() * frequencies.to(positions.device)
    pair = (angles.sin(), angles.cos())
    return (torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)).float()


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
