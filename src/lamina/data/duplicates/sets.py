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


def collect_sets(
    batches: Batches,
    scheme: Scheme,
    keys: NDArray[np.uint64],
    place: Path,
    *,
    extra: Sequence[Path] = (),
) -> Sets:
    """The sets of ``keys`` (first word hashes, sorted, each once), from the documents and the ``extra`` indexes.

    Writes ``place``.u64 (the keys) and ``place``.u32 (the sets).
    """
    from lamina.data.duplicates.stars_kernels import gather

    place.parent.mkdir(parents=True, exist_ok=True)
    wanted = place.with_suffix(".u64")
    keys.tofile(wanted)
    units = batches.map("lamina.data.duplicates.sketch:shingle", {"scheme": asdict(scheme), "wanted": str(wanted)})
    starts, sizes = np.full(len(keys), -1), np.zeros(len(keys), np.int64)
    pieces: list[tuple[Path, NDArray[np.int64], NDArray[np.int64]]] = []
    total = 0
    for folder in [*extra, *units]:
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
    out = np.memmap(place.with_suffix(".u32"), np.uint32, "w+", shape=(total,)) if total else np.zeros(0, np.uint32)
    filled = 0
    for folder, begins, lengths in pieces:
        if len(begins):
            filled = gather(np.memmap(folder / "shingles.u32", np.uint32, "r"), begins, lengths, out, filled)
    return Sets(out, starts, sizes)


def _read(folder: Path) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Keys, starts and sizes of the sets in a folder."""
    keys = np.fromfile(folder / "keys.u64", np.uint64)
    sizes = np.fromfile(folder / "sizes.i64", np.int64)
    if len(keys) != len(sizes) or int(sizes.sum()) * 4 != (folder / "shingles.u32").stat().st_size:
        raise CorruptError("its files do not fit together", where=str(folder))
    return keys, np.cumsum(sizes) - sizes, sizes
