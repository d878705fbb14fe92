"""What is remembered of each document, written unit by unit in worker processes: plain arrays on disk.

documents.parquet   id, source, score (what the keeper is chosen by; null = least), cluster (of an index)
words.u64 (N, 2)    hash of the folded words: equal for texts that differ in case, punctuation, accents only
raw.u64 (N)         hash of the text itself
facts.u32 (N, 2)    shingles (with repeats), characters
band-00.u64 … (N)   MinHash keys, a file for each band
sample.parquet      id and text of a few documents, by which the search is measured (``duplicates.planted``)

An index has a file for each array. A unit has them one after another in ``sketch.bin``, behind the number of bands (8
bytes): every file that is published costs a wait for the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.duplicates.folding import folding
from lamina.kit.errors import ConfigError

DOCUMENTS = pa.schema([("id", pa.string()), ("source", pa.string()), ("score", pa.float64()), ("cluster", pa.string())])
#: The arrays of a sketch: type and columns of each, besides the bands.
ARRAYS = {"words": ("u64", np.uint64, 2), "raw": ("u64", np.uint64, 1), "facts": ("u32", np.uint32, 2)}
_UNIT = "sketch.bin"
_SEED = 0x5EED
SAMPLE, SAMPLE_SHINGLES = 40, 40  # documents of a unit by which the search is measured, and shingles that each has
_SAMPLE_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """MinHash LSH: word ``shingle``-grams, ``bands`` of ``rows`` hashes. Sketches compare only within one scheme."""

    shingle: int = 5
    bands: int = 14
    rows: int = 8

    def permutations(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """What to exclusive-or with, and the odd factor, of each permutation."""
        from lamina.data.duplicates.kernels import mix_all

        size = self.bands * self.rows
        draw = mix_all(np.arange(1, 2 * size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(_SEED))
        values = (draw >> np.uint64(32)).astype(np.uint32)
        return values[:size].copy(), values[size:] | np.uint32(1)


def column_of(folder: Path, name: str) -> NDArray[Any]:
    """An array of a sketch, mapped into memory; ``name`` as in ``ARRAYS``, or "band-00"."""
    path, begin, shape, dtype = _placed(folder, name)
    return np.memmap(path, dtype, "r", begin, shape) if shape[0] else np.zeros(shape, dtype)


def read_columns(folders: Sequence[Path], name: str) -> list[NDArray[Any]]:
    """The arrays of many sketches, to be read whole: mapping each of hundreds of small files takes longer."""
    found = []
    for folder in folders:
        path, begin, shape, dtype = _placed(folder, name)
        found.append(np.fromfile(path, dtype, int(np.prod(shape)), offset=begin).reshape(shape))
    return found


def _placed(folder: Path, name: str) -> tuple[Path, int, tuple[int, ...], Any]:
    """The file of an array, the byte at which it begins, its shape and its type."""
    kind, dtype, width = ARRAYS.get(name, ("u64", np.uint64, 1))
    path, begin = folder / f"{name}.{kind}", 0
    if (folder / _UNIT).exists():
        path = folder / _UNIT
        bands = int(np.fromfile(path, np.uint64, 1)[0])
        sizes = {n: np.dtype(t).itemsize * w for n, (_, t, w) in ARRAYS.items()}
        sizes |= {f"band-{band:02d}": 8 for band in range(bands)}
        rows = (path.stat().st_size - 8) // sum(sizes.values())
        before = list(sizes)[: list(sizes).index(name)]
        begin = 8 + rows * sum(sizes[n] for n in before)
    else:
        rows = path.stat().st_size // (np.dtype(dtype).itemsize * width)
    return path, begin, (rows,) if width == 1 else (rows, width), dtype


def utf8(column: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of a column of strings, and where each begins and ends (N + 1); null is empty. Nothing is copied."""
    if column.null_count:
        column = pc.fill_null(column, "")
    column = column.cast(pa.large_string())
    _, places, data = column.buffers()
    offsets = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    content = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return content, (offsets if len(column) else np.zeros(1, np.int64))


