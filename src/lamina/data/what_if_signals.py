"""The signals and verdicts that a corpus keeps, opened for trying other thresholds: only the columns that are asked
for are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.units import VERDICT
from lamina.kit.errors import ConfigError, InputError

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 131_072  # documents among which examples are looked for
BYTES_PER_TOKEN = 4.0  # of English text with the vocabularies of today's models; others differ by half
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_HINT = "lamina data build makes it anew"
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How tokens were counted: ``bytes_per_token``, and in words where that comes from."""

    bytes_per_token: float
    words: str


@dataclass(frozen=True, slots=True)
class Measured:
    """N documents: a frame with the columns asked for, sizes, and tokens of each (measured or from its bytes)."""

    frame: pl.DataFrame
    characters: NDArray[np.int64]
    token_counts: NDArray[np.int64]
    tokens: Tokens
    sources: tuple[tuple[str, ...], NDArray[np.int64]]  # names, and the place of each document's among them

    def __len__(self) -> int:
        return int(self.frame.height)

    def source_of(self, places: NDArray[np.int64]) -> list[str]:
        """The sources of documents."""
        names, codes = self.sources
        return [names[code] for code in codes[places].tolist()]


@dataclass(frozen=True)
class Signals:
    """``files``: one for each phase; ``decides``: the steps that decide, with the phase of each."""

    corpus: Path
    files: tuple[Path, ...]
    decides: tuple[dict[str, Any], ...]

    @cached_property
    def columns(self) -> dict[str, int]:
        """The signals that can be asked for, and the phase that measured each (the first one that has it)."""
        found: dict[str, int] = {}
        for number, file in enumerate(self.files):
            for name in pq.read_schema(file).names:
                found.setdefault(name, number)
        return found

    def read(self, names: Sequence[str] = (), tokens: Path | None = None) -> Measured:
        """All documents with the verdicts of all Decides and the signals ``names``."""
        import polars as pl

        verdicts = {VERDICT + step["label"]: step["phase"] for step in self.decides}
        frame = self._joined({**verdicts, **{name: self.columns[name] for name in names}}, ids=tokens is not None)
        known = frame["source"].unique().sort()
        places = frame["source"].cast(pl.Enum(known)).to_physical().to_numpy().astype(np.int64)
        sources = tuple(str(name) for name in known), places
        sizes = frame["_bytes"].fill_null(0).to_numpy()
        counts, told = (None, None) if tokens is None else _of_shards(frame, sizes, tokens)
        if counts is None or told is None:
            counts = np.rint(sizes / BYTES_PER_TOKEN).astype(np.int64)
            told = Tokens(
                bytes_per_token=BYTES_PER_TOKEN,
                words=f"estimated at {BYTES_PER_TOKEN:g} bytes a token: there are no token shards yet",
            )
        return Measured(frame, frame["_characters"].fill_null(0).to_numpy(), counts, told, sources)

    def sample(self, names: Sequence[str]) -> tuple[NDArray[np.int64], pl.DataFrame]:
        """Some documents, from all over the corpus: their places, and their signals ``names`` of the first phase."""
        import polars as pl

        with pq.ParquetFile(self.files[0]) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
            count = max(1, int(SAMPLE // max(sizes, default=1)))
            groups = np.unique(np.linspace(0, max(len(sizes) - 1, 0), count).astype(int)).tolist() if sizes else []
            frame = pl.from_arrow(file.read_row_groups(groups, columns=list(names)))
        places = [np.arange(begins[group], begins[group + 1]) for group in groups]
        assert isinstance(frame, pl.DataFrame)
        return np.concatenate([np.zeros(0, np.int64), *places]), frame

    def ids(self, places: NDArray[np.int64]) -> pl.Series:
        """The ids of documents."""
        import polars as pl

        return pl.read_parquet(self.files[0], columns=["id"])["id"].gather(places)

    def _joined(self, columns: Mapping[str, int], *, ids: bool) -> pl.DataFrame:
        """The columns, each of its phase; the rows are those of the first phase."""
        import polars as pl

        later = sorted({phase for phase in columns.values() if phase})
        own = [name for name, phase in columns.items() if not phase]
        base = ["source", "_characters", "_bytes", *(["id"] if ids or later else [])]
        frame = pl.read_parquet(self.files[0], columns=list(dict.fromkeys([*base, *own])))
        for phase in later:
            names = [name for name, place in columns.items() if place == phase and name not in frame.columns]
            other = pl.read_parquet(self.files[phase], columns=["id", *names]).unique("id", keep="first")
            frame = frame.join(other, on="id", how="left", maintain_order="left")
        return frame


class Verdicts:
    """What each Decide says: true where it keeps a document or cannot tell. ``failed`` (N,): how many say no."""

    def __init__(self, measured: Measured, decides: Sequence[Mapping[str, Any]]) -> None:
        self._measured = measured
        self._said: dict[str, Bools] = {}
        self.undecided: dict[str, int] = {}
        for step in decides:
            column = measured.frame[VERDICT + step["label"]]
            # Of a phase that a document did not come to there is no verdict, which is not to be undecided.
            self.undecided[step["label"]] = 0 if step["phase"] else column.null_count()
            self._said[step["label"]] = _filled(column)
        self.failed = self._count()

    def __getitem__(self, label: str) -> Bools:
        return self._said[label]

    def kept(self) -> Bools:
        """Documents that no rule drops."""
        none: Bools = self.failed == 0
        return none

    def changed(self, steps: Sequence[Mapping[str, Any]]) -> Verdicts:
        """The verdicts with those of the steps whose ``now`` is another expression."""
        other = object.__new__(Verdicts)
        other._measured, other._said, other.undecided = self._measured, dict(self._said), dict(self.undecided)
        for step in steps:
            if step["now"] != step["expression"]:
                column = verdict(self._measured.frame, step["now"], step["label"])
                other.undecided[step["label"]] = 0 if step["phase"] else column.null_count()
                other._said[step["label"]] = _filled(column)
        other.failed = other._count()
        return other

    def _count(self) -> NDArray[np.int16]:
        failed = np.zeros(len(self._measured), np.int16)
        for said in self._said.values():
            failed += ~said
        return failed


def open_signals(corpus: Path) -> Signals:
    """The signals of a corpus. Raises ``InputError`` where it keeps none."""
    file = corpus / "signals" / "steps.json"
    if not file.exists():
        raise InputError("this corpus keeps no signals", where=str(corpus), hint=_HINT)
    steps = orjson.loads(file.read_bytes())["steps"]
    count = 1 + max(step["phase"] for step in steps)
    files = tuple(corpus / "signals" / f"phase-{number}.parquet" for number in range(count))
    here = {name for file in files for name in pq.read_schema(file).names}
    decides = tuple(s for s in steps if s["kind"] == "decide" and VERDICT + s["label"] in here)
    return Signals(corpus, files, decides)


def columns_of(expressions: Sequence[str], known: Mapping[str, int]) -> list[str]:
    """The columns that expressions name."""
    words = [word for expression in expressions for word in _NAME.findall(expression)]
    return [word for word in dict.fromkeys(words) if word in known]


def verdict(frame: pl.DataFrame, expression: str, label: str) -> pl.Series:
    """What an expression says of each document. Raises ``ConfigError`` where it cannot be decided."""
    import polars as pl

    if not expression.strip():
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    try:
        found = frame.select(v=pl.sql_expr(expression).cast(pl.Boolean))["v"]
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        what = str(error).split("\n")[0]
        raise ConfigError(f"'{expression}' cannot be decided: {what}", where=label) from None
    if len(found) != frame.height:
        raise ConfigError(f"'{expression}' gives one verdict for many documents", where=label)
    return found


def _filled(column: pl.Series) -> Bools:
    said: Bools = column.fill_null(True).to_numpy()
    return said


def _of_shards(
    frame: pl.DataFrame, sizes: NDArray[np.int64], tokens: Path
) -> tuple[NDArray[np.int64] | None, Tokens | None]:
    """The tokens of documents that are in shards, of others by the bytes of a token there; None of empty shards."""
    import polars as pl

    ends = np.fromfile(tokens / "tokens.index", "<u8").astype(np.int64)
    rows = pl.read_parquet(tokens / "documents.parquet", columns=["id", "start"])
    counted = rows.select("id", _tokens=pl.Series(ends) - pl.col("start")).group_by("id").agg(pl.col("_tokens").sum())
    found = frame.select("id").join(counted, on="id", how="left", maintain_order="left")["_tokens"]
    there = found.is_not_null().to_numpy()
    total = int(found.sum() or 0)
    if not total:
        return None, None
    ratio = float(sizes[there].sum()) / total
    counts = np.where(there, found.fill_null(0).to_numpy(), np.rint(sizes / max(ratio, 1e-9))).astype(np.int64)
    words = (
        f"measured in the token shards; of documents that are not there estimated at their {ratio:.3g} bytes a token"
    )
    return counts, Tokens(bytes_per_token=ratio, words=words)
