"""The index of a corpus: sketches and shingle sets of what was kept, so that a later run can be compared with it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from numpy.typing import NDArray

from lamina.contracts.corpus import Batches
from lamina.data.duplicates.sets import Sets, collect_sets, gathered
from lamina.data.duplicates.sketch import ARRAYS, DOCUMENTS, Scheme, column_of
from lamina.kit.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

_FORMAT = 1
_ABOUT = "index.json"


def identity(folder: Path) -> str:
    """A name for what the index holds, by its content. Raises ``ConfigError`` where there is no index."""
    return str(_about(folder)["digest"])


def fits(folder: Path, scheme: Scheme) -> bool:
    """Whether ``folder`` holds an index that was made in the same way."""
    return (folder / _ABOUT).exists() and bool(_about(folder)["scheme"] == asdict(scheme))


def check_index(folder: Path, scheme: Scheme) -> None:
    """Raises ``ConfigError`` unless ``folder`` holds an index that was made in the same way."""
    about = _about(folder)
    if about["scheme"] != asdict(scheme):
        raise ConfigError(
            f"was made with {about['scheme']}, not {asdict(scheme)}", where=str(folder), hint="use the same values"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Sketches in a folder, which of them (N,) go into an index, and the names of their clusters, if new."""

    folder: Path
    kept: NDArray[np.bool_]
    clusters: pl.Series | None = None


def save_index(batches: Batches, scheme: Scheme, parts: Sequence[Part], sources: Sequence[Path], folder: Path) -> None:
    """Write the index of ``parts`` into ``folder``; their shingle sets come from the indexes ``sources`` and, where
    these have none, from the documents."""
    keys = _save_sketches(scheme, parts, folder)
    _save_sets(collect_sets(batches, scheme, keys, batches.work / "kept", extra=sources), keys, folder)
    _close(scheme, folder)


def subset(index: Path, kept: NDArray[np.bool_], folder: Path) -> None:
    """Write an index of some of the documents (N,) of ``index`` into ``folder``."""
    scheme = Scheme(**_about(index)["scheme"])
    keys = _save_sketches(scheme, [Part(index, kept)], folder)
    place = folder / "gathered"
    _save_sets(gathered(keys, [index], place), keys, folder)
    _close(scheme, folder)


def _save_sketches(scheme: Scheme, parts: Sequence[Part], folder: Path) -> NDArray[np.uint64]:
    """Documents and arrays; the keys of the sets that belong to them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = {n: kind for n, (kind, _, _) in ARRAYS.items()} | {f"band-{b:02d}": "u64" for b in range(scheme.bands)}
    keys: list[NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
    with pq.ParquetWriter(folder / "documents.parquet", DOCUMENTS, compression="zstd") as documents:
        for part in parts:
            table = pq.read_table(part.folder / "documents.parquet")
            if part.clusters is not None:
                table = table.set_column(3, "cluster", part.clusters.to_arrow())
            documents.write_table(table.cast(DOCUMENTS).filter(pa.array(part.kept)))
            for name, kind in names.items():
                with (folder / f"{name}.{kind}").open("ab") as file:
                    column_of(part.folder, name)[part.kept].tofile(file)
            some = part.kept & (column_of(part.folder, "facts")[:, 0] > 0)
            keys.append(column_of(part.folder, "words")[some, 0])
    for name, kind in names.items():
        (folder / f"{name}.{kind}").touch()
    return np.unique(np.concatenate(keys))


def _save_sets(sets: Sets, keys: NDArray[np.uint64], folder: Path) -> None:
    order = np.argsort(sets.starts)
    keys[order].tofile(folder / "keys.u64")
    sets.sizes[order].tofile(folder / "sizes.i64")
    if sets.place is not None:
        sets.place.rename(folder / "shingles.u32")
    else:
        (folder / "shingles.u32").touch()


def _close(scheme: Scheme, folder: Path) -> None:
    documents = pq.read_metadata(folder / "documents.parquet").num_rows
    about = {"format": _FORMAT, "scheme": asdict(scheme), "documents": documents, "digest": _digest(folder)}
    (folder / _ABOUT).write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2))


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
