"""C4's rules (Raffel et al. 2020, section 2.2) as columns, and as a transform that drops the lines they reject.

A line stays when no word has over 1,000 characters, it ends in a mark of punctuation or a closing quotation mark of any
script (the reference code knows . ? ! " ' alone) and not in "...", it has at least three words, and neither
"javascript" nor a phrase about policies or cookies. A page goes for a line that would stay but has "lorem ipsum" or a
curly bracket, and when the lines that stay have fewer than five sentences. Notes of sources ("[12]", "[edit]",
"[citation needed]") do not count. FineWeb uses C4 without the rule on punctuation.

Sentences are counted over words and marks: one ends at a mark such as . ? ! that stands by itself, and the next begins
with what is no punctuation (as in spaCy's sentencizer, which datatrove uses; the paper used nltk's punkt).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lamina.data.clean.analysis import Analysis, analyse, ratio
from lamina.data.clean.frames import with_columns
from lamina.kit.registry import STEPS

_FEWEST_WORDS, _LONGEST_WORD = 3, 1000


@STEPS("c4", kind="signal", version=2)
def c4(batch: pa.RecordBatch, *, terminal: bool = True) -> pa.RecordBatch:
    """Adds, for each text (``terminal``: lines must end in punctuation; shares are null without lines):

    - ``c4_sentences``, ``c4_characters`` (int64): of the lines that stay (C4 keeps ≥ 5 sentences)
    - ``c4_kept_lines``: share of lines that stay
    - ``c4_curly_bracket``, ``c4_lorem_ipsum`` (bool): in a line that would stay (C4 drops the page)
    - ``c4_terminal_lines``, ``c4_short_lines``, ``c4_long_word_lines``, ``c4_javascript_lines``, ``c4_policy_lines``:
      share of lines that end in punctuation, have fewer than three words, a word of over 1,000 characters, the word
      javascript, a phrase about policies or cookies
    """
    import polars as pl

    from lamina.data.clean.analysis_kernels.state import CLOSED

    found = analyse(batch, split="marks", words=None)
    rules = _Lines(found, terminal)
    lines = found.line_counts
    shares = {
        "kept": rules.kept,
        "terminal": (found.flags & CLOSED) > 0,
        "short": rules.short,
        "long_word": rules.long_word,
        "javascript": rules.javascript,
        "policy": rules.policy,
    }
    columns = {f"c4_{name}_lines": ratio(found.per_text(which), lines) for name, which in shares.items()}
    facts = {
        "c4_sentences": found.per_text(found.lines[:, 5] * rules.kept),
        "c4_characters": found.per_text(found.lines[:, 2] * rules.kept),
        "c4_curly_bracket": found.per_text(rules.curly_bracket) > 0,
        "c4_lorem_ipsum": found.per_text(rules.lorem_ipsum) > 0,
    }
    return with_columns(batch, pl.DataFrame(facts | columns).fill_nan(None))


@STEPS("c4_lines", kind="transform", version=1)
def c4_lines(batch: pa.RecordBatch, *, terminal: bool = True) -> pa.RecordBatch:
    """Drops the lines that C4 rejects (``terminal``: also those that do not end in punctuation) and notes of sources in
    the others, trims white space round lines, and drops blank lines. A text of which nothing stays becomes null."""
    import polars as pl

    from lamina.data.clean.analysis_kernels.edit import kept_lines

    found = analyse(batch, split="marks", words=None)
    rules = _Lines(found, terminal)
    ends = np.ascontiguousarray(found.ends[:, 1])
    data, offsets = kept_lines(found.data, found.lines, ends, rules.kept)
    texts = pa.LargeStringArray.from_buffers(len(found), pa.py_buffer(offsets), pa.py_buffer(data))
    frame = pl.DataFrame({"text": pl.Series(pl.from_arrow(texts))})
    return with_columns(batch, frame.with_columns(pl.when(pl.col("text") != "").then(pl.col("text"))))


class _Lines:
    """What holds of each line, (L,) of bool."""

    def __init__(self, found: Analysis, terminal: bool) -> None:
        from lamina.data.clean.analysis_kernels import phrases
        from lamina.data.clean.analysis_kernels.state import BRACE, CLOSED, PHRASES

        def has(bit: int) -> NDArray[np.bool_]:
            return (found.flags & bit) > 0

        self.long_word = found.lines[:, 4] > _LONGEST_WORD
        self.short = found.lines[:, 3] < _FEWEST_WORDS
        self.javascript = has(phrases.SCRIPT << PHRASES)
        self.policy = has(phrases.POLICY << PHRASES)
        good = ~self.long_word & ~self.short
        if terminal:
            good &= has(CLOSED)
        self.lorem_ipsum = good & has(phrases.LOREM << PHRASES)
        good = good & ~self.javascript & ~self.lorem_ipsum
        self.curly_bracket = good & has(BRACE)
        self.kept = good & ~self.policy & ~self.curly_bracket
