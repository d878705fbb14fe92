"""Chunks of text by number: each different one is kept once, up to a bound."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.duplicates.sketch import utf8
from lamina.kit.tokenizer_chunks import Cuts, kind_of

_BYTES = 10  # of a chunk, expected

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """The chunks of a batch of N texts.

    ``codes``: the number of each chunk, -1 where it is not remembered; text i has those from ``ends[i]`` to
    ``ends[i + 1]``. ``lone`` (L, 2): begin and end in ``data`` of those that are not remembered, in their order.
    """

    data: NDArray[np.uint8]
    codes: NDArray[np.int32]
    ends: Ints  # (N + 1,)
    lone: Ints


class Chunks:
    """A table with room for ``room`` chunks, as ``cuts`` makes them. What is new when it is full is not remembered."""

    def __init__(self, cuts: Cuts, room: int) -> None:
        self._rule = np.array([kind_of(chr(byte)) for byte in range(256)], np.int64), cuts
        self._sizes = np.zeros(1, np.int64)
        self._slots = _slots(room)
        self._hashes = np.empty(room, np.uint64)
        self._spans = np.zeros(room + 1, np.int64)
        self._arena = np.empty(room * _BYTES, np.uint8)

    def __len__(self) -> int:
        return int(self._sizes[0])

    @property
    def full(self) -> bool:
        """Whether something new could not be remembered."""
        return len(self) == len(self._hashes) or self._spans[len(self)] + _BYTES > len(self._arena)

    @property
    def bytes(self) -> int:
        """Of all chunks together."""
        return int(self._spans[len(self)])

    def find(self, texts: pa.Array, *, apart: bool = False, grow: bool = False) -> Found:
        """Number the chunks of ``texts`` (strings). ``apart``: the first one of each text is not to be remembered;
        ``grow``: make room for all of them."""
        from lamina.data.tokenizer.chunk_kernels import count, scan

        data, offsets = utf8(texts)
        codes = np.empty(count(data, offsets, *self._rule), np.int32)
        if grow:
            self._grow(len(self) + len(codes), self.bytes + int(offsets[-1] - offsets[0]))
        ends = np.zeros(len(offsets), np.int64)
        lone = np.empty((len(offsets) + len(codes) // 64, 2), np.int64)
        while (alone := scan(data, offsets, *self._rule, self._table, apart, codes, ends, lone)) > len(lone):
            lone = np.empty((alone, 2), np.int64)
        return Found(data, codes, ends, lone[:alone])

    def texts(self, begin: int, end: int) -> list[str]:
        """The chunks from number ``begin`` to ``end``."""
        spans = self._spans[begin : end + 1].tolist()
        first = spans[0]
        whole = self._arena[first : spans[-1]].tobytes()
        return [whole[a - first : b - first].decode() for a, b in pairwise(spans)]

    def clear(self) -> None:
        """Forget everything."""
        self._slots.fill(-1)
        self._sizes[0] = 0

    def _grow(self, room: int, size: int) -> None:
        """Room for so many chunks and bytes; what is there keeps its numbers."""
        from lamina.data.tokenizer.chunk_kernels import rehash

        if size > len(self._arena):
            self._arena = _longer(self._arena, size)
        if room > len(self._hashes):
            hashes, spans = _longer(self._hashes, room), _longer(self._spans, room + 1)
            self._slots = _slots(len(hashes))
            self._hashes, self._spans = hashes, spans[: len(hashes) + 1]
            rehash(self._hashes, len(self), self._slots)

    @property
    def _table(self) -> tuple[Any, ...]:
        return self._slots, self._hashes, self._spans, self._arena, self._sizes


def lone_texts(found: Found) -> list[str]:
    """The chunks that are not remembered."""
    data = found.data
    return [data[a:b].tobytes().decode() for a, b in found.lone.tolist()]


def _slots(room: int) -> NDArray[np.int32]:
    return np.full(1 << (2 * room - 1).bit_length(), -1, np.int32)


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array with room for ``size``, and for more to come."""
    return np.concatenate([array, np.empty(max(size, 2 * len(array)) - len(array), array.dtype)])
