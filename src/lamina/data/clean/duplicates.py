"""Duplicates, exact and near, with every near pair verified on its shingles before a document is dropped.

MinHash LSH (Broder 1997; 14 bands of 8 hashes, as FineWeb has it) only proposes pairs; a proposed pair counts when the
exact Jaccard similarity of its word 5-grams reaches the threshold. Clusters are stars: each dropped document resembles
its keeper directly, so that no chain of likenesses joins what is unlike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.frames import texts_of
from lamina.data.clean.words import LETTERS, find_words, mix, shingles
from lamina.kit.errors import ConfigError
from lamina.kit.identity import text_hash
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

SHINGLE = 5
BANDS = 14
ROWS = 8
_SEED = 42
_BLOCK = 512  # documents whose signatures pass through Python objects at a time
RESULT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("duplicate_cluster", pa.string()),
        pa.field("duplicates", pa.int64()),
        pa.field("drop", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
Set = NDArray[np.uint64]
Keep = Literal["longest", "first"]


@STEPS("duplicates", kind="pass", version=1)
def duplicates(
    batches: Iterable[pa.RecordBatch], *, threshold: float = 0.8, related: float = 0.5, keep: Keep = "longest"
) -> pa.Table:
    """For each document: ``duplicate_cluster`` (the id that its split hangs on), ``duplicates`` (how many were folded
    into it), ``drop`` ("exact duplicate", "near duplicate" or null) and ``detail`` (keeper, Jaccard similarity).

    ``threshold``: Jaccard similarity of word 5-grams from which a document is dropped; kept documents from ``related``
    upwards share a cluster, and so a split. ``keep``: the longest of a cluster, then the smallest id; or just the
    smallest id. ``batches`` is gone through twice. Memory: 0.6 kB a document, and the shingles of proposed pairs.
    """
    if not 0 < threshold <= 1 or not 0 <= related <= 1:
        raise ConfigError(f"threshold = {threshold} and related = {related} are shares above 0, up to 1")
    everything = _Everything(batches)
    keeper_of, rest = everything.exact(keep)
    found = _Stars(everything, rest).find(threshold, min(related, threshold))
    return _table(everything.ids, keeper_of, found)


class _Everything:
    """What is remembered of each document: id, length, hash of the text, signature."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.ids: list[str] = []
        self.sizes: list[int] = []
        self._hashes: list[str] = []
        signatures: list[NDArray[np.uint32]] = []
        for batch in batches:
            texts = texts_of(batch)
            self.ids += batch.column("id").to_pylist()
            self.sizes += texts.str.len_chars().to_list()
            self._hashes += [text_hash(text) for text in texts]  # blake3 has no batch call
            signatures.append(_signatures(*_shingles(texts)))
        self.signatures = np.concatenate(signatures) if signatures else np.zeros((0, BANDS * ROWS), np.uint32)

    def order(self, keep: Keep) -> list[int]:
        """Every document, the one that is rather kept first."""
        if keep == "first":
            return sorted(range(len(self.ids)), key=self.ids.__getitem__)
        return sorted(range(len(self.ids)), key=lambda i: (-self.sizes[i], self.ids[i]))

    def exact(self, keep: Keep) -> tuple[dict[int, int], list[int]]:
        """Documents whose text another one has, each with that keeper; and the others, in the order of keeping."""
        first: dict[str, int] = {}
        keeper_of: dict[int, int] = {}
        rest: list[int] = []
        for i in self.order(keep):  # which is kept depends on what came before
            keeper = first.setdefault(self._hashes[i], i)
            if keeper == i:
                rest.append(i)
            else:
                keeper_of[i] = keeper
        return keeper_of, rest

    def shingles_of(self, wanted: set[int]) -> dict[int, Set]:
        """The shingles of some documents, sorted, from a second walk over the batches."""
        found: dict[int, Set] = {}
        begin = 0
        for batch in self._batches:
            here = [i for i in range(begin, begin + batch.num_rows) if i in wanted]
            if here:
                texts = texts_of(batch.take(pa.array([i - begin for i in here])))
                values, ends = _shingles(texts)
                found |= {i: values[ends[n] : ends[n + 1]] for n, i in enumerate(here)}
            begin += batch.num_rows
        return found


class _Stars:
    """Greedy star clustering over proposed pairs."""

    def __init__(self, everything: _Everything, rest: list[int]) -> None:
        self._everything = everything
        self._rest = rest
        self._proposed = _propose(everything.signatures, rest)
        self.near: dict[int, tuple[int, float]] = {}
        self.related: list[tuple[int, int]] = []

    def find(self, threshold: float, related: float) -> _Stars:
        """Walk from the best keeper down: what resembles it and is still free falls to it.

        A loop because each step depends on what the steps before took; it meets proposed documents only. Whoever was
        walked over before is a keeper (or fallen), so a pair is measured once, from the side of the better one.
        """
        sets = self._everything.shingles_of(set(self._proposed))
        walked: set[int] = set()
        for keeper in self._rest:
            if keeper not in self._proposed or keeper in self.near:
                continue
            walked.add(keeper)
            for other in sorted(self._proposed[keeper] - walked - self.near.keys()):
                similarity = jaccard(sets[keeper], sets[other])
                if similarity >= threshold:
                    self.near[other] = (keeper, similarity)
                elif similarity >= related:
                    self.related.append((keeper, other))
        return self


