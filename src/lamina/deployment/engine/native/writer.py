"""An encoder-decoder in the native library: a step of all rows of a search in one call, the source's part made once."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.deployment.engine.memory import make_store
from lamina.deployment.engine.native import binding as native
from lamina.deployment.engine.native import packing
from lamina.deployment.engine.native.encoder import NativeEncoder, open_native_encoder
from lamina.deployment.engine.native.packing import Rounded
from lamina.deployment.engine.native.product import Product, matrix
from lamina.deployment.engine.native.scores import summarize
from lamina.kit.errors import LaminaError
from lamina.model.layers.embeddings import place_vectors, sinusoids
from lamina.model.spec import BlockSpec, EmbeddingSpec, ModelSpec
from lamina.model.transformer import Transformer

Array = NDArray[Any]
_SLOTS = 1 << 14  # tokens of all rows of a search; memory comes as they are written to
_PARTS = ("attention", "cross", "feedforward")


class NativeWriter:
    """``model`` as ``search`` computes it: the decoder and the head, which share the token table, and the ``encoder``
    (None: torch's). Linear layers and the table are taken as ``rounded`` makes them.

    Scores of a row depend neither on the rows beside it nor on threads. Raises ``LaminaError`` where the library has no
    memory for the model.
    """

    def __init__(self, model: Transformer, encoder: NativeEncoder | None, *, rounded: Rounded, threads: int) -> None:
        library = native.open_library()
        if library is None:
            raise LaminaError(f"the native kernels are {native.describe()}")
        self._library, self._model, self._encoder = library, model, encoder
        stack: Any = model.decoder
        self._spec, self._context = stack.spec, model.spec.max_positions
        self._kept: list[Tensor] = []  # what the library reads later
        held: list[Tensor] = []  # what it copies

        def hold(tensor: Tensor) -> int:
            held.append(tensor.detach().contiguous())
            return held[-1].data_ptr()

        before, last = packing.norms_before(stack, _PARTS)
        layers = [
            self._layer(spec, block, norms, rounded, hold)
            for spec, block, norms in zip(stack.spec.blocks, stack.blocks, before, strict=True)
        ]
        head, embeddings = rounded(model.head), stack.spec.embeddings
        described = native.Model(
            layers=len(layers),
            width=embeddings.width,
            vocabulary=head.out_features,
            context=self._context,
            slots=_SLOTS,
            block_tokens=1,
            layer=(native.Layer * len(layers))(*layers),
            table=self._keep(head.weight),
            table_scales=self._keep(head.scale.float()),
            places=self._places(stack.embeddings, embeddings),
            table_factor=embeddings.scale,
            in_place=stack.spec.blocks[0].placement == "post",
            norm=packing.norm(last, hold),
            head=matrix(head, hold),
        )
        wanted = native.wanted_level()
        level = -1 if wanted is None else wanted
        pairs = (packing.quantized([block.cross.k, block.cross.v], rounded) for block in stack.blocks)
        self._pairs = [Product(pair, threads=threads, level=level) for pair in pairs]  # keys and values of sources
        self._decoder: int | None = library.lamina_open(described, threads, level)
        if not self._decoder:
            raise LaminaError("the native kernels could not take the model", hint="is there memory for a second copy?")

    def begin(self, sources: Sequence[Sequence[int]], beams: int, longest: int) -> NativeRows | None:
        """What computes a search of ``beams`` rows for each of ``sources``, of at most ``longest`` tokens; None where
        that is more than there is room for."""
        if len(sources) * beams * longest > _SLOTS or longest > self._context:
            return None
        return NativeRows(self, sources, beams, longest)

    def close(self) -> None:
        """Give the library's memory back."""
        if self._encoder is not None:
            self._encoder.close()
        for product in self._pairs:
            product.close()
        if self._decoder:
            self._library.lamina_close(self._decoder)
            self._decoder = None

    def use_threads(self, count: int) -> None:
        """Compute with ``count`` threads from the next call on."""
        self._library.lamina_threads(self._decoder, count)
        if self._encoder is not None:
            self._encoder.use_threads(count)

    @torch.inference_mode()
    def source(self, sources: Sequence[Sequence[int]]) -> Tensor:
        """Keys, then values (layers, 2 · kv_heads, S, head_dim) float32 of all tokens of ``sources``, one after
        another."""
        if self._encoder is None:
            states = torch.cat([self._model.encode(torch.tensor([list(row)]))[0] for row in sources])
        else:
            states = torch.cat(self._encoder(sources))
        size = self._spec.blocks[0].attention.head_dim
        made = [product(states).unflatten(1, (-1, size)).transpose(0, 1) for product in self._pairs]
        return torch.stack(made).contiguous()

    def step(self, tokens: Array, positions: Array, tables: Array, sources: native.Sources) -> Tensor:
        """Scores (rows, V) float32 after ``tokens`` (rows,) at ``positions``; ``tables`` (rows, T): where each row's
        tokens lie."""
        rows = len(tokens)
        wanted = np.arange(rows)
        scores = torch.empty(rows, self._spec.embeddings.vocabulary, dtype=torch.float32)
        request = native.Request(
            *(array.ctypes.data for array in (tokens, positions, tables)),
            rows=rows,
            blocks=tables.shape[1],
            stride=tables.shape[1],
            wanted=wanted.ctypes.data,
            count=rows,
            scores=scores.data_ptr(),
            sources=ctypes.addressof(sources),
        )
        native.step(self._library, self._decoder, request)
        return scores

    def _layer(
        self, spec: BlockSpec, block: Any, norms: Sequence[Any], rounded: Rounded, hold: packing.Hold
    ) -> native.Layer:
        before_attention, before_cross, before_feedforward = norms
        attention = spec.attention
        store = make_store((2 * attention.kv_heads, _SLOTS, attention.head_dim), torch.float32, torch.device("cpu"))
        return packing.layer(
            spec,
            packing.products_of(block, rounded),
            (before_attention, before_feedforward, block.attention.q_norm, block.attention.k_norm),
            hold,
            cross_q=matrix(packing.quantized([block.cross.q], rounded), hold),
            cross_o=matrix(packing.quantized([block.cross.o], rounded), hold),
            cross_norm=packing.norm(before_cross, hold),
            store=self._keep(store),
            stored=native.STORED_FLOAT,
        )

    def _places(self, embeddings: Any, spec: EmbeddingSpec) -> int | None:
        if embeddings.position is not None:
            return self._keep(embeddings.position.weight.float())
        if spec.positions == "none":
            return None
        positions = torch.arange(self._context)[None]
        return self._keep(place_vectors(positions, sinusoids(spec.width), spec.positions == "interleaved")[0])

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor.detach().contiguous())
        return self._kept[-1].data_ptr()


