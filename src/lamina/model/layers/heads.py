"""The output layers: hidden states to scores of the vocabulary, of labels, of whole texts."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lamina.model.layers.feedforward import ACTIVATIONS
from lamina.model.layers.hollow import hollow
from lamina.model.layers.norms import make_norm
from lamina.model.spec import Activation, HeadSpec, NormSpec, OutputSpec


class VocabularyHead(nn.Linear):
    """``logits = prepare(hidden) @ weight.T + bias``, (..., V); ``weight`` (V, D) is the token embedding when tied."""

    def __init__(self, spec: HeadSpec, width: int, vocabulary: int, tied_to: nn.Embedding | None) -> None:
        with hollow() if tied_to is not None else nullcontext():
            super().__init__(width, vocabulary, bias=spec.bias)
        if tied_to is not None:
            self.weight = tied_to.weight
            if spec.bias:
                self.bias = nn.Parameter(tied_to.weight.new_zeros(vocabulary))
        self.scale = spec.scale
        self.transform = None
        if spec.transform and spec.norm:
            self.transform = Transform(width, spec.transform, spec.norm)

    def prepare(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D): what the matrix is multiplied with."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        return hidden if self.scale == 1.0 else hidden * self.scale

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return super().forward(self.prepare(hidden))


class Transform(nn.Module):
    """BERT's dense layer, activation and norm before the scores (arXiv 1810.04805)."""

    def __init__(self, width: int, activation: Activation, norm: NormSpec) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.activation = ACTIVATIONS[activation]
        self.norm = make_norm(norm, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        out: Tensor = self.norm(self.activation(self.dense(hidden)))
        return out


class Pooler(nn.Linear):
    """tanh of a dense layer, (B, D) -> (B, D) (arXiv 1810.04805)."""

    def forward(self, text: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        return torch.tanh(super().forward(text))


def make_output(spec: OutputSpec, width: int) -> nn.Module:
    """The layer of an output."""
    if spec.kind == "pooler":
        return Pooler(width, width)
    scores = {"next-sentence": 2, "reward": 1}.get(spec.kind, spec.labels)
    return nn.Linear(width, scores, bias=spec.bias and spec.kind != "reward")


def first_token(hidden: Tensor) -> Tensor:
    """(B, T, D) -> (B, D): the first token's, for texts one a row."""
    return hidden[:, 0]


def last_token(hidden: Tensor, segments: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, D): the last real token's, for texts one a row, ``segments`` (B, T) with 0 = padding."""
    if segments is None:
        return hidden[:, -1]
    places = torch.arange(hidden.shape[1], device=hidden.device)
    last = torch.where(segments != 0, places, 0).amax(dim=1)
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]


def mean_token(hidden: Tensor, segments: Tensor | None) -> Tensor:
    """(B, T, D) -> (B, D): the mean of the real tokens, for texts one a row."""
    if segments is None:
        return hidden.mean(dim=1)
    real = (segments != 0).unsqueeze(-1).to(hidden.dtype)
    return (hidden * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9)
