"""The torch path where an answer must not depend on what else is computed: every product has one fixed shape.

What a matrix product makes of a row depends on how many rows there are: kernels are chosen and cut by the shape (He et
al. 2025, "Defeating Nondeterminism in LLM Inference"). So a token of a prompt always stands in the same row of a tile
of 16, by its place in the sequence, whatever the chunk that it came in, and attends alone; a token of an answer is
computed alone. Bits may still differ between numbers of threads, versions of torch and processors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.deployment.engine.attending import first_seen
from lamina.deployment.engine.layer import Layer
from lamina.deployment.engine.operations import attend as attend_to
from lamina.deployment.engine.place import Paging, Place

TILE = 16


def prefill_in_tiles(tokens: Sequence[int], place: Place, forward: Callable[..., Tensor], paging: Paging) -> Tensor:
    """Compute the next ``tokens`` of a sequence; the hidden state (1, D) of the last before the final norm.

    ``forward``: the runner's, of ids, positions and what attends.
    """
    start, end = place.stored, place.stored + len(tokens)
    hidden = torch.empty(0)
    for begin in range(start - start % TILE, end, TILE):
        first, last = max(begin, start), min(begin + TILE, end)
        rows = slice(first - begin, last - begin)
        ids, positions = torch.zeros(TILE, dtype=torch.long), torch.full((TILE,), first)
        ids[rows] = torch.tensor(tokens[first - start : last - start])
        positions[rows] = torch.arange(first, last)
        adapted = [] if place.adapter is None else [(slice(0, TILE), place.adapter)]
        attend = _attend(paging.slots(place, first, last), paging.slots(place, 0, last), rows, first)
        hidden = forward(ids, positions, attend, few=False, adapted=adapted)[last - begin - 1 : last - begin]
    return hidden


def _attend(written: Tensor, seen: Tensor, rows: slice, first: int) -> Callable[[Layer, Tensor, Tensor], Any]:
    def attend(layer: Layer, q: Tensor, kv: Tensor) -> Tensor:
        layer.put(written, kv[rows])
        near, window, scale = layer.seen(seen), layer.spec.attention.window, layer.spec.attention.scale
        out = [
            attend_to(row[None, :, None], near[:, first_seen(end, window) : end], None, scale)
            for end, row in enumerate(q[rows].unbind(), first + 1)
        ]
        return F.pad(torch.cat(out), (0, 0, rows.start, TILE - rows.stop))

    return attend
