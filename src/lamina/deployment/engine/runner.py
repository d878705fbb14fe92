"""Runs a ``Transformer`` step by step over paged keys and values.

The same computation as ``Transformer.forward`` with fewer and larger operations: fused query-key-value and gate-up
products (the model's layers become views of the fused weights, so that nothing is held twice), rotary tables made
once, keys and values written together. Keys and values lie as [layer][kv_head][block][token][head_dim] in float32: a
sequence whose blocks are neighbours is attended to in place, any other through one gather (measured on 2 cores, AVX2:
float32 attention is 1.2 times as fast as bfloat16 at 1024 tokens).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.deployment.engine import graphs
from lamina.deployment.engine.compiled import CompiledDecoder, load_kernels
from lamina.deployment.engine.layer import Layer, check_served, make_layer
from lamina.deployment.engine.operations import norm, rotary, rotate
from lamina.deployment.engine.place import Place
from lamina.model.transformer import Transformer

#: Prefill products get at least so many rows (padding): from there on a row's result does not depend on their number.
_FEWEST_ROWS = 16
_TRIALS = 5  # tokens by which two ways of decoding are compared
_log = logging.getLogger(__name__)
Kernels = Literal["auto", "compiled", "graphs", "torch"]
_SHORT = 8  # rest of a prompt that the compiled step computes sooner than a padded product over dequantised weights
_EXACT = 64  # the likeliest tokens whose int8 scores are computed again in float32


class Runner:
    """``model`` over ``blocks`` blocks of ``block_tokens`` tokens. Takes the model over: its projections get fused.

    ``kernels``: "auto" measures which way of decoding is faster here, compiled or torch's, and takes CUDA graphs on a
    GPU; or one of them by name (where the model has no such way, torch's is taken). ``most``: sequences in a step.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        blocks: int,
        block_tokens: int,
        context: int,
        kernels: Kernels = "auto",
        most: int = 8,
    ) -> None:
        self.model: Any = model
        self._stack: Any = model.stack
        self._spec = model.spec.stack
        self.block_tokens = block_tokens
        check_served(model.spec)
        first: Any = self._stack.blocks[0]
        weight = first.attention.o.weight.dtype
        self._device = first.attention.o.weight.device
        self._int8 = weight == torch.int8
        self._narrow = torch.bfloat16 if self._int8 else weight
        self._wide = getattr(first.attention.o, "wide", weight)
        assert self._spec.norm is not None  # check_served saw to it
        self._norm = norm(self._stack.norm, self._spec.norm)
        frequencies = {key: values.to(self._device) for key, values in self._stack.frequencies.items()}
        tables = {key: rotary(values, context) for key, values in frequencies.items()}
        spare = 1 if self._device.type == "cuda" else 0  # a block for rows that fill up a graph's batch
        slots = (blocks + spare) * block_tokens
        dtype = torch.float32 if self._device.type == "cpu" else self._narrow
        self._layers = [make_layer(self._stack, i, tables, slots, dtype) for i in range(len(self._spec.blocks))]
        self._offsets = torch.arange(block_tokens, device=self._device)
        self._graphs = (
            self._capture(-(-context // block_tokens), blocks, most) if spare and kernels != "torch" else None
        )
        self._compiled = self._compile() if self._int8 and kernels != "torch" else None
        if self._compiled is not None and kernels == "auto":
            self._choose()

    @property
    def kernels(self) -> Literal["compiled", "graphs", "torch"]:
        """How single tokens are computed."""
        if self._graphs is not None:
            return "graphs"
        return "torch" if self._compiled is None else "compiled"

    def close(self) -> None:
        """End the threads that it may have."""
        for way in (self._compiled, self._graphs):
            if way is not None:
                way.close()

    @staticmethod
    def bytes_per_token(model: Transformer) -> int:
        """Bytes of keys and values that a token needs."""
        size = 2 if model.stack.embeddings.token.weight.device.type == "cuda" else 4
        return sum(2 * b.attention.kv_heads * b.attention.head_dim * size for b in model.spec.stack.blocks)

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        """Compute one token for each of several sequences; the scores (B, V) float32 of what follows."""
        if self._compiled is not None:
            return self._compiled(tokens, places)
        if self._graphs is not None:
            return self._graphs(tokens, places)
        positions = [place.stored for place in places]
        slots = [self._slot(place, place.stored) for place in places]
        index = torch.tensor(slots, device=self._device)
        views = [self._view(place, place.stored + 1) for place in places]

        def attend(layer: Layer, q: Tensor, kv: Tensor) -> Tensor:
            if len(slots) == 1:
                layer.store.select(1, slots[0]).copy_(kv[0])
                return _attend(layer, q.unsqueeze(2), views[0], None)
            layer.store.index_copy_(1, index, kv.transpose(0, 1))
            return torch.cat([_attend(layer, q[b : b + 1].unsqueeze(2), view, None) for b, view in enumerate(views)])

        ids, at = (torch.tensor(values, device=self._device) for values in (tokens, positions))
        hidden = self._forward(ids, at, attend, few=True)
        return self._scores(hidden)

    @torch.inference_mode()
    def prefill(self, tokens: Sequence[int], place: Place, *, scores: bool) -> Tensor | None:
        """Compute the next ``tokens`` of one sequence; the scores (V,) float32 after the last one where asked for."""
        count = len(tokens)
        if self._compiled is not None and count <= _SHORT:
            hidden = self._compiled.extend(tokens, place)
            return self._compiled.scores(hidden[-1:])[0] if scores else None
        padded = max(_FEWEST_ROWS, count)
        ids = torch.tensor([*tokens, *[0] * (padded - count)], device=self._device)
        start, end = place.stored, place.stored + count
        positions = torch.full((padded,), start, device=self._device)
        positions[:count] = torch.arange(start, end, device=self._device)
        view = self._view(place, end)
        slots = self._slots(place, start, end)
        mask = torch.ones(count, end, dtype=torch.bool, device=self._device).tril(start) if start else None

        def attend(layer: Layer, q: Tensor, kv: Tensor) -> Tensor:
            layer.store.index_copy_(1, slots, kv[:count].transpose(0, 1))
            out = _attend(layer, q[:count].transpose(0, 1).unsqueeze(0), view, mask)
            return out if padded == count else F.pad(out, (0, 0, 0, padded - count))

        hidden = self._forward(ids, positions, attend, few=False)
        return self._scores(hidden[count - 1 : count])[0] if scores else None

    def _forward(
        self, ids: Tensor, positions: Tensor, attend: Callable[[Layer, Tensor, Tensor], Tensor], *, few: bool
    ) -> Tensor:
        """Hidden states (N, D) float32 before the final norm, for N rows; ``few``: by the kernels for decoding."""
        hidden = self._stack.embeddings(ids[None], positions[None])[0].float()
        dtype = self._narrow if few else self._wide
        tables: dict[int, tuple[Tensor, Tensor]] = {}
        for layer in self._layers:
            attention = layer.spec.attention
            qkv_of, o_of, up_of, down_of = layer.few_rows if few else layer.products
            qkv = qkv_of(layer.attention_norm(hidden).to(dtype))
            qkv = qkv.view(qkv.shape[0], -1, attention.head_dim).float()
            if layer.q_norm is not None and layer.k_norm is not None:
                qkv[:, : attention.heads] = layer.q_norm(qkv[:, : attention.heads])
                qkv[:, attention.heads : layer.turning] = layer.k_norm(qkv[:, attention.heads : layer.turning])
            if layer.rotary is not None:
                key = id(layer.rotary)
                if key not in tables:
                    tables[key] = (layer.rotary[0][positions], layer.rotary[1][positions])
                rotate(qkv.narrow(1, 0, layer.turning), *tables[key])
            q, kv = qkv.split((attention.heads, 2 * attention.kv_heads), dim=1)
            attended = attend(layer, q.to(layer.store.dtype), kv.to(layer.store.dtype))
            hidden = hidden + o_of(attended.to(dtype))
            inner = up_of(layer.feedforward_norm(hidden).to(dtype))
            if layer.spec.feedforward.gated:
                gate, up = inner.chunk(2, dim=-1)
                inner = layer.activation(gate) * up
            else:
                inner = layer.activation(inner)
            hidden = hidden + down_of(inner)
        return hidden

    def _scores(self, hidden: Tensor) -> Tensor:
        """Scores (B, V) float32 from hidden states (B, D) before the final norm.

        The int8 kernel rounds its sums to bfloat16, too coarse to order the likeliest tokens: those are done again.
        """
        if self._compiled is not None:
            return self._compiled.scores(hidden)
        normed = self._norm(hidden)
        head: Any = self.model.head
        if self._device.type == "cuda":
            return graphs.wide_scores(head, normed.to(head.weight.dtype))
        if not self._int8:
            return head(normed.to(head.weight.dtype)).float()
        scores = torch.cat([head(rows.to(torch.bfloat16)) for rows in normed.split(8)]).float()
        likely = scores.topk(min(_EXACT, scores.shape[1]), dim=-1).indices
        for row, (vector, ids) in enumerate(zip(normed, likely, strict=True)):
            scores[row, ids] = (head.weight[ids].float() @ vector) * head.scale[ids].float()
        return scores

    def _compile(self) -> CompiledDecoder | None:
        kernels = load_kernels(self._spec)
        if kernels is None:
            return None
        layers = []
        for layer, block in zip(self._layers, self._stack.blocks, strict=True):
            assert layer.rotary is not None  # load_kernels saw to it
            half = layer.rotary[0].shape[-1] // 2
            norms = (block.attention_norm.weight.float(), block.feedforward_norm.weight.float())
            tables = (layer.rotary[0][:, 0, half:], layer.rotary[1][:, 0, half:])
            layers.append((layer.products, norms, layer.store, tables))
        return CompiledDecoder(
            kernels,
            self._spec,
            embed=self._stack.embeddings,
            layers=layers,
            norm=self._stack.norm.weight.float(),
            head=self.model.head,
            block_tokens=self.block_tokens,
        )

    def _capture(self, pages: int, spare: int, most: int) -> graphs.GraphDecoder | None:
        kernels = graphs.load_kernels(self._spec, self._device)
        if kernels is None:
            return None
        return graphs.GraphDecoder(
            kernels,
            self._stack,
            self._layers,
            head=self.model.head,
            block_tokens=self.block_tokens,
            pages=pages,
            spare=spare,
            most=most,
        )

    def _choose(self) -> None:
        """Keep the compiled way only if it is faster here. The slots that are written to belong to nobody yet."""
        compiled, place, times = self._compiled, Place((0,), 0), []
        for way in (compiled, None):
            self._compiled = way
            self.decode([0], [place])
            stamps = [time.perf_counter()]
            for _ in range(_TRIALS):
                self.decode([0], [place])
                stamps.append(time.perf_counter())
            times.append(min(b - a for a, b in pairwise(stamps)))
        self._compiled = compiled if times[0] <= times[1] else None
        if self._compiled is None and compiled is not None:
            compiled.close()
        _log.info("a token takes %.1f ms compiled, %.1f ms by torch: %s", *(t * 1e3 for t in times), self.kernels)

    def _slot(self, place: Place, index: int) -> int:
        return place.blocks[index // self.block_tokens] * self.block_tokens + index % self.block_tokens

    def _slots(self, place: Place, start: int, end: int) -> Tensor:
        """Slots (end - start,) of the tokens ``start`` … ``end`` of a sequence."""
        blocks = torch.tensor(place.blocks[: -(-end // self.block_tokens)], device=self._device)
        return (blocks[:, None] * self.block_tokens + self._offsets).flatten()[start:end]

    def _view(self, place: Place, end: int) -> slice | Tensor:
        """The slots of the first ``end`` tokens: a slice where the blocks are neighbours, else an index."""
        used = place.blocks[: -(-end // self.block_tokens)]
        if used[-1] - used[0] == len(used) - 1 and all(b - a == 1 for a, b in pairwise(used)):
            first = used[0] * self.block_tokens
            return slice(first, first + end)
        return self._slots(place, 0, end)


def _attend(layer: Layer, q: Tensor, view: slice | Tensor, mask: Tensor | None) -> Tensor:
    """Attention of queries (1, H, T, Dh) over the stored tokens in ``view``: (T, H · Dh)."""
    if isinstance(view, slice):
        keys = layer.keys.narrow(2, view.start, view.stop - view.start)
        values = layer.values.narrow(2, view.start, view.stop - view.start)
    else:
        keys, values = layer.store.index_select(1, view).unsqueeze(0).chunk(2, dim=1)
    count = q.shape[2]
    grouped = layer.keys.shape[1] != q.shape[1]
    out = F.scaled_dot_product_attention(
        q, keys, values, attn_mask=mask, is_causal=mask is None and count > 1, enable_gqa=grouped
    )
    return out.transpose(1, 2).reshape(count, -1)
