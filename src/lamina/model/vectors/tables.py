"""From word vectors to the embedding table of a model: a row for each piece of its tokenizer.

A piece that is a word takes its vector; a part of words takes the mean of the words it stands in, weighted by how
often they occur; what stands in no word stays random. Vectors of the tokenizer's own ids (``read_ids``) match exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import InputError
from lamina.model.vectors.keyed_vectors import KeyedVectors

Floats = NDArray[np.float32]

_MARKS = ("▁", "Ġ", "##")  # SentencePiece, byte-level BPE, WordPiece
_LEAST = 2  # letters of a piece that is looked for inside words


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of ``pieces`` are words, how many parts of words; the others stay random."""

    pieces: int
    exact: int
    parts: int

    def __str__(self) -> str:
        left = self.pieces - self.exact - self.parts
        return f"of {self.pieces:,} pieces {self.exact:,} are words, {self.parts:,} parts of words, {left:,} neither"


def coverage(vectors: KeyedVectors, pieces: Sequence[str]) -> Coverage:
    """What ``embedding_table`` finds for ``pieces``."""
    found, exact = _piece_vectors(vectors, pieces)
    return Coverage(len(pieces), exact, len(found) - exact)


def embedding_table(
    vectors: KeyedVectors, pieces: Sequence[str], width: int, *, std: float = 0.02, seed: int = 0
) -> Floats:
    """A table (V, D) float32 for V ``pieces``, D = ``width``, with the standard deviation ``std``.

    Vectors wider than D are projected onto their D principal axes, narrower ones fill their share of the columns and
    leave the others random. The rows that vectors gave are centred and scaled to ``std`` as a whole, which keeps their
    angles and relative lengths; random rows are normal with ``std``.
    """
    if width < 1 or not std > 0:
        raise InputError(f"no table of width {width} and standard deviation {std}")
    random = np.random.default_rng(seed)
    table = (random.standard_normal((len(pieces), width), np.float32) * np.float32(std)).astype(np.float32)
    found, _ = _piece_vectors(vectors, pieces)
    rows = np.array(sorted(found), np.int64)
    if len(rows):
        filled = _fitted(np.stack([found[i] for i in rows.tolist()]), width)
        filled -= filled.mean(axis=0)
        spread = float(filled.std())
        if spread > 0:
            table[rows, : filled.shape[1]] = filled * np.float32(std / spread)
    return table


def _piece_vectors(vectors: KeyedVectors, pieces: Sequence[str]) -> tuple[dict[int, Floats], int]:
    """The vector of each piece that gets one, and how many are words themselves."""
    found: dict[int, Floats] = {}
    parts: dict[str, list[int]] = {}
    for i, piece in enumerate(pieces):
        form = next((f for f in _forms(piece) if f in vectors), None)
        if form is not None:
            found[i] = vectors[form]
        elif len(part := _forms(piece)[-1]) >= _LEAST:
            parts.setdefault(part, []).append(i)
    exact = len(found)
    sums = _part_sums(vectors, parts)
    for part, places in parts.items():
        if part in sums:
            for i in places:
                found[i] = sums[part]
    return found, exact


def _forms(piece: str) -> list[str]:
    """A piece as a vocabulary may have it: as it is, without its marks, and in lower case."""
    bare = piece
    for mark in _MARKS:
        bare = bare.removeprefix(mark)
    bare = bare.strip()
    return list(dict.fromkeys([piece, bare, bare.lower()]))


def _part_sums(vectors: KeyedVectors, parts: dict[str, list[int]]) -> dict[str, Floats]:
    """For each of ``parts`` that stands inside words, the mean of those words' vectors, weighted by count.

    Without counts, words are taken as Zipf has them: the n-th has the weight 1 / n.
    """
    lengths = sorted({len(part) for part in parts})
    weights = vectors.counts if vectors.counts is not None else 1 / np.arange(1, len(vectors) + 1)
    sums: dict[str, NDArray[np.float64]] = {}
    totals: dict[str, float] = {}
    for row, word in enumerate(vectors.words):
        inside = {word[i : i + n] for n in lengths for i in range(len(word) - n + 1)}
        for part in sorted(inside.intersection(parts)):
            weight = float(weights[row])
            sums[part] = sums.get(part, 0.0) + weight * vectors.vectors[row].astype(np.float64)
            totals[part] = totals.get(part, 0.0) + weight
    return {part: (total / totals[part]).astype(np.float32) for part, total in sums.items() if totals[part] > 0}


def _fitted(rows: Floats, width: int) -> Floats:
    """Rows (N, d) in at most ``width`` columns: principal axes, signs fixed so that equal input gives equal output."""
    if rows.shape[1] <= width:
        return rows.copy()
    centred = rows - rows.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    axes = axes[:, np.argsort(-values)[:width]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(width)])
    projected: Floats = (centred @ axes).astype(np.float32)
    return projected
