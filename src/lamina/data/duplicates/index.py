"""The index of a corpus: sketches and shingle sets of what was kept, so that a later run can be compared with it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from numpy.typing import NDArray

from lamina.contracts.corpus import Batches
from lamina.data.duplicates.sets import collect_sets
from lamina.data.duplicates.sketch import ARRAYS, DOCUMENTS, Scheme, column_of
from lamina.kit.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

_FORMAT = 1
_ABOUT = "index.json"


def identity(folder: Path) -> str:
    """A name for what the index holds, by its content. Raises ``ConfigError`` where there is no index."""
    return str(_about(folder)["digest"])


def check_index(folder: Path, scheme: Scheme) -> None:
    """Raises ``ConfigError`` unless ``folder`` holds an index that was made in the same way."""
    about = _about(folder)
    if about["scheme"] != asdict(scheme):
        raise ConfigError(
            f"was made with {about['scheme']}, not {asdict(scheme)}", where=str(folder), hint="use the same values"
        )


def save_index(
    batches: Batches,
    scheme: Scheme,
    units: Sequence[Path],
    kept: NDArray[np.bool_],
    clusters: pl.Series,
    folder: Path,
) -> None:
    """Write the index of the ``kept`` documents of the ``units`` into ``folder``; ``clusters`` names the cluster of
    each document."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = {n: kind for n, (kind, _, _) in ARRAYS.items()} | {f"band-{b:02d}": "u64" for b in range(scheme.bands)}
    begin = 0
    keys: list[NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    with pq.ParquetWriter(folder / "documents.parquet", DOCUMENTS, compression="zstd") as documents:
        for unit in units:
            table = pq.read_table(unit / "documents.parquet")
            here = kept[begin : begin + table.num_rows]
            named = table.set_column(3, "cluster", clusters[begin : begin + table.num_rows].to_arrow())
            documents.write_table(named.cast(DOCUMENTS).filter(pa.array(here)))
            for name, kind in names.items():
                with (folder / f"{name}.{kind}").open("ab") as file:
                    column_of(unit, name)[here].tofile(file)
            some = here & (column_of(unit, "facts")[:, 0] > 0)
            keys.append(column_of(unit, "words")[some, 0])
            begin += table.num_rows
    _save_sets(batches, scheme, np.unique(np.concatenate(keys)), folder)
    for name, kind in names.items():
        (folder / f"{name}.{kind}").touch()
    about = {
        "format": _FORMAT,
        "scheme": asdict(scheme),
        "documents": int(kept.sum()),
        "digest": _digest(folder),
    }
    (folder / _ABOUT).write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2))


def _save_sets(batches: Batches, scheme: Scheme, keys: NDArray[np.uint64], folder: Path) -> None:
    place = batches.work / "kept"
    sets = collect_sets(batches, scheme, keys, place)
    order = np.argsort(sets.starts)
    keys[order].tofile(folder / "keys.u64")
    sets.sizes[order].tofile(folder / "sizes.i64")
    if len(sets.values):
        place.with_suffix(".u32").rename(folder / "shingles.u32")
    else:
        (folder / "shingles.u32").touch()


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = orjson.loads((folder / _ABOUT).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        hint = "give the folder indexes/duplicates of a corpus that was built with index = true"
        raise ConfigError("is no index of duplicates", where=str(folder), hint=hint) from error
    if about.get("format") != _FORMAT:
        raise ConfigError(f"has format {about.get('format')}, this Lamina reads {_FORMAT}", where=str(folder))
    return dict(about)


def _digest(folder: Path) -> str:
    """Of ids, clusters and words: what the index says of documents follows from these."""
    total = blake3()
    for name in ("documents.parquet", "words.u64"):
        total.update_mmap(folder / name)
    return total.hexdigest()
