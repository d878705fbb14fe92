"""Steps on a GPU as CUDA graphs, captured once for each number of rows.

A small model's step is hundreds of kernels of a few microseconds; launched one by one from Python they take longer to
start than to run. A row is one token of a sequence. Steps in which each sequence has one are captured apart from those
that hold pieces of prompts, too (``kernels`` has attention for either). The rows of a step are filled up to the
next captured number with some that write into a page of their own and whose results nobody reads. Steps in which a row
has an adapter are captured apart, too: others are not to pay for it (see ``low_rank``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.deployment.engine.adapters import EngineAdapter
from lamina.deployment.engine.gpu.slots import MOST_RANK, AdapterSlots
from lamina.deployment.engine.gpu.steps import KERNELS, LOW_RANK, GraphSteps, LowRank
from lamina.deployment.engine.layer import Layer, is_plain
from lamina.deployment.engine.place import Piece, Place
from lamina.model.device import capturing, triton_kernels
from lamina.model.spec import StackSpec

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)  # sequences with one row each
_ROWS = (64, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048)  # tokens of several kinds
_log = logging.getLogger(__name__)
_WARM = 2  # runs before a capture: kernels get compiled, libraries choose theirs


class _Given:
    """What a captured step reads: one array in pinned memory and its copy on the device, whose parts are ``tokens``,
    ``positions``, ``owners`` and ``adapters`` (N,), ``wanted`` (S,), ``tiles`` (n, 2) and ``tables`` (S + 1, pages),
    int32 all.

    The last table is of no sequence: its page is ``spare``. An adapter is given as its slot, -1 for none."""

    def __init__(self, rows: int, sequences: int, tiles: int, pages: int, spare: int, device: torch.device) -> None:
        sizes = (rows, rows, rows, rows, sequences, 2 * tiles, (sequences + 1) * pages)
        self.host = torch.zeros(sum(sizes), dtype=torch.int32, pin_memory=device.type == "cuda")
        parts = self._parts(self.host.numpy(), sizes, pages)
        self.tokens, self.positions, self.owners, self.adapters, self.wanted, self.tiles, self.tables = parts
        self.owners[:], self.adapters[:], self.tables[-1, 0] = sequences, -1, spare
        self.blank = self.host.clone()
        self.device = self.host.to(device)
        self.on_device: tuple[Tensor, ...] = self._parts(self.device, sizes, pages)

    @staticmethod
    def _parts(whole: Any, sizes: Sequence[int], pages: int) -> Any:
        ends = np.cumsum(sizes).tolist()
        parts = [whole[end - size : end] for size, end in zip(sizes, ends, strict=True)]
        return (*parts[:5], parts[5].reshape(-1, 2), parts[6].reshape(-1, pages))

    def fill(self, pieces: Sequence[Piece], adapters: Sequence[int], tile: int) -> int:
        """Say what is to be computed, in tiles of ``tile`` rows; ``adapters``: the slot of each piece's. How many
        scores are wanted."""
        self.host.copy_(self.blank)
        tokens: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        tiles: list[tuple[int, int]] = []
        for number, (piece, adapter) in enumerate(zip(pieces, adapters, strict=True)):
            begin, stored, blocks = len(tokens), piece.place.stored, piece.place.blocks
            tokens += piece.tokens
            end = len(tokens)
            positions += range(stored, stored + end - begin)
            self.owners[begin:end], self.adapters[begin:end] = number, adapter
            self.tables[number, : len(blocks)] = blocks
            tiles += ((first, min(tile, end - first)) for first in range(begin, end, tile))
            if piece.scores:
                wanted.append(end - 1)
        self.tokens[: len(tokens)], self.positions[: len(tokens)] = tokens, positions
        if len(self.tiles):
            self.wanted[: len(wanted)], self.tiles[: len(tiles)] = wanted, tiles
        return len(wanted)


@dataclass(slots=True)
class _Captured:
    graph: Any
    given: _Given
    scratch: Any  # what it computes in stays its own for as long as it may be replayed
    adapted: Any = None  # the graph of the same step with adapters, from when it is first needed


class GraphDecoder:
    """The step of ``stack`` over its ``layers`` (see ``runner``).

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
        self._pages, self._spare, self._device = pages, spare, layers[0].store.device
        specs = [layer.spec.attention for layer in layers]
        self._tile = min(kernels.tile_tokens(a.heads, a.kv_heads, a.head_dim) for a in specs)
        self.most = min(most, _SIZES[-1])
        self._scores = torch.empty((self.most, stack.spec.embeddings.vocabulary), device=self._device)
        self._step = GraphSteps(kernels, stack, layers, head=head, page=block_tokens, scores=self._scores)
        self._adapters = AdapterSlots(self.most, len(layers), self._device)
        self._low_rank: LowRank | None = None
        self._without_adapters = False
        self._pool: Any = None
        self._copied = torch.cuda.Event()
        # The largest first: others reuse its memory.
        longest = min(spare * block_tokens, _ROWS[-1])
        rows = sorted({size for size in _ROWS if size < longest} | {min(s for s in _ROWS if s >= longest)})
        self._mixed = {size: self._capture(size, pieces=True) for size in reversed(rows)}
        sizes = sorted({*(size for size in _SIZES if size < self.most), self.most})
        self._single = {size: self._capture(size, pieces=False) for size in reversed(sizes)}

    def __call__(self, tokens: Sequence[int], places: Sequence[Place]) -> Tensor:
        """Scores (B, V) float32 after one more token of each sequence; they stand until the next call."""
        pieces = [Piece([token], place) for token, place in zip(tokens, places, strict=True)]
        return self._in_parts([pieces[i : i + self.most] for i in range(0, len(pieces), self.most)], self._single)

    def knows(self, adapter: EngineAdapter | None) -> bool:
        """Whether rows with that adapter can be computed here. The first one gets the kernels compiled."""
        return adapter is None or (adapter.rank <= MOST_RANK and self._beside() is not None)

    def together(self, pieces: Sequence[Piece]) -> Tensor:
        """Scores (W, V) float32 after the pieces that want them; they stand until the next call."""
        return self._in_parts([*parts_of(pieces, max(self._mixed), self.most)], self._mixed)

    def close(self) -> None:
        """Let go of the graphs."""
        self._mixed.clear()
        self._single.clear()

    def _in_parts(self, parts: Sequence[Sequence[Piece]], captured: dict[int, _Captured]) -> Tensor:
        if len(parts) == 1:
            return self._replay(parts[0], captured)
        return torch.cat([self._replay(part, captured).clone() for part in parts])

    def _replay(self, pieces: Sequence[Piece], captured: dict[int, _Captured]) -> Tensor:
        count = sum(len(piece.tokens) for piece in pieces)
        chosen = captured[min(size for size in captured if size >= count)]
        adapters = [piece.place.adapter for piece in pieces]
        graph = chosen.graph if all(adapter is None for adapter in adapters) else self._adapted(chosen)
        slots = self._adapters.of(adapters)
        self._copied.synchronize()  # what was written for the step before is no longer needed
        wanted = chosen.given.fill(pieces, slots, self._tile)
        chosen.given.device.copy_(chosen.given.host, non_blocking=True)
        self._copied.record()
        graph.replay()
        return self._scores[:wanted]

    def _adapted(self, chosen: _Captured) -> Any:
        """The graph of such a step with adapters: captured when the first comes, which holds that step up for some
        tenths of a second; who has no adapters neither waits for it at the start nor gives it memory.

        It shares what the plain graph reads and computes in, and their pool: steps come one after another."""
        if chosen.adapted is None:
            low_rank = self._beside()
            assert low_rank is not None  # ``knows`` was asked
            # What it computes before it is captured writes keys and values: not into pages of the last step.
            chosen.given.device.copy_(chosen.given.blank)
            try:
                chosen.adapted = self._record(chosen.given, chosen.scratch, low_rank)
            except Exception:
                self._without_adapters = True
                _log.warning("rows with adapters go through torch from now on, which is slow", exc_info=True)
                raise  # the step is computed anew, row by row
        return chosen.adapted

    def _beside(self) -> LowRank | None:
        """What adds adapters; None where it cannot."""
        if self._low_rank is None and not self._without_adapters:
            kernels = triton_kernels(LOW_RANK)
            if kernels is not None:
                self._low_rank = LowRank(kernels, self._adapters.table, self._tile)
        return None if self._without_adapters else self._low_rank

    @torch.inference_mode()
    def _capture(self, rows: int, *, pieces: bool) -> _Captured:
        """The step of ``rows`` rows: of as many sequences, or in ``pieces``."""
        sequences = self.most if pieces else rows
        tiles = rows // self._tile + sequences if pieces else 0
        given = _Given(rows, sequences, tiles, self._pages, self._spare, self._device)
        scratch = None if pieces else self._step.scratch(rows)
        return _Captured(self._record(given, scratch), given, scratch)

    def _record(self, given: _Given, scratch: Any, low_rank: LowRank | None = None) -> Any:
        """The graph of a step over ``given``."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                self._step(given.on_device, scratch, low_rank)
        torch.cuda.current_stream().wait_stream(stream)
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Another version may be answering: what its thread does meanwhile is no error of this one's.
            with capturing, torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                self._step(given.on_device, scratch, low_rank)
        finally:
            torch.cuda.set_stream(before)  # where a capture fails, torch leaves its own
        self._pool = self._pool or graph.pool()
        return graph


def parts_of(pieces: Sequence[Piece], rows: int, most: int) -> Iterator[list[Piece]]:
    """``pieces`` in their order, in parts of at most ``rows`` rows and ``most`` pieces; a long one is cut."""
    part: list[Piece] = []
    left = rows
    for piece in pieces:
        tokens, place = piece.tokens, piece.place
        while len(part) == most or len(tokens) > left:
            if len(part) < most and left:
                part.append(Piece(tokens[:left], place, scores=False))
                tokens, place = tokens[left:], replace(place, stored=place.stored + left)
            yield part
            part, left = [], rows
        part.append(replace(piece, tokens=tokens, place=place))
        left -= len(tokens)
    if part:
        yield part


def load_kernels(spec: StackSpec, device: torch.device) -> ModuleType | None:
    """The kernels, if they know models like ``spec`` and Triton works here; else None."""
    if device.type != "cuda" or spec.norm is None or spec.norm.offset:
        return None
    for block in spec.blocks:
        dim = block.attention.head_dim
        if dim < 16 or dim & (dim - 1) or block.attention.head_dim > 256 or not is_plain(block):
            return None
    return triton_kernels(KERNELS)


def open_graphs(stack: Any, layers: Sequence[Layer], **given: Any) -> GraphDecoder | None:
    """The step of ``stack`` as graphs; None where the kernels do not know such models. ``given``: the decoder's."""
    kernels = load_kernels(stack.spec, layers[0].store.device)
    return None if kernels is None else GraphDecoder(kernels, stack, layers, **given)
