"""Documents as vectors whose cosine says how alike they are.

By default TF-IDF of hashed words (Weinberger et al. 2009, arXiv 0902.2206) under a sparse random projection (Kane and
Nelson 2014, arXiv 1012.1577): no model, the same on every machine, about 100 MB of text a second. Any embedding can
stand in for it: an ``Embedder``, a file with a vector for each document, or a file of word vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.contracts.inference import Embedder
from lamina.data.duplicates.folding import folding
from lamina.data.duplicates.sketch import utf8
from lamina.kit.errors import InputError

HEAD = 8192  # bytes of a document that its topic is told by
DIMENSIONS = 1024
_BUCKETS = 1 << 18
_SEED = np.uint64(0x1A31A)
_MOST = 1000  # times that a word counts within a document
_WORDS = 200_000  # of a file of word vectors
_TEXTS = 64  # that an embedder gets at once


class Embedding(Protocol):
    """Documents to vectors."""

    @property
    def name(self) -> str:
        """What it is, in words."""
        ...

    def of(self, texts: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors (N, D) of N texts, the ``rows`` of their corpus as its files are read; zero where a text has none."""
        ...


@dataclass(frozen=True, slots=True)
class HashedWords:
    """TF-IDF of hashed words, projected; ``weights`` (2^18,) are ln(1 + N / documents with the word)."""

    weights: NDArray[np.float32]

    @classmethod
    def fit(cls, texts: pa.Array) -> HashedWords:
        """Weights from how many of ``texts`` have a word: the same when every text is there twice."""
        from lamina.data.variety import kernels

        counts = np.zeros(_BUCKETS, np.int64)
        fold, (data, offsets) = folding(), utf8(texts)
        kernels.count_documents(data, offsets, HEAD, fold.table, fold.many, counts)
        seen = counts[counts > 0]
        rarest = seen.min() if len(seen) else 1  # a word that no text has counts as this one
        return cls(np.log1p(len(texts) / np.maximum(counts, rarest)).astype(np.float32))

    @property
    def name(self) -> str:
        """See ``Embedding``."""
        return f"TF-IDF of hashed words in {DIMENSIONS:,} dimensions"

    def of(self, texts: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Embedding``."""
        from lamina.data.variety import kernels

        found = np.zeros((len(texts), DIMENSIONS), np.float32)
        fold, (data, offsets) = folding(), utf8(texts)
        logs = np.concatenate([[0.0], 1 + np.log(np.arange(1, _MOST + 1))]).astype(np.float32)
        kernels.project(data, offsets, HEAD, fold.table, fold.many, self.weights, logs, _SEED, found)
        return units(found)


@dataclass(frozen=True, slots=True)
class DocumentVectors:
    """Vectors that somebody else made: row i is that of document i, as the corpus' data files are read by name."""

    vectors: NDArray[Any]
    name: str

    def of(self, texts: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Embedding``."""
        return units(np.asarray(self.vectors[rows], np.float32))


@dataclass(frozen=True, slots=True)
class MeanOfWords:
    """The mean of the vectors of a text's words, each word weighted by a / (a + its share) (Arora et al. 2017)."""

    places: dict[str, int]
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    name: str

    def of(self, texts: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Embedding``."""
        import polars as pl

        from lamina.data.clean.words import LETTERS

        table = pl.DataFrame({"text": pl.Series(pl.from_arrow(texts)), "row": np.arange(len(texts))})
        column = pl.col("text").fill_null("").str.head(HEAD).str.to_lowercase()
        words = table.select("row", word=column.str.extract_all(LETTERS)).explode("word")
        known = words.filter(pl.col("word").is_in(list(self.places)))
        owners, names = known["row"].to_numpy(), known["word"].to_list()
        places = np.fromiter((self.places[name] for name in names), np.int64, len(names))
        found = np.zeros((len(texts), self.vectors.shape[1]), np.float32)
        np.add.at(found, owners, self.vectors[places] * self.weights[places, None])
        return units(found)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of an ``Embedder``."""

    embedder: Embedder
    name: str = "an embedder"

    def of(self, texts: pa.Array, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Embedding``."""
        given = [(text or "")[:HEAD] for text in texts.to_pylist()]
        parts = [self.embedder.embed(given[at : at + _TEXTS]) for at in range(0, len(given), _TEXTS)]
        return units(np.concatenate(parts)) if parts else np.zeros((0, 1), np.float32)


def open_vectors(path: Path, documents: int) -> Embedding:
    """The embedding in a file: .npy (a row for each of the corpus' ``documents``), or word vectors (text or npz).

    Raises ``InputError`` for a file that is neither, or has another number of rows.
    """
    if path.suffix != ".npy":
        from lamina.data.augment.vectors import read_vectors

        words, vectors = read_vectors(path, words=_WORDS)
        # Files list the commonest word first; Zipf's law then gives its share.
        shares = 1 / (np.arange(1, len(words) + 1) * np.log(max(len(words), 2) * 1.78))
        weights = (1e-3 / (1e-3 + shares)).astype(np.float32)
        return MeanOfWords({w: i for i, w in reversed(list(enumerate(words)))}, vectors, weights, path.name)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"this is no array of vectors: {error}", where=str(path)) from error
    if found.ndim != 2 or found.dtype.kind != "f" or len(found) != documents:
        raise InputError(
            f"an array {found.shape} of {found.dtype} is no vector for each of {documents:,} documents",
            where=str(path),
            hint="one row a document, in the order of the corpus' data files by name",
        )
    return DocumentVectors(found, path.name)


def units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row made of length 1 in place; rows of length 0, or that are not finite, become zeros."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    good = np.isfinite(lengths) & (lengths > 0)
    scale = np.where(good, 1 / np.where(good, lengths, 1), 0).astype(np.float32)
    vectors *= scale[:, None]
    vectors[~good] = 0
    return vectors