def sketch(batches: Iterable[pa.RecordBatch], folder: Path, payload: Mapping[str, Any]) -> None:
    """Write the sketches of a unit's documents into ``folder``. ``payload``: scheme, keep, licenses, and perhaps
    ``known``: an index, whose sketches of the same texts are taken over."""
    scheme = Scheme(**payload["scheme"])
    known = known_texts(payload["known"]) if payload.get("known") else None
    sample = Sample()
    reused = 0
    arrays: dict[str, list[NDArray[Any]]] = {n: [] for n in (*ARRAYS, *(f"band-{b:02d}" for b in range(scheme.bands)))}
    with pq.ParquetWriter(folder / "documents.parquet", DOCUMENTS, compression="zstd") as documents:
        for batch in batches:
            found = _sketched(batch.column("text"), scheme, known)
            reused += found.pop("reused")
            for name, some in arrays.items():
                some.append(np.ascontiguousarray(found[name]))
            documents.write_table(_described(batch, payload["keep"], payload["licenses"]))
            sample.add(batch, found["raw"], found["facts"])
    with (folder / _UNIT).open("wb") as file:
        np.array([scheme.bands], np.uint64).tofile(file)
        for some in arrays.values():
            for array in some:
                array.tofile(file)
    sample.write(folder / "sample.parquet")
    (folder / "reused").write_text(str(reused))


def _sketched(texts: pa.Array, scheme: Scheme, known: Known | None) -> dict[str, Any]:
    """The arrays of some texts by name; those of ``known`` texts are looked up, ``reused`` tells how many."""
    from lamina.data.duplicates.kernels import raw_hashes

    if known is not None:
        raw = np.zeros(len(texts), np.uint64)
        raw_hashes(*utf8(texts), raw)
        place = known.places(raw)
        if (place >= 0).any():
            fresh = _sketched(texts.filter(pa.array(place < 0)), scheme, None)
            fresh.pop("reused")
            return known.merged(place, fresh) | {"reused": int((place >= 0).sum())}
    return computed(texts, scheme) | {"reused": 0}


def computed(texts: pa.Array, scheme: Scheme) -> dict[str, Any]:
    """The arrays of a sketch of some texts, by name."""
    from lamina.data.duplicates.kernels import sketch_texts

    xors, factors = scheme.permutations()
    fold = folding()
    size = len(texts)
    found = {n: np.zeros(size if width == 1 else (size, width), dtype) for n, (_, dtype, width) in ARRAYS.items()}
    keys = np.zeros((scheme.bands, size), np.uint64)
    rows = (found["words"], found["raw"], found["facts"], keys)
    sketch_texts(*utf8(texts), fold.table, fold.many, scheme.shingle, scheme.rows, xors, factors, *rows)
    return found | {f"band-{band:02d}": keys[band] for band in range(scheme.bands)}


