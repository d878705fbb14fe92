"""The n-grams of word vectors, in a safetensors file beside the vectors, whose own formats have no room for them.

``vectors.bin`` has them in ``vectors.bin.ngrams``: one tensor ``table`` (buckets, D) float32, and in the metadata how
long n-grams are (``shortest``, ``longest``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, ModelFileError
from lamina.model.vectors.keyed_vectors import KeyedVectors, Subwords
from lamina.model.vectors.ngrams import Grams
from lamina.model.vectors.vector_files import Format, read_vectors, write_vectors


def place_of(file: Path) -> Path:
    """Where the n-grams of the vectors in ``file`` are."""
    return file.with_name(f"{file.name}.ngrams")


def write_with_grams(vectors: KeyedVectors, file: Path, *, form: Format = "binary") -> None:
    """``write_vectors``, and the n-grams beside it; those of other vectors that were there before go."""
    write_vectors(vectors, file, form=form)
    if vectors.subwords is None:
        place_of(file).unlink(missing_ok=True)
        return
    grams, table = vectors.subwords.grams, np.ascontiguousarray(vectors.subwords.table, np.float32)
    lengths = {"shortest": str(grams.shortest), "longest": str(grams.longest)}
    atomic_write(place_of(file), save({"table": table}, metadata=lengths), mode=0o644)


def read_with_grams(file: Path) -> KeyedVectors:
    """``read_vectors``, with the n-grams where there are any. Raises ``ModelFileError``."""
    vectors, place = read_vectors(file), place_of(file)
    if not place.is_file():
        return vectors
    try:
        with safe_open(place, framework="numpy") as opened:
            lengths, table = opened.metadata() or {}, opened.get_tensor("table")
        grams = Grams(shortest=int(lengths["shortest"]), longest=int(lengths["longest"]), buckets=len(table))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, ConfigError) as error:
        raise ModelFileError(f"no n-grams of word vectors: {error}", where=str(place)) from error
    if table.ndim != 2 or table.shape[1] != vectors.width or not np.isfinite(table).all():
        what = f"n-grams of shape {table.shape} do not fit vectors of width {vectors.width}, or are not finite"
        raise ModelFileError(what, where=str(place))
    return KeyedVectors(vectors.words, vectors.vectors, subwords=Subwords(grams, table.astype(np.float32)))
