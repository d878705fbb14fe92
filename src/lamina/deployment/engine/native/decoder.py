"""A quantised model in the native library: its layers packed there, one call for each step."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.deployment.engine.layer import Layer, is_plain
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native import packing
from lamina.deployment.engine.native.low_rank import Adapters
from lamina.deployment.engine.native.product import matrix
from lamina.deployment.engine.place import Piece, Place
from lamina.kit.errors import LaminaError
from lamina.model.layers.embeddings import place_vectors, sinusoids
from lamina.model.spec import EmbeddingSpec, StackSpec

_STORED = {torch.float32: native.STORED_FLOAT, torch.float16: native.STORED_HALF, torch.int8: native.STORED_INT8}
_NO_BLOCK = array("q", [-1])


class NativeDecoder:
    """``stack`` and ``head`` over ``layers`` (see ``runner``): tokens in, scores out, whether they are of one sequence
    or of many. The weights are packed into memory of the library's own.

    ``threads``: how many cores compute a step. Raises ``LaminaError`` where the library has no memory for the model.
    """

    def __init__(
        self, stack: Any, layers: Sequence[Layer], head: Any, *, context: int, block_tokens: int, threads: int
    ) -> None:
        library = native.open_library()
        if library is None:
            raise LaminaError(f"the native kernels are {native.describe()}")
        self._library = library
        self._spec: StackSpec = stack.spec
        self._adapters = Adapters()
        self._kept: list[Tensor] = []  # what the library reads later
        self._held: list[Tensor] = []  # what it copies
        self._tables: dict[int, tuple[int, int]] = {}
        described = (native.Layer * len(layers))(
            *(self._layer(layer, block) for layer, block in zip(layers, stack.blocks, strict=True))
        )
        table, places = stack.embeddings.token, _places(stack.embeddings, self._spec.embeddings, context)
        model = native.Model(
            layers=len(layers),
            width=self._spec.embeddings.width,
            vocabulary=head.out_features,
            context=context,
            slots=layers[0].store.shape[1],
            block_tokens=block_tokens,
            layer=described,
            table=self._keep(table.weight),
            table_scales=self._keep(table.scale.float()),
            places=None if places is None else self._keep(places),
            table_factor=self._spec.embeddings.scale,
            norm=packing.norm(stack.norm, self._hold),
            head=matrix(head, self._hold),
        )
        wanted = native.wanted_level()
        self._decoder: int | None = self._library.lamina_open(model, threads, -1 if wanted is None else wanted)
        self._held.clear()
        if not self._decoder:
            raise LaminaError("the native kernels could not take the model", hint="is there memory for a second copy?")

    def __call__(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        """Scores (B, V) float32 after one more token of each sequence."""
        return self.together([Piece((token,), place) for token, place in zip(tokens, places, strict=True)])

    def prefill(self, tokens: Sequence[int], place: Place, *, scores: bool) -> Tensor | None:
        """Compute the next ``tokens`` of one sequence; the scores (V,) float32 after the last one where asked for."""
        found = self.together([Piece(tokens, place, scores)])
        return found[0] if scores else None

    def together(self, pieces: Sequence[Piece]) -> Tensor:
        """Compute pieces of several sequences at once; scores (W, V) float32 after those that want them, in order."""
        most = max(len(piece.place.blocks) for piece in pieces)
        tokens, positions, tables, wanted = array("q"), array("q"), array("q"), array("q")
        for piece in pieces:
            place, count = piece.place, len(piece.tokens)
            tokens.extend(piece.tokens)
            positions.extend(range(place.stored, place.stored + count))
            table = array("q", place.blocks) + _NO_BLOCK * (most - len(place.blocks))
            tables += table if len(pieces) == 1 else table * count
            if piece.scores:
                wanted.append(len(tokens) - 1)
        scores = torch.empty(len(wanted), self._spec.embeddings.vocabulary, dtype=torch.float32)
        adapters = self._adapters.rows([piece.place.adapter for piece in pieces for _ in piece.tokens])
        request = native.Request(
            *map(_address, (tokens, positions, tables)),
            rows=len(tokens),
            blocks=most,
            stride=most if len(pieces) > 1 else 0,
            wanted=_address(wanted),
            count=len(wanted),
            scores=scores.data_ptr(),
            adapters=None if adapters is None else ctypes.addressof(adapters),
        )
        native.step(self._library, self._decoder, request)
        return scores

    def close(self) -> None:
        """Give the library's memory back."""
        if self._decoder:
            self._library.lamina_close(self._decoder)
            self._decoder = None

    def use_threads(self, count: int) -> None:
        """Compute with ``count`` threads from the next call on; scores do not depend on it."""
        self._library.lamina_threads(self._decoder, count)

    @property
    def bytes_per_step(self) -> int:
        """Bytes of weights that each step reads."""
        return int(self._library.lamina_bytes(self._decoder))

    def read(self) -> int:
        """Read all weights and do nothing with them but a sum: what memory allows."""
        return int(self._library.lamina_read(self._decoder))

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor.detach().contiguous())
        return self._kept[-1].data_ptr()

    def _hold(self, tensor: Tensor) -> int:
        self._held.append(tensor.detach().contiguous())
        return self._held[-1].data_ptr()

    def _layer(self, layer: Layer, block: Any) -> native.Layer:
        cosines, sines = self._angles(layer)
        return packing.layer(
            layer.spec,
            layer.products,
            (block.attention_norm, block.feedforward_norm, layer.q_norm, layer.k_norm),
            self._hold,
            cosines=cosines,
            sines=sines,
            store=layer.store.data_ptr(),
            scales=None if layer.scales is None else layer.scales.data_ptr(),
            stored=_STORED[layer.store.dtype],
        )

    def _angles(self, layer: Layer) -> tuple[int | None, int | None]:
        """Cosines and sines (T, Dh / 2), one copy for all layers that share a table."""
        if layer.rotary is None:
            return None, None
        key = id(layer.rotary)
        if key not in self._tables:
            half = layer.rotary[0].shape[-1] // 2
            cosines, sines = (self._keep(table[:, 0, half:]) for table in layer.rotary)
            self._tables[key] = cosines, sines
        return self._tables[key]