class Known:
    """Sketches of an index, found by the hash of the text itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        raw = column_of(folder, "raw")
        self._order = np.argsort(raw, kind="stable")
        self._raw = raw[self._order]

    def places(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(N,): the row of the index that has the text, or -1."""
        if not len(self._raw):
            return np.full(len(raw), -1)
        at = np.minimum(np.searchsorted(self._raw, raw), len(self._raw) - 1)
        return np.where(self._raw[at] == raw, self._order[at], -1)

    def merged(self, place: NDArray[np.int64], fresh: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays of texts, those with a ``place`` from the index, the others from ``fresh`` in their order."""
        found: dict[str, Any] = {}
        for name, values in fresh.items():
            out = np.zeros((len(place), *values.shape[1:]), values.dtype)
            out[place < 0] = values
            out[place >= 0] = column_of(self._folder, name)[place[place >= 0]]
            found[name] = out
        return found


@lru_cache(maxsize=1)
def known_texts(folder: str) -> Known:
    """The sketches of an index, kept from unit to unit."""
    return Known(Path(folder))


class Sample:
    """The documents of a unit whose texts have the smallest hashes: drawn by chance, and always the same ones."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, str]] = []

    def add(self, batch: pa.RecordBatch, raw: NDArray[np.uint64], facts: NDArray[np.uint32]) -> None:
        """Look at a batch; ``raw`` and ``facts`` as in a sketch."""
        fit = np.flatnonzero((facts[:, 0] >= SAMPLE_SHINGLES) & (facts[:, 1] <= _SAMPLE_CHARACTERS))
        for row in fit[np.argsort(raw[fit], kind="stable")[:SAMPLE]].tolist():
            self._rows.append((int(raw[row]), batch.column("id")[row].as_py(), batch.column("text")[row].as_py()))
        self._rows = sorted(self._rows)[:SAMPLE]

    def write(self, path: Path) -> None:
        """Write what was drawn, the smallest hash first."""
        columns = [pa.array([row[k] for row in self._rows], pa.string()) for k in (1, 2)]
        pq.write_table(pa.table(columns, names=["id", "text"]), path, compression="zstd")


def shingle(batches: Iterable[pa.RecordBatch], folder: Path, payload: Mapping[str, Any]) -> None:
    """Write the shingle sets of a unit's documents whose words are asked for: each sequence of words once.

    ``payload``: scheme, and ``wanted``: a file of first word hashes, sorted. ``keys.u64`` names the sets by these,
    ``sizes.i64`` tells how large each is, ``shingles.u32`` holds them one after another, each sorted.
    """
    from lamina.data.duplicates.kernels import shingle_texts

    n = Scheme(**payload["scheme"]).shingle
    path = Path(payload["wanted"])
    wanted = np.memmap(path, np.uint64, "r") if path.stat().st_size else np.zeros(0, np.uint64)
    fold = folding()
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in ("keys.u64", "sizes.i64", "shingles.u32")]
        for batch in batches:
            data, offsets = utf8(batch.column("text"))
            out = np.empty(int(offsets[-1] - offsets[0]) // 2 + 2 * len(offsets), np.uint64)
            first = np.empty(batch.num_rows, np.uint64)
            texts, total = shingle_texts(data, offsets, fold.table, fold.many, n, wanted, out, first)
            sets = np.sort(out[:total])  # one sort for the batch: the text's number stands above its grams
            sets = sets[np.append(True, sets[1:] != sets[:-1])] if total else sets
            sizes = np.bincount((sets >> np.uint64(32)).astype(np.int64), minlength=texts)
            for array, file in zip((first[:texts], sizes.astype(np.int64), sets.astype(np.uint32)), files, strict=True):
                array.tofile(file)


def _described(batch: pa.RecordBatch, keep: str, licenses: list[str]) -> pa.Table:
    nothing = pa.nulls(batch.num_rows, pa.string())
    source = batch.column("source") if "source" in batch.schema.names else nothing
    columns = [batch.column("id").cast(pa.string()), source.cast(pa.string()), _score(batch, keep, licenses), nothing]
    return pa.table(columns, schema=DOCUMENTS)


def _score(batch: pa.RecordBatch, keep: str, licenses: list[str]) -> pa.Array:
    """What the keeper is chosen by, as a number: the highest is kept, null only where there is nothing else."""
    if keep in ("longest", "first"):
        return pa.nulls(batch.num_rows, pa.float64())
    name = {"newest": "created", "oldest": "created"}.get(keep, keep)
    if name not in batch.schema.names:
        hint = f"longest, first, newest, oldest, license, or a column: {', '.join(batch.schema.names)}"
        raise ConfigError(f"there is no column '{name}' to choose the keeper by", where="duplicates.keep", hint=hint)
    column = batch.column(name)
    if name == "license":
        place = pc.index_in(column, pa.array(licenses, pa.string()))
        # A licence that is not in the list comes after those that are, and before none at all.
        known = pc.if_else(pc.is_valid(place), place, pa.scalar(len(licenses), pa.int32()))
        return pc.if_else(pc.is_valid(column), pc.negate(known), pa.scalar(None, pa.int32())).cast(pa.float64())
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(column.type) else column.type)
        column = column.cast(pa.int64())
    try:
        score = column.cast(pa.float64(), safe=False)
    except pa.ArrowInvalid as error:
        raise ConfigError(f"'{name}' is no number to choose by: {error}", where="duplicates.keep") from None
    score = pc.if_else(pc.is_nan(score), pa.scalar(None, pa.float64()), score)
    return pc.negate(score) if keep == "oldest" else score
