"""One transformer block: attention and feed-forward, pre-norm, with residual paths."""

from __future__ import annotations

from torch import Tensor, nn

from lamina.model.layers.attention import Attention, Cache
from lamina.model.layers.feedforward import FeedForward
from lamina.model.layers.norms import make_norm
from lamina.model.spec import BlockSpec


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + feedforward(norm(x))`` (pre-norm, arXiv 2002.04745)."""

    def __init__(self, spec: BlockSpec, width: int, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(spec.norm, width)
        self.attention = Attention(spec.attention, width, layer)
        self.feedforward_norm = make_norm(spec.norm, width)
        self.feedforward = FeedForward(spec.feedforward, width)

    def forward(
        self, x: Tensor, *, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.attention(self.attention_norm(x), rotary=rotary, mask=mask, cache=cache)
        out: Tensor = x + self.feedforward(self.feedforward_norm(x))
        return out