def jaccard(a: Set, b: Set) -> float:
    """|A ∩ B| / |A ∪ B| of two sorted sets of hashes; 0 where both are empty."""
    if not len(a) or not len(b):
        return 0.0
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def _shingles(texts: pl.Series) -> tuple[Set, NDArray[np.int64]]:
    """Word 5-grams of the text in lower case without punctuation and diacritics; digits count: figures are facts."""
    import polars as pl

    plain = texts.to_frame("text").select(
        pl.col("text").str.to_lowercase().str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    )
    return shingles(find_words(plain["text"], LETTERS), SHINGLE)


def _signatures(values: Set, ends: NDArray[np.int64]) -> NDArray[np.uint32]:
    """MinHash signatures, (N, BANDS * ROWS)."""
    from rensa import RMinHash

    blocks: list[NDArray[np.uint32]] = []
    for begin in range(0, len(ends) - 1, _BLOCK):
        part = ends[begin : begin + _BLOCK + 1]
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            values[part[0] : part[-1]], (part - part[0]).astype(np.uint64), BANDS * ROWS, _SEED
        )
        blocks.append(np.asarray(matrix.to_rows(), np.uint32).reshape(-1, BANDS * ROWS))
    found = np.concatenate(blocks) if blocks else np.zeros((0, BANDS * ROWS), np.uint32)
    found[np.diff(ends) == 0] = 0  # no words: proposed to nobody, see below
    return found


def _propose(signatures: NDArray[np.uint32], rest: list[int]) -> dict[int, set[int]]:
    """Pairs that agree in all the hashes of some band, both ways round."""
    proposed: dict[int, set[int]] = defaultdict(set)
    rows = np.asarray(rest, np.int64)
    rows = rows[signatures[rows].any(axis=1)] if len(rows) else rows
    for band in range(BANDS):
        for bucket in _buckets(_band_keys(signatures[rows, band * ROWS : (band + 1) * ROWS])):
            members = set(rows[bucket].tolist())
            for member in members:
                proposed[member] |= members
    for member, others in proposed.items():
        others.discard(member)
    return proposed


def _band_keys(part: NDArray[np.uint32]) -> NDArray[np.uint64]:
    key = np.zeros(len(part), np.uint64)
    for column in range(part.shape[1]):
        key = mix(key ^ (part[:, column].astype(np.uint64) + np.uint64(column + 1)))
    return key


def _buckets(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Places of equal keys, two or more."""
    order = np.argsort(keys, kind="stable")
    cuts = np.flatnonzero(np.diff(keys[order])) + 1
    yield from (bucket for bucket in np.split(order, cuts) if len(bucket) > 1)


def _table(ids: list[str], keeper_of: dict[int, int], stars: _Stars) -> pa.Table:
    """One row a document; a cluster is named after the smallest id among its keepers."""
    final = {i: stars.near[k][0] if k in stars.near else k for i, k in keeper_of.items()}
    final |= {i: keeper for i, (keeper, _) in stars.near.items()}
    clusters = _Union(len(ids), ids)
    for a, b in [*stars.related, *final.items()]:
        clusters.join(a, b)
    folded: dict[int, int] = defaultdict(int)
    for keeper in final.values():
        folded[keeper] += 1
    drop: list[str | None] = [None] * len(ids)
    detail: list[str | None] = [None] * len(ids)
    for i, keeper in final.items():
        exact = keeper_of.get(i) == keeper
        drop[i] = "exact duplicate" if exact else "near duplicate"
        # A copy of a text that itself fell: as like the keeper as that text.
        similarity = 1.0 if exact else stars.near[keeper_of.get(i, i)][1]
        detail[i] = orjson.dumps({"keeper": ids[keeper], "jaccard": round(similarity, 4)}).decode()
    columns = [
        ids,
        [ids[clusters.root(i)] for i in range(len(ids))],
        [folded[i] for i in range(len(ids))],
        drop,
        detail,
    ]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, RESULT, strict=True)], schema=RESULT)


class _Union:
    """Union-find whose roots have the smallest id."""

    def __init__(self, size: int, ids: list[str]) -> None:
        self._parent = list(range(size))
        self._ids = ids

    def root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        if a != b:
            low, high = sorted((a, b), key=self._ids.__getitem__)
            self._parent[high] = low
