"""FineWeb's own rules (Penedo et al. 2024, section 3.6) as columns: they find lists, menus and cut-off pages.

Lines count without the white space round them, which datatrove's filter keeps.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lamina.data.clean.analysis import analyse, ratio
from lamina.data.clean.frames import with_columns
from lamina.kit.registry import STEPS


@STEPS("fineweb", kind="signal", version=1)
def fineweb(batch: pa.RecordBatch, *, short_line: int = 30) -> pa.RecordBatch:
    """Adds float64 shares (FineWeb's limit in brackets), null for a text without lines:

    - ``fineweb_punctuated_lines``: of lines that end in a mark that ends sentences in some script (≥ 0.12)
    - ``fineweb_short_lines``: of lines of at most ``short_line`` characters (≤ 0.67)
    - ``fineweb_duplicate_characters``: of characters in lines that have been there before (≤ 0.01)
    - ``fineweb_newlines_per_word``: line breaks to words and marks (≤ 0.3)
    """
    import polars as pl

    from lamina.data.clean.analysis_kernels import state as s

    found = analyse(batch, split="marks", words=None)
    counts, lines = found.counts, found.line_counts
    columns = {
        "punctuated_lines": ratio(found.per_text(found.flags & s.PUNCTUATED > 0), lines),
        "short_lines": ratio(found.per_text(found.lines[:, 2] <= short_line), lines),
        "duplicate_characters": ratio(found.repeated_lines[:, 1], counts[:, s.CHARACTERS] - counts[:, s.NEWLINES]),
        "newlines_per_word": ratio(counts[:, s.NEWLINES], counts[:, s.RUNS]),
    }
    frame = pl.DataFrame({f"fineweb_{name}": np.ascontiguousarray(values) for name, values in columns.items()})
    return with_columns(batch, frame.fill_nan(None))
