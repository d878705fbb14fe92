"""One transformer for every architecture: what it computes follows from its ``ModelSpec`` alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lamina.model.layers.attention import Cache, segment_mask
from lamina.model.layers.block import Block
from lamina.model.layers.embeddings import Embeddings, rotary_tables, wavelengths
from lamina.model.layers.heads import LanguageModelHead
from lamina.model.layers.norms import make_norm
from lamina.model.spec import ModelSpec, RotarySpec

_INIT_STD = 0.02  # of weights; residual projections are narrowed by sqrt(2 · layers), as in the GPT-2 report


class Transformer(nn.Module):
    """A causal decoder. Submodules: ``embeddings``, ``blocks``, ``norm``, ``head`` (whose weight may be tied)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.embeddings.width
        self.embeddings = Embeddings(spec.embeddings, spec.max_positions)
        self.blocks = nn.ModuleList(Block(block, width, layer) for layer, block in enumerate(spec.blocks))
        self.norm = make_norm(spec.norm, width)
        tied = self.embeddings.token if spec.head.tied else None
        self.head: nn.Module = LanguageModelHead(width, spec.embeddings.vocabulary, tied)
        self._frequencies: dict[tuple[RotarySpec, int], Tensor] = {
            (b.attention.rotary, b.attention.head_dim): wavelengths(b.attention.rotary, b.attention.head_dim)
            for b in spec.blocks
            if b.attention.rotary
        }
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw fresh weights from torch's generator: normal, std 0.02; biases zero; norms one."""
        narrow = _INIT_STD / math.sqrt(2 * len(self.blocks))
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                residual = name.endswith(("attention.o", "feedforward.down"))
                nn.init.normal_(module.weight, std=narrow if residual else _INIT_STD)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        inputs: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) after the final norm, for token ids ``inputs`` (B, T) int64.

        ``segments`` (B, T): documents packed in a row, numbered from 1, 0 = padding; none sees another.
        ``positions`` (B, T): places in the document; default: from the start of the row, or of each segment.
        ``cache``: attends over what it stored; the caller then gives the ``positions``, and no ``segments``.
        """
        if positions is None:
            positions = _places(inputs, segments)
        mask = segment_mask(segments) if segments is not None and cache is None else None
        hidden: Tensor = self.embeddings(inputs, positions)
        tables = {key: rotary_tables(f, positions, hidden.dtype) for key, f in self._frequencies.items()}
        for block, spec in zip(self.blocks, self.spec.blocks, strict=True):
            rotary = tables[spec.attention.rotary, spec.attention.head_dim] if spec.attention.rotary else None
            hidden = block(hidden, rotary=rotary, mask=mask, cache=cache)
        out: Tensor = self.norm(hidden)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., V) of the next token, from hidden states (..., D)."""
        out: Tensor = self.head(hidden)
        return out

    @property
    def parameter_count(self) -> int:
        """Weights, a tied matrix counted once."""
        return sum(p.numel() for p in self.parameters())


def _places(inputs: Tensor, segments: Tensor | None) -> Tensor:
    """0, 1, 2, … along each row (B, T), starting anew where the segment changes."""
    index = torch.arange(inputs.shape[1], device=inputs.device).expand(inputs.shape)
    if segments is None:
        return index
    starts = torch.zeros_like(index)
    starts[:, 1:] = torch.where(segments[:, 1:] != segments[:, :-1], index[:, 1:], 0)
    return index - starts.cummax(dim=1).values
