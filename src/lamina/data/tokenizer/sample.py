"""What a tokenizer learns from: a bounded sample of the corpus, each source with its share, no document with too much.

Two passes over the files and no state but a small table a source. Which documents are taken follows from their ids
alone: no order and no chance, and a larger sample holds a smaller one. Augmented children are left out: their slips and
their translations are no words that a vocabulary should spend an id on.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lamina.data.parts import read_parts
from lamina.kit.errors import ConfigError

DOCUMENT = 10_000  # characters of one document: a long book must not decide what words are
CHARACTERS = 100_000_000  # of the sample
_BUCKETS = 4096  # documents of a source are taken bucket by bucket


@dataclass(frozen=True)
class Sample:
    """Texts of the documents in ``files`` whose bucket is below that of their source."""

    files: tuple[Path, ...]
    document: int  # characters of one document
    below: Mapping[str, int]
    characters: Mapping[str, int]  # that each source gives
    of: Mapping[str, int]  # that it has, no document with more than ``document``
    temperature: float

    @property
    def total(self) -> int:
        """Characters in the sample."""
        return sum(self.characters.values())

    def __iter__(self) -> Iterator[pa.Array]:
        for _, texts in self.by_source():
            yield texts

    def smaller(self, characters: int) -> Sample:
        """A part of this sample with about so many characters."""
        return draw(self.files, characters=characters, document=self.document, temperature=self.temperature)

    def by_source(self) -> Iterator[tuple[str, pa.Array]]:
        """Source and texts, a part at a time."""
        for source, numbers, texts in _parts(self.files, self.document):
            taken = texts.filter(pa.array(numbers < self.below[source]))
            if len(taken):
                yield source, taken


def draw(
    files: Sequence[Path], *, characters: int = CHARACTERS, document: int = DOCUMENT, temperature: float = 1.0
) -> Sample:
    """A sample of at least ``characters`` (and no more than a bucket of documents beyond), or everything.

    A source of n characters has a share in proportion to n^(1/temperature): 1 is as the corpus is, more favours small
    sources; what a source cannot give goes to the others. Raises ``ConfigError`` for settings that cannot be.
    """
    for name, value in {"sample": characters, "document": document, "temperature": temperature}.items():
        if not value > 0:
            raise ConfigError(f"{value} is not above 0", where=f"data.tokenizer.{name}")
    tables: dict[str, NDArray[np.int64]] = {}
    for source, numbers, texts in _parts(files, document):
        sizes = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
        table = tables.setdefault(source, np.zeros(_BUCKETS, np.int64))
        table += np.bincount(numbers, sizes, _BUCKETS).astype(np.int64)
    of = {source: int(table.sum()) for source, table in tables.items() if table.any()}
    wanted = shares(of, characters, temperature)
    below, given = dict.fromkeys(tables, 0), {}
    for source, share in wanted.items():
        sums = np.cumsum(tables[source])
        below[source] = min(int(np.searchsorted(sums, share)) + 1, _BUCKETS)
        given[source] = int(sums[below[source] - 1])
    return Sample(tuple(files), document, below, given, of, temperature)


def shares(of: Mapping[str, int], limit: int, temperature: float) -> dict[str, float]:
    """Characters of each source in a sample of ``limit`` (Conneau et al. 2020, arXiv:1911.02116, exponent 1/T)."""
    left, room = dict(of), float(limit)
    wanted: dict[str, float] = {}
    while left:
        most = max(left.values())
        weights = {source: (size / most) ** (1.0 / temperature) for source, size in left.items()}
        unit = room / sum(weights.values())
        spent = [source for source, size in left.items() if weights[source] * unit >= size]
        if not spent:
            return wanted | {source: weight * unit for source, weight in weights.items()}
        for source in spent:
            wanted[source] = float(left.pop(source))
            room -= wanted[source]
    return wanted


def _parts(files: Sequence[Path], document: int) -> Iterator[tuple[str, NDArray[np.int64], pa.Array]]:
    """Source, bucket of each document that is no child of another, and texts cut to ``document`` characters: a row
    group and source at a time."""
    for batch in read_parts(files, ["id", "source", "text", "parent_id"]):
        batch = batch.filter(pc.is_null(batch.column("parent_id")))
        texts = pc.utf8_slice_codeunits(pc.fill_null(batch.column("text"), ""), 0, document)
        # A hash that stays the same from version to version; there is none for a whole column.
        numbers = np.fromiter((zlib.crc32(id.encode()) % _BUCKETS for id in batch.column("id").to_pylist()), np.int64)
        sources = batch.column("source")
        for source in pc.unique(sources).to_pylist():
            mine = pc.equal(sources, source)
            yield source, numbers[mine.to_numpy(zero_copy_only=False)], texts.filter(mine)
