"""Lines that many documents of a source have: menus, footers, disclaimers, running titles. Found, then cut.

[[data.steps]]
pass = "lines"
share = 0.1
[[data.steps]]
transform = "cut_lines"
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import Batches
from lamina.data.clean.frames import DETAIL, with_columns
from lamina.data.duplicates.lines import MARKS, frequent, pieces, save_frequent
from lamina.data.duplicates.sketch import utf8
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS


@STEPS("lines", kind="pass", version=1)
def lines(
    batches: Batches,
    *,
    share: float = 0.1,
    count: int = 10,
    words: int = 2,
    paragraphs: bool = False,
    figures: bool = True,
) -> pa.Table:
    """For each document ``boilerplate_lines``, hashes of those of its lines that more than ``count`` documents of its
    source and more than this ``share`` of them have, and ``boilerplate_share``, the part of its bytes that they take.

    Lines are compared by their words: case, accents, punctuation and emoji make no difference, nor do figures where
    ``figures`` is false ("Page 3 of 12"). Lines with fewer than ``words`` words are not judged. ``paragraphs``: what
    lies between blank lines, in place of lines. Nothing is dropped; ``cut_lines`` takes the lines out, and a Decide can
    look at the share.
    """
    if not 0 <= share <= 1 or count < 1 or words < 1:
        raise ConfigError(f"share = {share} is from 0 to 1; count = {count} and words = {words} are at least 1")
    told = {"paragraphs": paragraphs, "figures": figures, "words": words}
    found = frequent(batches.map("lamina.data.duplicates.lines:count", told), share=share, count=count)
    marked: list[pa.Table] = []
    if found:
        table = batches.work / "frequent"
        save_frequent(found, table)
        folders = batches.map("lamina.data.duplicates.lines:mark", {**told, "table": str(table)})
        marked = [pq.read_table(folder / "marks.parquet", schema=MARKS) for folder in folders]
    rows = _once(pa.concat_tables([MARKS.empty_table(), *marked]))
    nothing = pa.nulls(rows.num_rows, pa.string())
    return rows.append_column("drop", nothing).append_column("detail", nothing)


@STEPS("cut_lines", kind="transform", version=1)
def cut_lines(
    batch: pa.RecordBatch,
    *,
    where: Literal["anywhere", "edges"] = "anywhere",
    paragraphs: bool = False,
    figures: bool = True,
) -> pa.RecordBatch:
    """``text`` without the lines that the pass ``lines`` found to be boilerplate; ``where = "edges"``: only headers and
    footers, between which and the beginning or end is nothing but others of them and lines without a word.

    ``paragraphs`` and ``figures`` as in the pass. A text of nothing but boilerplate is left empty: no text.
    """
    import polars as pl

    from lamina.data.duplicates.lines_kernels import without

    if "boilerplate_lines" not in batch.schema.names:
        raise ConfigError("there is no column 'boilerplate_lines'", hint="put the pass 'lines' before 'cut_lines'")
    data, offsets = utf8(batch.column("text"))
    found = pieces(data, offsets, paragraphs=paragraphs, figures=figures)
    gone, ends = _lists(batch.column("boilerplate_lines"))
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    places, cut = np.zeros(len(offsets), np.int64), np.zeros(batch.num_rows, np.int64)
    without(data, found.hashes, found.bounds, found.counts, gone, ends, where == "edges", out, places, cut)
    if not cut.any():
        return batch
    texts = pa.LargeStringArray.from_buffers(batch.num_rows, pa.py_buffer(places), pa.py_buffer(out))
    frame = pl.DataFrame({"old": pl.Series(batch.column("text")), "new": pl.Series(texts), "cut": cut})
    tidy = pl.col("new").str.strip_chars("\n").str.replace_all(r"\n{3,}", "\n\n")
    detail = pl.format('{{"cut lines":{}}}', "cut")
    changed = pl.col("cut") > 0
    columns = frame.select(
        pl.when(changed).then(tidy).otherwise("old").alias("text"), pl.when(changed).then(detail).alias(DETAIL)
    )
    return with_columns(batch, columns)


def _once(rows: pa.Table) -> pa.Table:
    """One row for each id: steps join by it. Documents that share one share their lines."""
    import polars as pl

    frame = pl.DataFrame(rows)
    if not frame["id"].is_duplicated().any():
        return rows
    every = pl.col("boilerplate_lines").list.explode().drop_nulls().unique().sort()
    return frame.group_by("id").agg(every, pl.col("boilerplate_share").max()).sort("id").to_arrow().cast(MARKS)


def _lists(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Values of a column of lists, and where those of each row begin and end (N + 1); null is empty."""
    sizes = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.uint64)
    return values, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
