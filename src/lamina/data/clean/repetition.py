"""Gopher's repetition rules (Rae et al. 2021, table A1) as columns, computed on word hashes for a batch at once.

Two differences from datatrove's loop over each text: an n-gram that occurs once repeats nothing (0, not its own
length), and every word that lies inside a repeated n-gram counts once, where the loop steps over them n at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.frames import texts_of, with_columns
from lamina.data.clean.words import Words, extend, find_words, mix
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)
Array = NDArray[np.int64]


@STEPS("repetition", kind="signal", version=1)
def repetition(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Adds float64 shares from 0 to 1 (Gopher's limit in brackets), null for a text without characters:

    - ``duplicate_lines`` (0.30), ``duplicate_paragraphs`` (0.30): of those that have been there before
    - ``duplicate_line_characters`` (0.20), ``duplicate_paragraph_characters`` (0.20): their share of the characters
    - ``top_2_gram`` (0.20), ``top_3_gram`` (0.18), ``top_4_gram`` (0.16): characters of the most frequent word n-gram,
      each time it occurs (occurrences that overlap can reach 1, and end there)
    - ``duplicate_5_grams`` … ``duplicate_10_grams`` (0.15, 0.14, 0.13, 0.12, 0.11, 0.10): characters of the words that
      lie inside word n-grams that have been there before
    """
    import polars as pl

    texts = texts_of(batch)
    characters = texts.str.len_chars().to_numpy().astype(np.int64)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, separator in (("line", r"\n+"), ("paragraph", r"\n{2,}")):
        columns |= _parts(texts, characters, name, separator)
    columns |= _grams(find_words(texts), characters)
    return with_columns(batch, pl.DataFrame(columns).fill_nan(None).cast(pl.Float64))


def _parts(texts: pl.Series, characters: Array, name: str, separator: str) -> dict[str, NDArray[np.float64]]:
    """Shares of repeated lines or paragraphs."""
    import polars as pl

    parts = (
        pl.DataFrame({"text": texts.str.replace_all(separator, "\x1e").str.split("\x1e")})
        .with_row_index("owner")
        .explode("text")
        .with_columns(part=pl.col("text").str.strip_chars())
        .filter(pl.col("part") != "")
        .with_columns(again=~pl.struct("owner", "part").is_first_distinct(), size=pl.col("part").str.len_chars())
    )
    rows = len(texts)
    owners, again = parts["owner"].to_numpy(), parts["again"].to_numpy()
    every = np.bincount(owners, minlength=rows)
    repeated = np.bincount(owners, weights=again, minlength=rows)
    size = np.bincount(owners, weights=again * parts["size"].to_numpy().astype(np.int64), minlength=rows)
    return {f"duplicate_{name}s": _ratio(repeated, every), f"duplicate_{name}_characters": _ratio(size, characters)}


def _grams(words: Words, characters: Array) -> dict[str, NDArray[np.float64]]:
    """Shares of repeated n-grams. Only where an n-gram is repeated can one that begins with it be."""
    import polars as pl

    rows, owners = len(characters), words.owners
    ends = np.repeat(words.ends[1:], words.counts)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(words.lengths)])
    starts = np.arange(len(owners), dtype=np.int64)
    grams = extend(mix(owners.astype(np.uint64)), words.hashes)  # the text is part of the key: repeats are its own
    columns: dict[str, NDArray[np.float64]] = {}
    for n in range(2, DUPLICATE[-1] + 1):
        inside = starts + n <= ends[starts]
        starts = starts[inside]
        grams = extend(grams[inside], words.hashes[starts + n - 1])
        key = pl.Series(mix(grams), dtype=pl.UInt64)
        repeated = key.is_duplicated().to_numpy()
        if n in DUPLICATE:
            again = starts[~key.is_first_distinct().to_numpy()]
            columns[f"duplicate_{n}_grams"] = _ratio(_covered(again, n, owners, words.lengths, rows), characters)
        starts, grams = starts[repeated], grams[repeated]
        if n in TOP:
            sizes = before[starts + n] - before[starts] + (n - 1)
            columns[f"top_{n}_gram"] = _ratio(_most(grams, owners[starts], sizes, rows), characters)
    return columns


def _most(grams: NDArray[np.uint64], owners: Array, sizes: Array, rows: int) -> NDArray[np.float64]:
    """Characters of each text's most frequent n-gram (of several, the longest)."""
    import polars as pl

    packed = (pl.len().cast(pl.Int64) * 2**32 + pl.col("size").first()).alias("packed")  # counts compare before sizes
    frame = pl.DataFrame({"gram": grams, "owner": owners, "size": sizes})
    top = frame.group_by("owner", "gram").agg(packed).group_by("owner").agg(pl.col("packed").max())
    values = top["packed"].to_numpy()
    most = np.zeros(rows)
    most[top["owner"].to_numpy()] = (values >> 32) * (values & (2**32 - 1))
    return most


def _covered(again: Array, n: int, owners: Array, lengths: Array, rows: int) -> NDArray[np.float64]:
    """Characters of the words that lie inside the n-grams which begin at ``again``."""
    edges = np.zeros(len(owners) + 1, np.int64)
    np.add.at(edges, again, 1)
    np.add.at(edges, again + n, -1)
    inside = np.cumsum(edges[:-1]) > 0
    return np.bincount(owners[inside], weights=lengths[inside], minlength=rows).astype(np.float64)


def _ratio(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(np.asarray(part, np.float64) / np.asarray(whole, np.float64), 1.0)
