"""Decoding by the compiled kernels, where a model is of the kind that they know, and where they are the faster way.

Which way is faster depends on the machine: torch's int8 kernel uses all cores and stops at a barrier after every
product; the compiled one uses a core for each group of sequences. The runner measures both when it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.layer import Layer, is_plain
from lamina.deployment.engine.place import Place
from lamina.kit.limits import read_limits
from lamina.model.spec import StackSpec

_log = logging.getLogger(__name__)
Array = NDArray[Any]


class CompiledDecoder:
    """The layers of an int8 model as arrays (views of its tensors, not copies), ready for ``kernels``.

    ``layers``: for each layer the fused products (qkv, o, up, down), the two norms, the store, and the rotary cosines
    and sines (T, Dh / 2).
    """

    def __init__(
        self,
        kernels: ModuleType,
        spec: StackSpec,
        *,
        embed: Callable[[Tensor, Tensor], Tensor],
        layers: Sequence[tuple[tuple[Any, ...], tuple[Tensor, Tensor], Tensor, tuple[Tensor, Tensor]]],
        norm: Tensor,
        head: Any,
        block_tokens: int,
    ) -> None:
        self._kernels = kernels
        self._spec = spec
        self._embed = embed
        self._block_tokens = block_tokens
        self._layers = [
            (_arrays(products), tuple(_array(n) for n in norms), _array(store), tuple(_array(t) for t in tables))
            for products, norms, store, tables in layers
        ]
        self._norm = _array(norm)
        self._eps = np.float32(spec.norm.eps if spec.norm else 0.0)
        self._head = _arrays((head,))
        self._threads = max(1, torch.get_num_threads())
        # Threads begin when they are first needed: more of them may be allowed later.
        self._pool = ThreadPoolExecutor(max(self._threads, read_limits().affinity), thread_name_prefix="decode")

    def __call__(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        """Scores (B, V) float32 after one more token of each sequence. Several are shared out over the cores."""
        positions = np.array([place.stored for place in places], np.int64)
        hidden = self._embed(torch.tensor(tokens)[None], torch.from_numpy(positions)[None])[0].float().numpy()
        scores = np.empty((len(tokens), self._head[0].shape[0]), np.float32)
        parts = np.array_split(np.arange(len(tokens)), min(self._threads, len(tokens)))
        work = [
            (hidden[p[0] : p[-1] + 1], positions[p[0] : p[-1] + 1], places[p[0] : p[-1] + 1], scores[p[0] : p[-1] + 1])
            for p in parts
        ]
        if len(work) == 1:
            self._compute(*work[0])
        else:
            for future in [self._pool.submit(self._compute, *part) for part in work]:
                future.result()
        return torch.from_numpy(scores)

    @staticmethod
    def knows(adapter: EngineAdapter | None) -> bool:
        """Whether rows with that adapter can be computed: only without any."""
        return adapter is None

    def extend(self, tokens: Sequence[int], place: Place) -> Tensor:
        """Compute the next few ``tokens`` of one sequence; hidden states (T, D) before the final norm.

        A layer stores all of its keys and values before it attends, so each token sees those before it.
        """
        positions = np.arange(place.stored, place.stored + len(tokens), dtype=np.int64)
        hidden = self._embed(torch.tensor(tokens)[None], torch.from_numpy(positions)[None])[0].float()
        self._layers_over(hidden.numpy(), positions, [place] * len(tokens))
        return hidden

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores (B, V) float32 from hidden states (B, D) before the final norm."""
        rows = _array(hidden)
        scores = np.empty((rows.shape[0], self._head[0].shape[0]), np.float32)
        self._kernels.score_rows(rows, self._norm, self._eps, *self._head, scores)
        return torch.from_numpy(scores)

    def use_threads(self, count: int) -> None:
        """Share several sequences among ``count`` threads from the next call on."""
        self._threads = max(1, count)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _compute(self, hidden: Array, positions: Array, places: Sequence[Place], scores: Array) -> None:
        self._layers_over(hidden, positions, places)
        self._kernels.score_rows(hidden, self._norm, self._eps, *self._head, scores)

    def _layers_over(self, hidden: Array, positions: Array, places: Sequence[Place]) -> None:
        """All layers over rows ``hidden`` (M, D), in place."""
        blocks, size = max(len(place.blocks) for place in places), self._block_tokens
        tables = np.zeros((len(places), blocks), np.int64)
        for row, place in enumerate(places):
            tables[row, : len(place.blocks)] = place.blocks
        slots = tables[np.arange(len(places)), positions // size] * size + positions % size
        lengths = positions + 1
        for (weights, norms, store, (cosines, sines)), block in zip(self._layers, self._spec.blocks, strict=True):
            self._kernels.decode_layer(
                hidden,
                weights,
                norms,
                np.float32(block.norm.eps),
                cosines[positions],
                sines[positions],
                slots,
                tables,
                lengths,
                store,
                block.attention.heads,
                size,
            )


def open_compiled(stack: Any, layers: Sequence[Layer], head: Any, block_tokens: int) -> CompiledDecoder | None:
    """A decoder over ``layers`` (see ``runner``); None where the kernels are not here or do not know such models."""
    kernels = load_kernels(stack.spec)
    if kernels is None:
        return None
    described = []
    for layer, block in zip(layers, stack.blocks, strict=True):
        assert layer.rotary is not None  # load_kernels saw to it
        half = layer.rotary[0].shape[-1] // 2
        norms = (block.attention_norm.weight.float(), block.feedforward_norm.weight.float())
        tables = (layer.rotary[0][:, 0, half:], layer.rotary[1][:, 0, half:])
        described.append((layer.products, norms, layer.store, tables))
    return CompiledDecoder(
        kernels,
        stack.spec,
        embed=stack.embeddings,
        layers=described,
        norm=stack.norm.weight.float(),
        head=head,
        block_tokens=block_tokens,
    )


def load_kernels(spec: StackSpec) -> ModuleType | None:
    """The compiled kernels, if they know models like ``spec`` and numba works here; else None."""
    if (
        spec.norm is None
        or spec.norm.kind != "rms"
        or spec.norm.offset
        or spec.embeddings.positions != "none"
        or not all(_known(b) for b in spec.blocks)
    ):
        return None
    try:
        from lamina.deployment.engine import kernels
    except Exception as error:  # numba is missing, or does not fit this machine
        _log.warning("decoding goes without compiled kernels: %s", error)
        return None
    return kernels


def _known(block: Any) -> bool:
    attention, feedforward = block.attention, block.feedforward
    plain = not (attention.bias or attention.out_bias or feedforward.bias or attention.qk_norm)
    gated = feedforward.gated and feedforward.activation == "silu"
    return bool(plain and gated and attention.rotary and block.norm.kind == "rms" and is_plain(block))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().contiguous().numpy()
    return array


def _arrays(products: Sequence[Any]) -> tuple[Array, ...]:
    """int8 weights (views) and float32 scales (small copies), in turn."""
    return tuple(a for p in products for a in (_array(p.weight), _array(p.scale.float())))
