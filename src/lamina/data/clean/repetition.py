"""Gopher's repetition rules (Rae et al. 2021, table A1) as columns.

Differences from datatrove's filter, each on purpose. An n-gram that occurs once repeats nothing (0, not its own length:
there, a text of a dozen words is dropped for it). Every word inside a repeated n-gram counts once, as the paper says,
where the loop there steps over them n at a time. Lines and paragraphs count without the white space round them, and
blank ones not at all.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.analysis import Split, analyse, ratio
from lamina.data.clean.frames import with_columns
from lamina.kit.registry import STEPS

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)


@STEPS("repetition", kind="signal", version=2)
def repetition(batch: pa.RecordBatch, *, split: Split = "spaces") -> pa.RecordBatch:
    """Adds float64 shares from 0 to 1 (Gopher's limit in brackets), null for a text without characters (``split`` says
    what a word is, see ``analysis``):

    - ``duplicate_lines`` (0.30), ``duplicate_paragraphs`` (0.30): of those that have been there before
    - ``duplicate_line_characters`` (0.20), ``duplicate_paragraph_characters`` (0.20): their share of the characters
    - ``top_2_gram`` (0.20), ``top_3_gram`` (0.18), ``top_4_gram`` (0.16): characters of the most frequent word n-gram
      (of several, the first), each time it occurs (occurrences that overlap can reach 1, and end there)
    - ``duplicate_5_grams`` … ``duplicate_10_grams`` (0.15, 0.14, 0.13, 0.12, 0.11, 0.10): characters of the words that
      lie inside word n-grams that have been there before
    """
    import polars as pl

    from lamina.data.clean.analysis_kernels.state import CHARACTERS

    found = analyse(batch, split=split, words=None)
    characters = found.counts[:, CHARACTERS]
    columns: dict[str, NDArray[np.float64]] = {}
    for name, every, again in (
        ("line", found.line_counts, found.repeated_lines),
        ("paragraph", found.paragraph_counts, found.repeated_paragraphs),
    ):
        columns[f"duplicate_{name}s"] = ratio(again[:, 0], every)
        columns[f"duplicate_{name}_characters"] = ratio(again[:, 1], characters)
    columns |= {f"top_{n}_gram": ratio(found.grams[:, n], characters) for n in TOP}
    columns |= {f"duplicate_{n}_grams": ratio(found.grams[:, n], characters) for n in DUPLICATE}
    frame = pl.DataFrame({name: np.minimum(values, 1.0) for name, values in columns.items()})
    return with_columns(batch, frame.fill_nan(None))