class NativeRows:
    """``model.computing.Computing`` for the rows of one search: each has a table of where its tokens lie, so that one
    that goes on from another takes that one's table and moves nothing."""

    def __init__(self, writer: NativeWriter, sources: Sequence[Sequence[int]], beams: int, longest: int) -> None:
        self._writer, self._stored, self._slots = writer, 0, 0
        self._store = writer.source(sources)
        lengths = np.array([len(row) for row in sources], np.int64)
        self._ends = np.cumsum(lengths).repeat(beams)
        self._begins = self._ends - lengths.repeat(beams)
        self._tables = np.zeros((len(sources) * beams, longest), np.int64)

    def scores(self, tokens: Tensor) -> Tensor:
        """Scores (rows, V) float32 of what follows the next ``tokens`` (rows, 1)."""
        rows, store = len(tokens), self._store
        self._tables[:, self._stored] = np.arange(self._slots, self._slots + rows)
        positions = np.full(rows, self._stored, np.int64)
        places = self._begins.ctypes.data, self._ends.ctypes.data
        sources = native.Sources(store.data_ptr(), store.shape[2], *places)
        found = self._writer.step(np.ascontiguousarray(tokens[:, 0].numpy()), positions, self._tables, sources)
        self._stored, self._slots = self._stored + 1, self._slots + rows
        return found

    def log_sums(self, scores: Tensor) -> Tensor:
        """Of each row of ``scores`` (rows, V), (rows,)."""
        facts = np.array(summarize(scores.numpy()))
        return torch.from_numpy(facts[:, 0] + np.log(facts[:, 1])).float()

    def keep(self, rows: Tensor | None, sources: Tensor | None) -> None:
        """Go on with these rows; what a row is about goes with it."""
        if rows is not None:
            chosen = rows.numpy()
            self._tables, self._begins, self._ends = self._tables[chosen], self._begins[chosen], self._ends[chosen]


def open_native_writer(model: Transformer, *, rounded: Rounded) -> NativeWriter | None:
    """On all of torch's threads; None where the library is not here or does not know such models."""
    if native.open_library() is None or not _knows(model.spec):
        return None
    encoder = open_native_encoder(model.encoder, context=model.spec.max_positions, rounded=rounded)
    return NativeWriter(model, encoder, rounded=rounded, threads=max(1, torch.get_num_threads()))


def _knows(spec: ModelSpec) -> bool:
    stack, head = spec.decoder, spec.head
    if stack is None or head is None or spec.encoder is None:
        return False
    plain = head.tied and head.scale == 1.0 and head.transform is None
    embeddings = stack.embeddings.norm is None and not stack.embeddings.segments
    return plain and embeddings and stack.causal and packing.everywhere(stack) and all(map(_known, stack.blocks))


def _known(block: BlockSpec) -> bool:
    """Its two attentions have heads of one kind, without rotary positions or norms of the source's queries."""
    own, cross = block.attention, block.cross
    if cross is None or cross.scale is not None or cross.qk_norm is not None:
        return False
    same = (cross.heads, cross.kv_heads, cross.head_dim) == (own.heads, own.kv_heads, own.head_dim)
    return same and own.rotary is None and cross.rotary is None
