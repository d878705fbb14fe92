"""Gopher's quality rules (Rae et al. 2021, appendix A1.1) as columns: what is kept is decided in the stack file.

Differences from datatrove's filter, each on purpose. Blank lines count neither as lines nor as lines without a bullet.
A list item begins with any common bullet and a space, not only with • or -. Stop words count in any case ("The"), and
are those of the row's language. ``symbols_per_word`` adds both signs up; ``hashes_per_word`` and ``ellipses_per_word``
are what Gopher's rule names. The share of words with a letter is of all words and marks, as there, when ``split`` is
"marks".
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lamina.data.clean.analysis import Split, analyse, ratio
from lamina.data.clean.frames import with_columns
from lamina.data.clean.stopwords import GOPHER
from lamina.kit.registry import STEPS

STOP_WORDS = GOPHER


@STEPS("quality", kind="signal", version=2)
def quality(batch: pa.RecordBatch, *, stop_words: tuple[str, ...] = (), split: Split = "spaces") -> pa.RecordBatch:
    """Adds, for each text (``split`` says what a word is, see ``analysis``; a text without words has null shares):

    - ``characters``, ``words`` (int64; with marks split off, those that are more than marks)
    - ``mean_word_length`` (float64, characters; Gopher keeps 3-10), of words in scripts that put spaces between them;
      null where most words are single characters of other scripts
    - ``symbols_per_word``, and its parts ``hashes_per_word``, ``ellipses_per_word`` (≤ 0.1)
    - ``alphabetic_words``: share of words with a letter (≥ 0.8)
    - ``bullet_lines``, ``ellipsis_lines``: share of lines that begin as a list item, end in an ellipsis (≤ 0.9, ≤ 0.3)
    - ``stop_words`` (int64): how many different stop words occur (≥ 2): those of ``stop_words``, else of the row's
      ``language``, for English and unknown languages Gopher's eight; null where the language has no table
    """
    import polars as pl

    from lamina.data.clean.analysis_kernels import state as s

    found = analyse(batch, split=split, words=stop_words)
    counts = found.counts
    runs, lines = counts[:, s.RUNS], found.line_counts
    words, lengths = (s.WORDS, s.WORD_LENGTHS) if split == "marks" else (s.RUNS, s.RUN_LENGTHS)
    alone = counts[:, s.ALONES]
    mean = ratio(counts[:, lengths] - alone, counts[:, words] - alone)
    mean[2 * alone > counts[:, words]] = np.nan
    columns = {
        "characters": counts[:, s.CHARACTERS],
        "words": counts[:, words],
        "mean_word_length": mean,
        "symbols_per_word": ratio(counts[:, s.HASHES] + counts[:, s.ELLIPSES], runs),
        "hashes_per_word": ratio(counts[:, s.HASHES], runs),
        "ellipses_per_word": ratio(counts[:, s.ELLIPSES], runs),
        "alphabetic_words": ratio(counts[:, s.LETTERED], runs),
        "bullet_lines": ratio(found.per_text(found.flags & s.BULLETED > 0), lines),
        "ellipsis_lines": ratio(found.per_text(found.flags & s.DOTTED > 0), lines),
    }
    frame = pl.DataFrame({name: np.ascontiguousarray(values) for name, values in columns.items()})
    stops = pl.Series("stop_words", found.stop_words)
    return with_columns(batch, frame.fill_nan(None).with_columns(pl.when(stops >= 0).then(stops).alias("stop_words")))
