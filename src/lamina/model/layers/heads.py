"""The output layer: hidden states to a score for each token of the vocabulary."""

from __future__ import annotations

from torch import nn


class LanguageModelHead(nn.Linear):
    """``logits = hidden @ weight.T`` of shape (..., V); ``weight`` (V, D) is the token embedding itself when tied."""

    def __init__(self, width: int, vocabulary: int, tied_to: nn.Embedding | None) -> None:
        super().__init__(width, vocabulary, bias=False, device="meta" if tied_to is not None else None)
        if tied_to is not None:
            self.weight = tied_to.weight
