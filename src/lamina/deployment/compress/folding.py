"""Scales of a layer's inputs, moved into what comes before it: the model computes the same.

What a layer reads is divided by ``scales`` (K,), its weights are multiplied by them. The division is folded into the
norm before the layer, or into the rows of the layer whose outputs reach it without a function that would notice. It is
what SmoothQuant (arXiv 2211.10438) and AWQ (arXiv 2306.00978) do before they round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamina.deployment.compress.calibration import readers
from lamina.model.layers.attention import Attention
from lamina.model.layers.block import Block
from lamina.model.layers.norms import LayerNorm, OffsetRMSNorm


@dataclass(frozen=True, slots=True)
class Link:
    """``layers`` read what ``divide`` can divide by scales. ``even``: values (K,) made equal where scales must be."""

    reads: str  # the name in ``readers``
    layers: tuple[nn.Linear, ...]
    divide: Callable[[Tensor], None]
    even: Callable[[Tensor], Tensor]
    from_norm: bool

    @torch.no_grad()
    def fold(self, scales: Tensor) -> None:
        """Divide what the layers read by ``scales`` (K,) and multiply their weights."""
        self.divide(scales)
        for layer in self.layers:
            layer.weight.mul_(scales.to(layer.weight.dtype))


def links(block: Block) -> list[Link]:
    """The links of a block of a decoder; none from a norm where norms come after the parts, or not at all."""
    attention, feedforward = block.attention, block.feedforward
    layers = {name: tuple(getattr(*place) for place in places) for name, places in readers(block).items()}

    def same(values: Tensor) -> Tensor:
        return values

    found = []
    if block.placement in ("pre", "sandwich"):
        for name in ("attention", "feedforward"):
            norm = block.get_submodule(f"{name}_norm")
            found.append(Link(name, layers[name], _of_norm(norm), same, True))
    found.append(Link("attended", layers["attended"], _of_values(attention), _shared_by_heads(attention), False))
    if feedforward.gate is not None or feedforward.activation is nn.functional.relu:
        found.append(Link("inner", layers["inner"], _of_rows(feedforward.up), same, False))
    return found


def _of_norm(norm: Any) -> Callable[[Tensor], None]:
    def divide(scales: Tensor) -> None:
        if isinstance(norm, OffsetRMSNorm):
            norm.weight.copy_((1.0 + norm.weight) / scales - 1.0)
            return
        norm.weight.div_(scales)
        if isinstance(norm, LayerNorm):
            norm.bias.div_(scales)

    return divide


def _of_rows(layer: nn.Linear) -> Callable[[Tensor], None]:
    def divide(scales: Tensor) -> None:
        layer.weight.div_(scales[:, None])
        if layer.bias is not None:
            layer.bias.div_(scales)

    return divide


def _of_values(attention: Attention) -> Callable[[Tensor], None]:
    def divide(scales: Tensor) -> None:
        own = scales.view(attention.kv_heads, -1, attention.head_dim)[:, 0]
        _of_rows(attention.v)(own.reshape(-1))

    return divide


def _shared_by_heads(attention: Attention) -> Callable[[Tensor], Tensor]:
    """Heads that share keys and values (arXiv 2305.13245) can only have the same scales."""

    def even(values: Tensor) -> Tensor:
        shared = values.view(attention.kv_heads, -1, attention.head_dim)
        return shared.mean(1, keepdim=True).expand_as(shared).reshape(-1)

    return even
