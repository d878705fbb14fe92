"""A stack of blocks over its embeddings: the encoder or the decoder of a transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lamina.model.layers.attention import RelativeBias
from lamina.model.layers.block import Block, Surroundings
from lamina.model.layers.cache import KeyValueCache
from lamina.model.layers.embeddings import Constant, Embeddings, rotary_tables, wavelengths
from lamina.model.layers.masks import NO_MASK, Mask, cached_mask, cross_mask, self_mask
from lamina.model.layers.norms import make_norm
from lamina.model.spec import AttentionSpec, RotarySpec, StackSpec


class Stack(nn.Module):
    """Submodules: ``embeddings``, ``blocks``, ``norm`` (None where the blocks' own norms come last), ``relative``."""

    def __init__(
        self,
        spec: StackSpec,
        max_positions: int,
        *,
        token: nn.Embedding | None = None,
        source_width: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.recompute = False  # blocks' insides for the gradient, instead of keeping them (arXiv 1604.06174)
        width = spec.embeddings.width
        self.embeddings = Embeddings(spec.embeddings, max_positions, token=token)
        self.blocks = nn.ModuleList(
            Block(block, width, layer, source_width=source_width, dropout=dropout)
            for layer, block in enumerate(spec.blocks)
        )
        self.norm = make_norm(spec.norm, width) if spec.norm else None
        self.relative = None
        if spec.relative:
            self.relative = RelativeBias(spec.relative, spec.blocks[0].attention.heads, causal=spec.causal)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.frequencies: dict[tuple[RotarySpec, int], Constant] = {
            (b.attention.rotary, b.attention.head_dim): Constant(wavelengths(b.attention.rotary, b.attention.head_dim))
            for b in spec.blocks
            if b.attention.rotary
        }

    def forward(
        self,
        inputs: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        kinds: Tensor | None = None,
        cache: KeyValueCache | None = None,
        source: Tensor | None = None,
        source_segments: Tensor | None = None,
        causal: bool | None = None,
        always_mask: bool = False,
    ) -> Tensor:
        """Hidden states (B, T, D) after the final norm; see ``Transformer.forward``."""
        causal = self.spec.causal if causal is None else causal
        stored = cache.length if cache else 0
        if positions is None:
            positions = places(inputs, segments) + stored
        length, device = inputs.shape[1], inputs.device

        def mask(window: int | None) -> Mask:
            if cache is not None:
                return cached_mask(stored, length, window=window, device=device)
            return self_mask(length, causal=causal, window=window, segments=segments, device=device, always=always_mask)

        hidden: Tensor = self.embeddings(inputs, positions, kinds)
        if self.dropout is not None:
            hidden = self.dropout(hidden)
        tables = {key: rotary_tables(f.on(device), positions, hidden.dtype) for key, f in self.frequencies.items()}
        masks = {w: mask(w) for w in {block.attention.window for block in self.spec.blocks}}
        bias = None
        if self.relative is not None:
            others = torch.arange(stored + length, device=device)[None] if cache else positions
            bias = self.relative(positions, others)
        crossing = NO_MASK if source is None else cross_mask(segments, source_segments, always=always_mask)

        def surroundings(attention: AttentionSpec) -> Surroundings:
            rotary = tables[attention.rotary, attention.head_dim] if attention.rotary else None
            return Surroundings(
                mask=masks[attention.window],
                rotary=rotary,
                bias=bias,
                cache=cache,
                source=source,
                source_mask=crossing,
            )

        around = {spec: surroundings(spec) for spec in {block.attention for block in self.spec.blocks}}
        again = self.recompute and self.training and torch.is_grad_enabled()
        for block, spec in zip(self.blocks, self.spec.blocks, strict=True):
            given = around[spec.attention]
            hidden = checkpoint(block, hidden, given, use_reentrant=False) if again else block(hidden, given)
        if cache is not None:
            cache.length = stored + length
        return hidden if self.norm is None else self.norm(hidden)


def places(inputs: Tensor, segments: Tensor | None) -> Tensor:
    """0, 1, 2, … along each row (B, T), starting anew where the segment changes."""
    index = torch.arange(inputs.shape[1], device=inputs.device).expand(inputs.shape)
    if segments is None:
        return index
    starts = torch.zeros_like(index)
    starts[:, 1:] = torch.where(segments[:, 1:] != segments[:, :-1], index[:, 1:], 0)
    return index - starts.cummax(dim=1).values
