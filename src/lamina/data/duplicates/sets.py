"""Shingle sets of the documents that need measuring: made in the workers, laid one after another in one mapped file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamina.contracts.corpus import Batches
from lamina.data.duplicates.sketch import Scheme
from lamina.kit.errors import CorruptError, StageError


@dataclass(frozen=True, slots=True)
class Sets:
    """Set k of the keys asked for is ``values[starts[k] : starts[k] + sizes[k]]``, sorted 32-bit hashes.

    Two different shingles of a pair of documents with n shingles share a hash with probability n^2 / 2^32: the Jaccard
    similarity is exact to n / 2^32.
    """

    values: NDArray[np.uint32]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    place: Path | None  # the file that holds the values


def collect_sets(
    batches: Batches,
    scheme: Scheme,
    keys: NDArray[np.uint64],
    place: Path,
    *,
    extra: Sequence[Path] = (),
) -> Sets:
    """The sets of ``keys`` (first word hashes, sorted, each once), from the ``extra`` indexes and the documents.

    Writes ``place``.u64 (the keys that the documents are asked for) and ``place``.u32 (the sets).
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    wanted = place.with_suffix(".u64")
    known = [np.fromfile(folder / "keys.u64", np.uint64) for folder in extra]
    missing = np.setdiff1d(keys, np.concatenate(known)) if known else keys
    missing.tofile(wanted)
    told = {"scheme": asdict(scheme), "wanted": str(wanted)}
    units = batches.map("lamina.data.duplicates.sketch:shingle", told) if len(missing) else []
    return gathered(keys, [*extra, *units], place)


def gathered(keys: NDArray[np.uint64], folders: Sequence[Path], place: Path) -> Sets:
    """The sets of ``keys`` from those in some folders, in ``place``.u32; the first folder that has one counts."""
    from lamina.data.duplicates.stars_kernels import gather

    starts, sizes = np.full(len(keys), -1), np.zeros(len(keys), np.int64)
    pieces: list[tuple[Path, NDArray[np.int64], NDArray[np.int64]]] = []
    total = 0
    for folder in folders:
        here, begins, lengths = _read(folder)
        at = np.minimum(np.searchsorted(keys, here), max(len(keys) - 1, 0))
        fresh = np.flatnonzero((keys[at] == here) & (starts[at] < 0)) if len(keys) else np.zeros(0, np.int64)
        _, once = np.unique(at[fresh], return_index=True)  # a text that a unit has twice counts once
        fresh = fresh[np.sort(once)]
        ends = total + np.cumsum(lengths[fresh])
        starts[at[fresh]], sizes[at[fresh]] = ends - lengths[fresh], lengths[fresh]
        total = int(ends[-1]) if len(ends) else total
        pieces.append((folder, begins[fresh], lengths[fresh]))
    if (starts < 0).any():
        raise StageError("documents changed between two readings of them", where="duplicates")
    if not total:
        return Sets(np.zeros(0, np.uint32), starts, sizes, None)
    file = place.with_suffix(".u32")
    out = np.memmap(file, np.uint32, "w+", shape=(total,))
    filled = 0
    for folder, begins, lengths in pieces:
        if len(begins):
            filled = gather(np.memmap(folder / "shingles.u32", np.uint32, "r"), begins, lengths, out, filled)
    return Sets(out, starts, sizes, file)


def _read(folder: Path) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Keys, starts and sizes of the sets in a folder."""
    keys = np.fromfile(folder / "keys.u64", np.uint64)
    sizes = np.fromfile(folder / "sizes.i64", np.int64)
    if len(keys) != len(sizes) or int(sizes.sum()) * 4 != (folder / "shingles.u32").stat().st_size:
        raise CorruptError("its files do not fit together", where=str(folder))
    return keys, np.cumsum(sizes) - sizes, sizes
