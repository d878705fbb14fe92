"""Where a sequence lies in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from lamina.deployment.engine.adapters import EngineAdapter


@dataclass(frozen=True, slots=True)
class Place:
    """The blocks of a sequence, in order, how many of its tokens are stored in them, and what adapts its weights."""

    blocks: Sequence[int]
    stored: int
    adapter: EngineAdapter | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """``tokens`` of one sequence to be computed, and whether the ``scores`` after the last one are wanted."""

    tokens: Sequence[int]
    place: Place
    scores: bool = True


class Paging:
    """From places to slots, of which each block of ``block_tokens`` tokens has as many; indices on ``device``."""

    def __init__(self, block_tokens: int, device: torch.device) -> None:
        self._size = block_tokens
        self.device = device
        self._offsets = torch.arange(block_tokens, device=device)

    def slot(self, place: Place, index: int) -> int:
        """The slot of token ``index`` of a sequence."""
        return place.blocks[index // self._size] * self._size + index % self._size

    def slots(self, place: Place, start: int, end: int) -> Tensor:
        """Slots (end - start,) of the tokens ``start`` … ``end`` of a sequence."""
        blocks = torch.tensor(place.blocks[: -(-end // self._size)], device=self._offsets.device)
        return (blocks[:, None] * self._size + self._offsets).flatten()[start:end]

    def view(self, place: Place, end: int, start: int = 0) -> slice | Tensor:
        """The slots of the tokens ``start`` … ``end``: a slice where the blocks are neighbours, else an index."""
        used = place.blocks[start // self._size : -(-end // self._size)]
        if used[-1] - used[0] == len(used) - 1 and all(b - a == 1 for a, b in pairwise(used)):
            first = used[0] * self._size + start % self._size
            return slice(first, first + end - start)
        return self.slots(place, start, end)