def _address(numbers: array[int]) -> int:
    return numbers.buffer_info()[0]


def open_native(
    stack: Any, layers: Sequence[Layer], head: Any, *, context: int, block_tokens: int
) -> NativeDecoder | None:
    """A decoder on all of torch's threads; None where the library is not here or does not know such models."""
    if not _knows(stack.spec, stack):
        return None
    threads = max(1, torch.get_num_threads())
    return NativeDecoder(stack, layers, head, context=context, block_tokens=block_tokens, threads=threads)


def _knows(spec: StackSpec, stack: Any) -> bool:
    embeddings = spec.embeddings
    return (
        native.open_library() is not None
        and stack.embeddings.token.weight.dtype == torch.int8
        and embeddings.norm is None
        and spec.norm is not None
        and not spec.norm.offset
        and all(packing.known(block) and is_plain(block) for block in spec.blocks)
    )


def _places(embeddings: Any, spec: EmbeddingSpec, context: int) -> Tensor | None:
    """What is added to a token's vector at each place (T, D) float32; None: nothing."""
    parts = []
    if embeddings.segment is not None:
        parts.append(embeddings.segment.weight[0].float().expand(context, -1))
    if embeddings.position is not None:
        parts.append(embeddings.position.weight[:context].float())
    if spec.positions in ("sinusoidal", "interleaved"):
        positions = torch.arange(context)[None]
        parts.append(place_vectors(positions, sinusoids(spec.width), spec.positions == "interleaved")[0])
    return torch.stack(parts).sum(0) if parts else None
