"""Documents at the border of a rule: those on each side whose signals come nearest to its thresholds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.what_if_signals import Measured, Signals, Verdicts, columns_of

if TYPE_CHECKING:
    import polars as pl

SHOWN = 5  # documents on each side
CANDIDATES = 20  # of which those are shown whose text is kept
TEXT = 400  # characters of a text that are shown
_NUMBER = r"-?\d+(?:\.\d+)?"
_CASE = r"CASE\s+WHEN\s.+?\sEND"
_COMPARISON = re.compile(rf"([A-Za-z_]\w*)\s*(?:<=|>=|<|>)\s*({_NUMBER}|{_CASE})", re.IGNORECASE | re.DOTALL)
_BETWEEN = re.compile(rf"([A-Za-z_]\w*)\s+BETWEEN\s+({_NUMBER})\s+AND\s+({_NUMBER})", re.IGNORECASE)
Border = dict[str, tuple[Mapping[str, Any], ...]]


def thresholds(expression: str, known: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The comparisons of an expression: column and, as an expression, what it is compared with.

    >>> thresholds(
    ...     "words BETWEEN 5 AND 9 AND share <= CASE WHEN a = 'b' THEN 1.0 ELSE 0.5 END", {"words": 0, "share": 0}
    ... )
    [('words', '5'), ('words', '9'), ('share', "CASE WHEN a = 'b' THEN 1.0 ELSE 0.5 END")]
    """
    found = [(name, limit) for name, *limits in _BETWEEN.findall(expression) for limit in limits]
    found += [(name, limit) for name, limit in _COMPARISON.findall(expression)]
    return [(name, limit) for name, limit in found if name in known]


def borders(
    signals: Signals, measured: Measured, steps: Sequence[Mapping[str, Any]], after: Verdicts, changed: Sequence[bool]
) -> list[Border]:
    """For each step the documents nearest to its thresholds, "lost" and "kept"; of rules that lose nothing none.

    Of rules that were changed these are the nearest of all, of others the nearest of a sample.
    """
    limits = [thresholds(step["now"], signals.columns) for step in steps]
    wanted = [
        bool(limit) and (new or not after[step["label"]].all())
        for limit, step, new in zip(limits, steps, changed, strict=True)
    ]
    old = [step["now"] for step, want, new in zip(steps, wanted, changed, strict=True) if want and not new]
    names = [name for name in columns_of(old, signals.columns) if not signals.columns[name]]
    places, some = signals.sample(names) if names else (np.zeros(0, np.int64), None)
    found: list[dict[str, list[tuple[int, dict[str, Any]]]]] = []
    for step, limit, want, new in zip(steps, limits, wanted, changed, strict=True):
        frame = measured.frame if new else some
        if not want or frame is None or any(name not in frame.columns for name, _ in limit):
            found.append({})
            continue
        where = None if new else places
        kept = after[step["label"]] if where is None else after[step["label"]][where]
        far, columns = _distances(frame, limit), list(dict.fromkeys(name for name, _ in limit))
        sides = {}
        for side, which in (("lost", ~kept), ("kept", kept)):
            near = _nearest(far, which)
            rows = frame.select(columns)[near].iter_rows(named=True)
            sides[side] = list(zip((near if where is None else where[near]).tolist(), rows, strict=True))
        found.append(sides)
    return _named(signals, measured, found)


def _named(
    signals: Signals, measured: Measured, found: Sequence[Mapping[str, list[tuple[int, dict[str, Any]]]]]
) -> list[Border]:
    """The documents at these places by their names: id, source, signals."""
    places = np.unique([place for sides in found for rows in sides.values() for place, _ in rows]).astype(np.int64)
    if not len(places):
        return [{} for _ in found]
    names = zip(signals.ids(places), measured.source_of(places), strict=True)
    known = dict(zip(places.tolist(), ({"id": id, "source": source} for id, source in names), strict=True))
    return [{side: tuple({**known[p], **row} for p, row in rows) for side, rows in sides.items()} for sides in found]


def _distances(frame: pl.DataFrame, limits: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """How far each document is from the nearest of some thresholds; infinite where that cannot be said."""
    import polars as pl

    far = frame.select(pl.min_horizontal(_distance(name, text) for name, text in limits)).to_series()
    distances: NDArray[np.float32] = far.cast(pl.Float32).fill_null(np.inf).fill_nan(np.inf).to_numpy()
    return distances


def _distance(name: str, text: str) -> pl.Expr:
    """How far a signal is from a threshold, relative to the threshold."""
    import polars as pl

    limit = pl.sql_expr(text).cast(pl.Float64)
    return (pl.col(name).cast(pl.Float64) - limit).abs() / pl.max_horizontal(limit.abs(), pl.lit(1e-9))


def _nearest(distance: NDArray[np.float32], side: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The places of the nearest on a side, the nearest first."""
    rows = np.flatnonzero(side & np.isfinite(distance))
    if len(rows) > CANDIDATES:
        rows = rows[np.argpartition(distance[rows], CANDIDATES)[:CANDIDATES]]
    return rows[np.lexsort((rows, distance[rows]))]


def with_texts(corpus: Path, found: Sequence[Border]) -> list[Border]:
    """The borders with the beginnings of texts, documents whose text is kept before others, ``SHOWN`` on a side."""
    ids = {row["id"] for sides in found for rows in sides.values() for row in rows}
    texts = texts_of(corpus, sorted(ids))
    out: list[Border] = []
    for sides in found:
        shown = {
            side: sorted(rows, key=lambda row: row["id"] not in texts)[:SHOWN]  # a stable sort: the nearest first
            for side, rows in sides.items()
        }
        out.append({s: tuple({**row, "text": texts.get(row["id"])} for row in rows) for s, rows in shown.items()})
    return out


def texts_of(corpus: Path, ids: Sequence[str], *, characters: int | None = TEXT) -> dict[str, str]:
    """The beginnings (None: all) of documents that are kept: of those in the corpus, of dropped ones that are samples.

    Only the row groups that they lie in are read.
    """
    import polars as pl

    found: dict[str, str] = {}
    wanted = pl.Series(ids, dtype=pl.String).unique().implode()
    for place in [*sorted((corpus / "data").glob("*.parquet")), corpus / "dropped.parquet"]:
        if not place.exists():
            continue
        rows = pl.read_parquet(place, columns=["id"])["id"].is_in(wanted).arg_true().to_numpy()
        with pq.ParquetFile(place) as file:
            ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)], dtype=np.int64)
            groups = np.searchsorted(ends, rows, side="right")
            for group in np.unique(groups).tolist():
                table = file.read_row_group(group, columns=["id", "text"])
                some = table.take(rows[groups == group] - (ends[group] - table.num_rows))
                texts = zip(some["id"].to_pylist(), some["text"].to_pylist(), strict=True)
                found |= {id: text[:characters] for id, text in texts if text is not None}
    return found
