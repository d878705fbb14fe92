"""One transformer block: self-attention, cross-attention where there is an encoder, feed-forward, each residual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lamina.model.layers.attention import Attention
from lamina.model.layers.cache import KeyValueCache
from lamina.model.layers.feedforward import FeedForward
from lamina.model.layers.masks import NO_MASK, Mask
from lamina.model.layers.norms import make_norm
from lamina.model.layers.precision import lowered
from lamina.model.spec import BlockSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a block needs beside its input, see ``Attention``: the same objects for all blocks of a kind."""

    mask: Mask
    rotary: tuple[Tensor, Tensor] | None = None
    bias: Tensor | None = None
    cache: KeyValueCache | None = None
    source: Tensor | None = None
    source_mask: Mask = NO_MASK


class Block(nn.Module):
    """Its parts one after another, each in a residual path, with the norms where ``BlockSpec.placement`` says."""

    def __init__(
        self, spec: BlockSpec, width: int, layer: int, *, source_width: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.placement = spec.placement
        self.attention = Attention(spec.attention, width, layer)
        self.cross = Attention(spec.cross, width, layer, source_width=source_width) if spec.cross else None
        self.feedforward = FeedForward(spec.feedforward, width)
        for part in ("attention", "cross", "feedforward"):
            if getattr(self, part) is None or spec.placement == "none":
                continue
            self.add_module(f"{part}_norm", make_norm(spec.norm, width))
            if spec.placement == "sandwich":
                self.add_module(f"{part}_after", make_norm(spec.norm, width))
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor, around: Surroundings) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self._part("attention", x, mask=around.mask, rotary=around.rotary, bias=around.bias, cache=around.cache)
        if self.cross is not None:
            x = self._part("cross", x, mask=around.source_mask, source=around.source, cache=around.cache)
        return self._part("feedforward", x)

    def _part(self, name: str, x: Tensor, **given: Any) -> Tensor:
        part: Callable[..., Tensor] = getattr(self, name)
        norm: Callable[[Tensor], Tensor] | None = None
        if self.placement != "none":
            norm = getattr(self, f"{name}_norm")
        after = self.placement == "post"
        out = part(lowered(x if norm is None or after else norm(x)), **given)
        if self.placement == "sandwich":
            out = getattr(self, f"{name}_after")(out)
        if self.dropout is not None:
            out = self.dropout(out)
        out = x + out
        return norm(out) if norm is not None and after else out
