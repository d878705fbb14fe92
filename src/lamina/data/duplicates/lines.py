"""How many documents of a source have a line: counted unit by unit, joined range by range, marked unit by unit.

A unit's folder holds, for its n-th source, ``lines-n.u64`` (hashes, sorted) and ``counts-n.u32``; ``sources.json`` has
their names and documents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8

_WAITING = 4_000_000  # hashes that are gathered before they are counted
_RANGE = 16_000_000  # lines of all units that are joined at a time
Keys = NDArray[np.uint64]
MARKS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("boilerplate_lines", pa.list_(pa.uint64())),
        pa.field("boilerplate_share", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Pieces:
    """Lines (or paragraphs) of N texts one after another (P in all): hash of the folded words (0: too few of them to
    be judged), first byte and first byte of what follows, and how many each text has."""

    hashes: Keys  # (P,)
    bounds: NDArray[np.int64]  # (P, 2)
    counts: NDArray[np.int64]  # (N,)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The text of each piece, (P,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def pieces(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    *,
    paragraphs: bool = False,
    figures: bool = True,
    words: int = 1,
) -> Pieces:
    """The lines of texts. Case, accents, punctuation, emoji and, without ``figures``, digits make no difference."""
    from lamina.data.duplicates.lines_kernels import pieces_of

    fold = folding(figures=figures)
    most = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 10)) + len(offsets)
    hashes, bounds = np.zeros(most, np.uint64), np.zeros((most, 2), np.int64)
    counts = np.zeros(len(offsets) - 1, np.int64)
    total = pieces_of(data, offsets, fold.table, fold.many, paragraphs, words, hashes, bounds, counts)
    return Pieces(hashes[:total], bounds[:total], counts)


def count(batches: Iterable[pa.RecordBatch], folder: Path, payload: Mapping[str, Any]) -> None:
    """Write how many documents of the unit have each line. ``payload``: paragraphs, figures, words."""
    counters: dict[str, _Counter] = defaultdict(_Counter)
    for batch in batches:
        found = pieces(*utf8(batch.column("text")), **payload)
        owners = found.owners[found.hashes != 0]
        order = np.lexsort((found.hashes[found.hashes != 0], owners))
        keys, owners = found.hashes[found.hashes != 0][order], owners[order]
        once = np.ones(len(keys), bool)  # a line counts once a document
        once[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
        keys, owners = keys[once], owners[once]
        names, codes = _sources(batch)
        for code, name in enumerate(names):
            counters[name].add(keys[codes[owners] == code], int((codes == code).sum()))
    about = []
    for number, (name, counter) in enumerate(sorted(counters.items())):
        lines, sizes = counter.counted()
        lines.tofile(folder / f"lines-{number}.u64")
        sizes.astype(np.uint32).tofile(folder / f"counts-{number}.u32")
        about.append({"source": name, "documents": counter.documents})
    (folder / "sources.json").write_bytes(orjson.dumps(about))


def frequent(folders: Sequence[Path], *, share: float, count: int) -> dict[str, Keys]:
    """For each source the lines, sorted, that more than ``count`` documents and this ``share`` of them have."""
    documents: dict[str, int] = defaultdict(int)
    files: dict[str, list[tuple[Keys, NDArray[np.uint32]]]] = defaultdict(list)
    for folder in folders:
        for number, about in enumerate(orjson.loads((folder / "sources.json").read_bytes())):
            documents[about["source"]] += about["documents"]
            lines = _mapped(folder / f"lines-{number}.u64", np.uint64)
            files[about["source"]].append((lines, _mapped(folder / f"counts-{number}.u32", np.uint32)))
    found = {}
    for source, parts in sorted(files.items()):
        least = max(float(count), share * documents[source])
        found[source] = np.concatenate([keys[sizes > least] for keys, sizes in _joined(parts)])
    return found


def mark(batches: Iterable[pa.RecordBatch], folder: Path, payload: Mapping[str, Any]) -> None:
    """Write which frequent lines each document of the unit has, and their share of its bytes.

    ``payload``: paragraphs, figures, words, and ``table``: a folder with sources.json (names) and known-n.u64 for each.
    """
    from lamina.data.duplicates.lines_kernels import known_in

    table = Path(payload["table"])
    known = {n: _mapped(table / f"known-{i}.u64", np.uint64) for i, n in enumerate(_names(table))}
    with pq.ParquetWriter(folder / "marks.parquet", MARKS, compression="zstd") as out:
        for batch in batches:
            data, offsets = utf8(batch.column("text"))
            found = pieces(data, offsets, **{k: payload[k] for k in ("paragraphs", "figures", "words")})
            names, codes = _sources(batch)
            hit = np.zeros(len(found.hashes), bool)
            for code, name in enumerate(names):
                mine = np.flatnonzero(codes[found.owners] == code)
                here = np.zeros(len(mine), bool)
                known_in(found.hashes[mine], known.get(name, np.zeros(0, np.uint64)), here)
                hit[mine] = here
            out.write_table(_marks(batch.column("id"), found, hit, np.diff(offsets)))


def save_frequent(found: Mapping[str, Keys], table: Path) -> None:
    """Write what ``frequent`` found into the folder ``table``, for ``mark``."""
    table.mkdir(parents=True, exist_ok=True)
    for number, keys in enumerate(found.values()):
        keys.tofile(table / f"known-{number}.u64")
    (table / "sources.json").write_bytes(orjson.dumps([{"source": name} for name in found]))


class _Counter:
    """Counts of hashes of one source, in bounded pieces."""

    def __init__(self) -> None:
        self.documents = 0
        self._waiting: list[Keys] = []
        self._size = 0
        self._keys: Keys = np.zeros(0, np.uint64)
        self._counts = np.zeros(0, np.int64)

    def add(self, keys: Keys, documents: int) -> None:
        self.documents += documents
        self._waiting.append(keys)
        self._size += len(keys)
        if self._size > _WAITING:
            self._settle()

    def counted(self) -> tuple[Keys, NDArray[np.int64]]:
        self._settle()
        return self._keys, self._counts

    def _settle(self) -> None:
        fresh, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *self._waiting]), return_counts=True)
        self._keys, self._counts = _summed([self._keys, fresh], [self._counts, counts])
        self._waiting, self._size = [], 0


def _summed(keys: Sequence[Keys], counts: Sequence[NDArray[Any]]) -> tuple[Keys, NDArray[np.int64]]:
    """Each key once, sorted, with the sum of its counts."""
    every = np.concatenate(list(keys))
    order = np.argsort(every, kind="stable")
    every, sizes = every[order], np.concatenate(list(counts))[order].astype(np.int64)
    first = np.flatnonzero(np.append(True, every[1:] != every[:-1])) if len(every) else np.zeros(0, np.int64)
    return every[first], np.add.reduceat(sizes, first) if len(first) else sizes


def _joined(parts: Sequence[tuple[Keys, NDArray[np.uint32]]]) -> Iterator[tuple[Keys, NDArray[np.int64]]]:
    """The sums over all units, a range of hashes at a time."""
    ranges = max(1, sum(len(keys) for keys, _ in parts) // _RANGE)
    bounds = [(1 << 64) * r // ranges for r in range(1, ranges)]
    cuts = [[0, *(int(np.searchsorted(k, np.uint64(b))) for b in bounds), len(k)] for k, _ in parts]
    for r in range(ranges):
        some = [(k[c[r] : c[r + 1]], n[c[r] : c[r + 1]]) for (k, n), c in zip(parts, cuts, strict=True)]
        yield _summed([k for k, _ in some], [n for _, n in some])


def _marks(ids: pa.Array, found: Pieces, hit: NDArray[np.bool_], sizes: NDArray[np.int64]) -> pa.Table:
    owners = found.owners[hit]
    order = np.lexsort((found.hashes[hit], owners))
    keys, owners = found.hashes[hit][order], owners[order]
    once = np.ones(len(keys), bool)
    once[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    ends = np.concatenate([np.zeros(1), np.cumsum(np.bincount(owners[once], minlength=len(sizes)))]).astype(np.int32)
    lengths = (found.bounds[:, 1] - found.bounds[:, 0])[hit][order]
    covered = np.bincount(owners, weights=lengths, minlength=len(sizes))
    share = covered / np.maximum(sizes, 1)
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(keys[once], pa.uint64()))
    return pa.table([ids.cast(pa.string()), lists, pa.array(share)], schema=MARKS)


def _sources(batch: pa.RecordBatch) -> tuple[list[str], NDArray[np.int64]]:
    """The sources in a batch, and which each row has; without the column there is one."""
    if "source" not in batch.schema.names:
        return [""], np.zeros(batch.num_rows, np.int64)
    coded = batch.column("source").fill_null("").dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)


def _names(table: Path) -> list[str]:
    return [about["source"] for about in orjson.loads((table / "sources.json").read_bytes())]


def _mapped(path: Path, dtype: Any) -> NDArray[Any]:
    return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)
