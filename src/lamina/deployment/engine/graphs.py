"""Decoding on a GPU: the whole step of a batch as one CUDA graph, captured once for each size of batch.

A small model's step is hundreds of kernels of a few microseconds; launched one by one from Python they take longer to
start than to run. The sequences of a step are filled up to the next captured size with rows that write into a page of
their own and whose results nobody reads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.deployment.engine.layer import Layer, is_plain
from lamina.deployment.engine.place import Place
from lamina.model.spec import StackSpec

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_WARM = 2  # runs before a capture: kernels get compiled, libraries choose theirs
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Captured:
    graph: Any
    given: Tensor  # (B, 2 + pages) int32: token, position, table of pages
    host: Tensor  # the same in pinned memory
    scores: Tensor  # (B, V) float32


class GraphDecoder:
    """The decoding step of ``stack`` over its ``layers`` (see ``runner``).

    ``pages``: the longest sequence's; ``spare``: a page that nobody owns; ``most``: sequences in a step.
    """

    def __init__(
        self,
        kernels: ModuleType,
        stack: Any,
        layers: Sequence[Layer],
        *,
        head: Any,
        block_tokens: int,
        pages: int,
        spare: int,
        most: int,
    ) -> None:
        self._kernels, self._stack, self._layers, self._head = kernels, stack, layers, head
        self._norms = [(_norm(b.attention_norm), _norm(b.feedforward_norm)) for b in stack.blocks]
        self._last = _norm(stack.norm)
        self._page, self._pages, self._spare = block_tokens, pages, spare
        self._device, self._dtype = layers[0].store.device, layers[0].store.dtype
        self._pool: Any = None
        self._captured: dict[int, _Captured] = {}
        sizes = [size for size in _SIZES if size < most]
        for size in sorted({*sizes, min(most, _SIZES[-1])}, reverse=True):  # the largest first: others reuse its memory
            self._captured[size] = self._capture(size)
        self._order = sorted(self._captured)

    def __call__(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        """Scores (B, V) float32 after one more token of each sequence; they stand until the next call."""
        count, largest = len(tokens), self._order[-1]
        if count > largest:
            parts = [slice(i, i + largest) for i in range(0, count, largest)]
            return torch.cat([self(tokens[p], places[p]).clone() for p in parts])
        captured = self._captured[next(size for size in self._order if size >= count)]
        rows = captured.host.numpy()
        rows[:, 0], rows[:, 1], rows[:, 2] = 0, 0, self._spare
        for row, token, place in zip(rows, tokens, places, strict=False):
            row[0], row[1], row[2 : 2 + len(place.blocks)] = token, place.stored, place.blocks
        captured.given.copy_(captured.host, non_blocking=True)
        captured.graph.replay()
        return captured.scores[:count]

    def close(self) -> None:
        """Let go of the graphs."""
        self._captured.clear()

    @torch.inference_mode()
    def _capture(self, size: int) -> _Captured:
        host = torch.zeros((size, 2 + self._pages), dtype=torch.int32, pin_memory=True)
        host[:, 2] = self._spare
        given = host.to(self._device)
        shapes = {
            a: self._kernels.scratch(size, a.heads, a.kv_heads, a.head_dim, self._device)
            for a in {layer.spec.attention for layer in self._layers}
        }
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                self._step(given, shapes)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            scores = self._step(given, shapes)
        self._pool = self._pool or graph.pool()
        return _Captured(graph, given, host, scores)

    def _step(self, given: Tensor, scratch: Any) -> Tensor:
        kernels = self._kernels
        tokens, positions, tables = given[:, 0].long(), given[:, 1].contiguous(), given[:, 2:].contiguous()
        hidden = self._stack.embeddings(tokens[None], positions[None].long())[0].float()
        normed = torch.empty_like(hidden, dtype=self._dtype)
        added: Tensor | None = None
        for layer, norms in zip(self._layers, self._norms, strict=True):
            attention, feedforward, store = layer.spec.attention, layer.spec.feedforward, layer.store
            qkv_of, o_of, up_of, down_of = layer.few_rows
            kernels.add_norm(hidden, added, *norms[0], normed)
            qkv = qkv_of(normed)
            if layer.q_norm is not None:
                qkv = _with_norms(qkv, attention, (layer.q_norm, layer.k_norm))
            queries = store.new_empty((len(tokens), attention.heads, attention.head_dim))
            heads = attention.heads, attention.kv_heads
            kernels.place(qkv, queries, store, layer.rotary, positions, tables, self._page, *heads)
            out = torch.empty_like(queries)
            kernels.attend(queries, store, positions, tables, self._page, heads[1], scratch[attention], out)
            kernels.add_norm(hidden, o_of(out.flatten(1)), *norms[1], normed)
            active = store.new_empty((len(tokens), feedforward.inner))
            kernels.activate(up_of(normed), feedforward.activation, active, gated=feedforward.gated)
            added = down_of(active)
        kernels.add_norm(hidden, added, *self._last, normed)
        return wide_scores(self._head, normed)


def wide_scores(head: Any, normed: Tensor) -> Tensor:
    """Scores (B, V) float32 of bfloat16 rows (B, D): the sums leave the product unrounded, so that near ties hold."""
    scores = torch.mm(normed, head.weight.t(), out_dtype=torch.float32)
    return scores if head.bias is None else scores + head.bias.float()


def load_kernels(spec: StackSpec, device: torch.device) -> ModuleType | None:
    """The kernels, if they know models like ``spec`` and Triton works here; else None."""
    if device.type != "cuda" or spec.norm is None or spec.norm.offset:
        return None
    for block in spec.blocks:
        dim = block.attention.head_dim
        if dim < 16 or dim & (dim - 1) or block.attention.head_dim > 256 or not is_plain(block):
            return None
    try:
        from lamina.deployment.engine import cuda_kernels
    except Exception as error:  # Triton is missing, or does not fit this card
        _log.warning("decoding goes without CUDA graphs: %s", error)
        return None
    return cuda_kernels


def _with_norms(qkv: Tensor, attention: Any, norms: tuple[Any, Any]) -> Tensor:
    """``qkv`` with its queries and keys normed (QK-norm)."""
    heads = qkv.view(qkv.shape[0], -1, attention.head_dim)
    q, k, v = heads.split((attention.heads, attention.kv_heads, attention.kv_heads), dim=1)
    normed = [
        F.rms_norm(part.float(), (attention.head_dim,), norm.weight.float(), norm.eps).to(qkv.dtype)
        for part, norm in zip((q, k), norms, strict=True)
    ]
    return torch.cat((*normed, v), dim=1).flatten(1)


def _norm(module: Any) -> tuple[Tensor, Tensor | None, float]:
    """Its weight, its bias (None: RMSNorm) and its epsilon."""
    bias = getattr(module, "bias", None)
    return module.weight.detach().float(), None if bias is None else bias.detach().float(), module.eps


def open_graphs(stack: Any, layers: Sequence[Layer], **given: Any) -> GraphDecoder | None:
    """The step of ``stack`` as graphs; None where the kernels do not know such models. ``given``: the decoder's."""
    kernels = load_kernels(stack.spec, layers[0].store.device)
    return None if kernels is None else GraphDecoder(kernels, stack, layers, **given)
