"""What a CUDA graph of the engine holds: the kernels of a step, in their order (see ``graphs``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.deployment.engine.adapters import PRODUCTS, places_of
from lamina.deployment.engine.gpu.slots import MOST_PARTS, shapes
from lamina.deployment.engine.layer import Layer

KERNELS = "lamina.deployment.engine.gpu.kernels"
LOW_RANK = "lamina.deployment.engine.gpu.low_rank"
Norm = tuple[Tensor, Tensor | None, float]


@dataclass(frozen=True, slots=True)
class LowRank:
    """What adds the rows' adapters to a step: its ``kernels``, the ``table`` of ``slots``, and rows in a ``tile``."""

    kernels: ModuleType
    table: Tensor
    tile: int

    def beside(
        self, layer: Layer, number: int, adapters: Tensor, tiles: Tensor, low: Tensor
    ) -> list[Callable[[Tensor], Tensor]]:
        """The products of layer ``number``, each with what the rows' ``adapters`` (N,) add to it; ``low``: scratch."""

        def adapted(index: int, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            begins = [begin for _, begin in places_of(PRODUCTS[index], layer.spec)]

            def both(x: Tensor) -> Tensor:
                out = product(x)
                parts, widest = shapes(begins, out.shape[1])
                table = self.table[:, number, index]
                self.kernels.add(x, out, low, adapters, tiles, table, parts=parts, widest=widest, tile=self.tile)
                return out

            return both

        return [adapted(index, product) for index, product in enumerate(layer.few_rows)]


class GraphSteps:
    """Steps of ``stack`` over its ``layers``, in pages of ``page`` tokens, into ``scores`` (most, V) float32."""

    def __init__(
        self,
        kernels: ModuleType,
        stack: Any,
        layers: Sequence[Layer],
        *,
        head: Any,
        page: int,
        scores: Tensor,
    ) -> None:
        self._kernels, self._stack, self._layers, self._head = kernels, stack, layers, head
        self._page, self._scores = page, scores
        self._norms = [(_norm(b.attention_norm), _norm(b.feedforward_norm)) for b in stack.blocks]
        self._last = _norm(stack.norm)
        self._dtype, self._device = layers[0].store.dtype, layers[0].store.device

    def scratch(self, rows: int) -> Any:
        """What a step of ``rows`` sequences with one row each computes in."""
        specs = {layer.spec.attention for layer in self._layers}
        return {a: self._kernels.scratch(rows, a.heads, a.kv_heads, a.head_dim, self._device) for a in specs}

    def __call__(self, given: Sequence[Tensor], scratch: Any, low_rank: LowRank | None = None) -> None:
        """Compute the rows that ``given`` holds: tokens, positions, owners and adapters (N,), wanted (S,), tiles
        (n, 2), tables. Without tiles each is a sequence's only one; without ``low_rank`` none has an adapter."""
        kernels = self._kernels
        tokens, positions, owners, adapters, wanted, tiles, tables = given
        rows = positions, owners, tables
        hidden: Tensor = self._stack.embeddings(tokens.long()[None], positions.long()[None])[0].float()
        normed = torch.empty_like(hidden, dtype=self._dtype)
        added: Tensor | None = None
        low = None if low_rank is None else low_rank.kernels.room(len(tokens), MOST_PARTS, self._device)
        for number, (layer, norms) in enumerate(zip(self._layers, self._norms, strict=True)):
            attention, feedforward, store = layer.spec.attention, layer.spec.feedforward, layer.store
            products: Sequence[Callable[[Tensor], Tensor]] = layer.few_rows
            if low_rank is not None and low is not None:
                products = low_rank.beside(layer, number, adapters, tiles, low)
            qkv_of, o_of, up_of, down_of = products
            kernels.add_norm(hidden, added, *norms[0], normed)
            qkv = qkv_of(normed)
            if layer.q_norm is not None:
                qkv = _with_norms(qkv, attention, (layer.q_norm, layer.k_norm))
            queries = store.new_empty((len(tokens), attention.heads, attention.head_dim))
            kernels.place(qkv, queries, store, layer.rotary, rows, self._page, attention.heads, attention.kv_heads)
            out = torch.empty_like(queries)
            if len(tiles):
                kernels.attend_together(queries, store, rows, tiles, self._page, attention.kv_heads, out)
            else:
                kernels.attend(queries, store, rows, self._page, attention.kv_heads, scratch[attention], out)
            kernels.add_norm(hidden, o_of(out.flatten(1)), *norms[1], normed)
            active = store.new_empty((len(tokens), feedforward.inner))
            kernels.activate(up_of(normed), feedforward.activation, active, gated=feedforward.gated)
            added = down_of(active)
        kernels.add_norm(hidden, added, *self._last, normed)
        last = normed[wanted.long()] if len(tiles) else normed
        self._scores[: len(last)] = wide_scores(self._head, last)


def wide_scores(head: Any, normed: Tensor) -> Tensor:
    """Scores (B, V) float32 of bfloat16 rows (B, D): the sums leave the product unrounded, so that near ties hold."""
    scores = torch.mm(normed, head.weight.t(), out_dtype=torch.float32)
    return scores if head.bias is None else scores + head.bias.float()


def _with_norms(qkv: Tensor, attention: Any, norms: tuple[Any, Any]) -> Tensor:
    """``qkv`` with its queries and keys normed (QK-norm)."""
    heads = qkv.view(qkv.shape[0], -1, attention.head_dim)
    q, k, v = heads.split((attention.heads, attention.kv_heads, attention.kv_heads), dim=1)
    normed = [
        F.rms_norm(part.float(), (attention.head_dim,), norm.weight.float(), norm.eps).to(qkv.dtype)
        for part, norm in zip((q, k), norms, strict=True)
    ]
    return torch.cat((*normed, v), dim=1).flatten(1)


def _norm(module: Any) -> Norm:
    """Its weight, its bias (None: RMSNorm) and its epsilon."""
    bias = getattr(module, "bias", None)
    return module.weight.detach().float(), None if bias is None else bias.detach().float(), module.eps
