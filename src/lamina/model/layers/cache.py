"""Keys and values kept from one step of generation to the next."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of a batch's tokens so far, all rows of one length; those of an encoder's output beside them.

    The plain form, for reference and for evaluation; the engine keeps its own in pages.
    """

    def __init__(self) -> None:
        self.length = 0  # tokens stored by all layers
        self._own: dict[int, tuple[Tensor, Tensor]] = {}
        self._source: dict[int, tuple[Tensor, Tensor]] = {}

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store ``k``, ``v`` (B, Hkv, T, Dh) of new tokens; returns all of the layer's, (B, Hkv, S, Dh)."""
        if layer in self._own:
            before = self._own[layer]
            k, v = torch.cat((before[0], k), dim=2), torch.cat((before[1], v), dim=2)
        self._own[layer] = k, v
        return k, v

    def source(self, layer: int, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Keys and values of the encoder's output, made once."""
        if layer not in self._source:
            self._source[layer] = make()
        return self._source[layer]

    def select(self, rows: Tensor) -> None:
        """Keep these ``rows`` (B',) int64 of the batch, in this order; one may be taken several times.

        What the encoder made stays: several rows, the beams of one source, may stand on one row of it.
        """
        _select(self._own, rows)

    def select_sources(self, rows: Tensor) -> None:
        """Keep these ``rows`` (B',) int64 of the encoder's output."""
        _select(self._source, rows)


def _select(kept: dict[int, tuple[Tensor, Tensor]], rows: Tensor) -> None:
    for layer, (k, v) in kept.items():
        kept[layer] = k.index_select(0, rows), v.index_select(0, rows)
