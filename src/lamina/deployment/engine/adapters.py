"""A low-rank adapter over the engine's fused products: what is added to their rows, while the base stays as it is.

Rows of one step may have different adapters or none (as in S-LoRA, arXiv 2311.03285): the base's products are computed
for all rows together, and each row gets what its own adapter adds. The base is not quantised anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamina.kit.errors import ModelFileError
from lamina.model.adapters import Adapter, LowRank
from lamina.model.spec import BlockSpec, StackSpec

PRODUCTS = ("qkv", "o", "up", "down")
#: Inputs are filled up to whole groups of so many, as the native kernels have them.
_GROUP = 32


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """``x @ down.T @ up`` goes to the outputs of a product from ``begin`` on; ``down`` (r, in filled up), ``up``
    (r, out) with the scale in it, both float32."""

    down: Tensor
    up: Tensor
    begin: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EngineAdapter:
    """``parts`` by layer and product (``PRODUCTS``). ``key``: name and content, part of what a cached prefix is found
    by. ``rank``: the greatest of its parts'. Held by each sequence that it answers, so it lives as long as the last of
    them."""

    key: str
    parts: tuple[tuple[tuple[Part, ...], ...], ...]
    rank: int

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        parts = [part for layer in self.parts for product in layer for part in product]
        return sum(t.numel() * t.element_size() for part in parts for t in (part.down, part.up))


def fuse_adapter(adapter: Adapter, stack: StackSpec, *, name: str, device: torch.device) -> EngineAdapter:
    """``adapter``, of a decoder with ``stack``, as the engine computes it. Raises ``ModelFileError`` for layers that
    the engine gives none, such as the head."""
    left = dict(adapter.layers)
    parts = tuple(
        tuple(tuple(_parts(product, index, block, left, device)) for product in PRODUCTS)
        for index, block in enumerate(stack.blocks)
    )
    if left:
        raise ModelFileError(
            f"the engine keeps no adapter beside {', '.join(sorted(left)[:8])}",
            where=name,
            hint="merge it into its base, or train it without these target modules",
        )
    return EngineAdapter(f"{name}@{adapter.digest}", parts, adapter.rank)


def add(rows: Sequence[tuple[slice, EngineAdapter]], layer: int, product: int, x: Tensor, out: Tensor) -> Tensor:
    """``out`` (N, outputs) in float32, with what the adapters of ``rows`` make of the inputs ``x`` (N, inputs)."""
    out, x = out.float(), x.float()
    for where, adapter in rows:
        for part in adapter.parts[layer][product]:
            low = x[where] @ part.down[:, : x.shape[1]].t()
            out[where, part.begin : part.begin + part.up.shape[1]] += low @ part.up
    return out


def beside(
    products: Sequence[Callable[[Tensor], Tensor]],
    layer: int,
    rows: Sequence[tuple[slice, EngineAdapter]],
    dtype: torch.dtype,
) -> list[Callable[[Tensor], Tensor]]:
    """``products`` of a layer, of inputs in ``dtype``, each with what the adapters of ``rows`` add to it."""

    def adapted(index: int, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: add(rows, layer, index, x, product(x.to(dtype)))

    return [adapted(index, product) for index, product in enumerate(products)]


def one_kind_at_a_time(
    compute: Callable[[Sequence[int], Sequence[Any]], Tensor],
    tokens: Sequence[int],
    places: Sequence[Any],
    known: Sequence[bool],
) -> Tensor:
    """Scores (B, V): rows whose adapter (or that they have none) is ``known`` to faster kernels first, then the others,
    so that neither sees the other's kernels."""
    kinds = [[n for n, found in enumerate(known) if found == kind] for kind in (True, False)]
    parts = [compute([tokens[n] for n in rows], [places[n] for n in rows]) for rows in kinds]
    scores = torch.empty((len(tokens), parts[0].shape[1]), dtype=parts[0].dtype, device=parts[0].device)
    for rows, part in zip(kinds, parts, strict=True):
        scores[rows] = part
    return scores


def _parts(
    product: str, index: int, block: BlockSpec, left: dict[str, LowRank], device: torch.device
) -> Iterator[Part]:
    for name, begin in places_of(product, block):
        found = left.pop(f"decoder.blocks.{index}.{name}", None)
        if found is None:
            continue
        rank, inputs = found.down.shape
        down = torch.zeros(rank, -(-inputs // _GROUP) * _GROUP)
        down[:, :inputs] = found.down.float()
        up = (found.up.float() * found.scale).t().contiguous()
        yield Part(down.to(device), up.to(device), begin)


def places_of(product: str, block: BlockSpec) -> Sequence[tuple[str, int]]:
    """The layers that a product computes side by side, and where the outputs of each begin."""
    attention, feedforward = block.attention, block.feedforward
    queries, keys = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim
    if product == "qkv":
        return [("attention.q", 0), ("attention.k", queries), ("attention.v", queries + keys)]
    if product == "up" and feedforward.gated:
        return [("feedforward.gate", 0), ("feedforward.up", feedforward.inner)]
    return [({"o": "attention.o", "up": "feedforward.up", "down": "feedforward.down"}[product], 0)]
