"""Much text to token ids: what a chunk of text becomes is remembered, so that only new chunks go through the tokenizer.

Most of a text is words that have been there before. Where a tokenizer gives a text's chunks the ids that it gives the
whole (``ModelTokenizer.cuts``), looking them up is many times faster than tokenising; the ids are the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.contracts.tokens import Tokenizer
from lamina.data.tokenizer.chunks import Chunks, Found, lone_texts
from lamina.kit.tokenizer import ModelTokenizer

ROOM = 1 << 20  # chunks that are remembered: about 60 MB
BATCH = 8 << 20  # bytes of text that are looked at together

Ids = NDArray[np.uint32]
Ints = NDArray[np.int64]


class Encoder:
    """``tokenizer`` over batches of texts; not for several threads at once."""

    def __init__(self, tokenizer: Tokenizer, *, room: int = ROOM) -> None:
        self._tokenizer = tokenizer
        cuts = tokenizer.cuts if isinstance(tokenizer, ModelTokenizer) else None
        self._model = tokenizer if isinstance(tokenizer, ModelTokenizer) else None
        self._chunks = None if cuts is None else Chunks(cuts, room)
        self._pool = np.empty(room, np.uint32)  # ids of the chunks, one after another
        self._known = np.zeros(room + 1, np.int64)  # chunk i has those from known[i] to known[i + 1]

    def encode(self, texts: pa.Array, *, first: int | None = None, last: int | None = None) -> tuple[Ids, Ints]:
        """Ids of all texts (null: empty) one after another, each between ``first`` and ``last``; and where they end."""
        if self._model is None or self._chunks is None:
            return self._plainly(texts, first, last)
        before = len(self._chunks)
        found = self._chunks.find(texts, apart=self._model.prefixes)
        self._learn(before)
        lone, lone_pool = self._lone(found)
        ids, ends = self._written(found, lone, lone_pool, first, last)
        if self._chunks.full:
            self._chunks.clear()
        return ids, ends

    def _learn(self, before: int) -> None:
        """Ids of the chunks that are new."""
        assert self._model is not None
        assert self._chunks is not None
        now = len(self._chunks)
        for begin in range(before, now, _AT_ONCE):
            texts = self._chunks.texts(begin, min(begin + _AT_ONCE, now))
            pool, ends = _joined(self._model.encode_batch(texts, further=True))
            start = int(self._known[begin])
            self._pool = _with_room(self._pool, start + len(pool))
            self._pool[start : start + len(pool)] = pool
            self._known[begin + 1 : begin + 1 + len(ends)] = start + ends

    def _lone(self, found: Found) -> tuple[Ints, Ids]:
        """Where the ids of each chunk that is not remembered begin (L + 1), and the ids."""
        assert self._model is not None
        begins = np.zeros(len(found.lone) + 1, np.int64)
        if not len(found.lone):
            return begins, np.empty(0, np.uint32)
        texts = lone_texts(found)
        if not self._model.prefixes:
            pool, begins[1:] = _joined(self._model.encode_batch(texts))
            return begins, pool
        starts = found.ends[:-1][np.diff(found.ends) > 0]
        opening = np.isin(np.flatnonzero(found.codes < 0), starts).tolist()
        ids: list[list[int]] = [[]] * len(texts)
        for further in (False, True):
            places = [place for place, opens in enumerate(opening) if opens != further]
            encoded = self._model.encode_batch([texts[n] for n in places], further=further)
            for place, some in zip(places, encoded, strict=True):
                ids[place] = some
        pool, begins[1:] = _joined(ids)
        return begins, pool

    def _written(
        self, found: Found, lone: Ints, lone_pool: Ids, first: int | None, last: int | None
    ) -> tuple[Ids, Ints]:
        from lamina.data.tokenizer.chunk_kernels import lengths, write

        sizes = np.empty(len(found.ends) - 1, np.int64)
        lengths(found.codes, found.ends, self._known, lone, sizes)
        ends = np.cumsum(sizes + (first is not None) + (last is not None))
        out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint32)
        edges = (-1 if first is None else first, -1 if last is None else last)
        write(found.codes, found.ends, self._known, self._pool, lone, lone_pool, *edges, out)
        return out, ends

    def _plainly(self, texts: pa.Array, first: int | None, last: int | None) -> tuple[Ids, Ints]:
        head, tail = ([] if edge is None else [edge] for edge in (first, last))
        given = [text or "" for text in texts.to_pylist()]
        return _joined([[*head, *ids, *tail] for ids in self._tokenizer.encode_batch(given)])


_AT_ONCE = 1 << 16  # chunks that are given to the tokenizer together


def batches_of(texts: pa.Array, size: int = BATCH) -> Iterator[pa.Array]:
    """``texts`` in stretches of about ``size`` bytes, each of one text at least."""
    import pyarrow.compute as pc

    sizes = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    part = np.cumsum(sizes) // size
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(texts)]
    for begin, end in pairwise(edges):
        if end > begin:
            yield texts.slice(begin, end - begin)


def _joined(encoded: Sequence[Sequence[int]]) -> tuple[Ids, Ints]:
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    ids = array("I")
    for some in encoded:
        ids.extend(some)
    return np.frombuffer(ids, np.uint32) if ids else np.empty(0, np.uint32), ends


def _with_room(array: Ids, size: int) -> Ids:
    if size <= len(array):
        return array
    return np.concatenate([array, np.empty(max(size, 2 * len(array)) - len(array), np.uint32)])
