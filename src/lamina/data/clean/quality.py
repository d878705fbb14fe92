"""Gopher's quality rules (Rae et al. 2021, appendix A1.1) as columns: what is kept is decided in the stack file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lamina.data.clean.frames import texts_of, with_columns
from lamina.data.clean.words import find_words
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_BULLET = r"^\s*[-*•‣●▪–·]\s"


@STEPS("quality", kind="signal", version=1)
def quality(batch: pa.RecordBatch, *, stop_words: tuple[str, ...] = STOP_WORDS) -> pa.RecordBatch:
    """Adds, for each text (words lie between white space; a text without words has null shares):

    - ``characters``, ``words`` (int64)
    - ``mean_word_length`` (float64, characters; Gopher keeps 3-10)
    - ``symbols_per_word``: hashes and ellipses to words (≤ 0.1)
    - ``alphabetic_words``: share of words with a letter (≥ 0.8)
    - ``bullet_lines``, ``ellipsis_lines``: share of lines that begin as a list item, end in an ellipsis (≤ 0.9, ≤ 0.3)
    - ``stop_words`` (int64): how many different ones of ``stop_words`` occur (≥ 2)
    """
    import polars as pl

    texts = texts_of(batch)
    words = find_words(texts)
    counts = words.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(words.owners, weights=words.lengths, minlength=len(counts)) / counts
    frame = pl.DataFrame({"text": texts, "words": counts, "mean_word_length": mean})
    text, total = pl.col("text"), pl.col("words")
    lines = text.str.count_matches(r"(?m)^.*\S.*$")
    lower = text.str.to_lowercase()
    columns = frame.select(
        characters=text.str.len_chars().cast(pl.Int64),
        words=total,
        mean_word_length=pl.col("mean_word_length").fill_nan(None),
        symbols_per_word=_share(text.str.count_matches(r"#|\.\.\.|…"), total),
        alphabetic_words=_share(text.str.count_matches(r"\S*\p{L}\S*"), total),
        bullet_lines=_share(text.str.count_matches("(?m)" + _BULLET), lines),
        ellipsis_lines=_share(text.str.count_matches(r"(?m)(?:\.\.\.|…)[ \t]*$"), lines),
        stop_words=pl.sum_horizontal(
            pl.lit(0, dtype=pl.Int64), *(lower.str.contains(rf"\b{w}\b").cast(pl.Int64) for w in stop_words)
        ),
    )
    return with_columns(batch, columns)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    import polars as pl

    return pl.when(whole > 0).then(part / whole)
