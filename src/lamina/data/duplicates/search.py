"""From sketches on disk to verdicts: exact copies, buckets band by band, measured likeness, stars.

Rows are documents, those of indexes before those of the units; ranks are rows in the order of keeping, the best first.
Memory a document: 60 bytes and the id, 250 where it shares a bucket; sets lie in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.contracts.corpus import Batches
from lamina.data.duplicates.index import check_index
from lamina.data.duplicates.sets import Sets, collect_sets
from lamina.data.duplicates.sketch import Scheme, read_columns

if TYPE_CHECKING:
    import polars as pl

KEEPERS = 32  # of one bucket that a document is measured against: what keeps huge buckets linear
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for; see ``lamina.data.clean.duplicates``. ``reuse``: an index with sketches of unchanged texts;
    ``earlier``: the index of the build before, whose documents count as known."""

    threshold: float
    related: float
    keep: str
    licenses: tuple[str, ...] = ()
    against: tuple[Path, ...] = ()
    earlier: Path | None = None
    reuse: Path | None = None
    scheme: Scheme = field(default_factory=Scheme)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Verdicts by row: ``keeper`` (the row itself where it is kept), ``likeness`` to it, ``same`` (equal texts),
    ``cluster`` (a row that stands for it). ``measured``: pairs whose sets were compared."""

    documents: pl.DataFrame  # id, source, cluster (of an index), folder
    known: int  # rows of indexes, the first
    departed: NDArray[np.bool_] | None  # of the earlier index: documents that are not there any more
    order: Ints  # rows, the best first
    keeper: Ints
    likeness: NDArray[np.float64]
    same: NDArray[np.bool_]
    cluster: Ints
    measured: int
    column: Callable[[str], NDArray[Any]]  # an array of the sketches (see ``sketch``), by row


def search(batches: Batches, wanted: Search) -> tuple[Found, list[Path]]:
    """Verdicts on all documents, and the units' folders of sketches."""
    for folder in wanted.against:
        check_index(folder, wanted.scheme)
    payload = {"scheme": asdict(wanted.scheme), "keep": wanted.keep, "licenses": list(wanted.licenses)}
    if wanted.reuse is not None:
        payload["known"] = str(wanted.reuse)
    units = batches.map("lamina.data.duplicates.sketch:sketch", payload)
    looking = _Looking(batches, wanted, units)
    looking.exact()
    looking.near()
    return looking.found(), units


class _Looking:
    """The state of one search, by rank."""

    def __init__(self, batches: Batches, wanted: Search, units: Sequence[Path]) -> None:
        self._batches, self._wanted = batches, wanted
        self._extra = [*wanted.against, *([wanted.earlier] if wanted.earlier else [])]
        self._folders = [*self._extra, *units]
        self._documents = _documents(self._folders)
        self._departed: NDArray[np.bool_] | None = None  # columns are read whole until it is known
        self._departed, settled = self._earlier(len(wanted.against))
        self._known = sum(_size(folder) for folder in wanted.against)
        if self._departed is not None:
            self._known += int(self._departed.sum())
        facts = self._column("facts")
        old = (np.arange(len(facts)) < self._known) | settled
        order = _order(self._documents, old, facts[:, 1], self._column("raw"), wanted.keep)
        self._order, self._old = order, old[order]
        self._words = self._column("words")[order]
        self._grams = facts[order, 0]
        twice = self._documents["id"].is_duplicated().to_numpy()[order] & (order >= self._known)
        # Nothing is dropped for what it shares with others of its own id, or for having no text.
        self._stays = self._old | twice | (facts[order, 1] == 0)
        self._keeper = np.arange(len(order))
        self._likeness = np.ones(len(order))
        self._cluster = np.arange(len(order))
        self._measured = 0

    def _earlier(self, number: int) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_]]:
        """Which documents of the earlier index are not there any more, and which rows are documents of it as they were.

        Such a document stands for its entry, and so does one that changed: both entries are left out.
        """
        import polars as pl

        rows = self._documents
        if self._wanted.earlier is None:
            return None, np.zeros(rows.height, np.bool_)
        place, words = rows["folder"].to_numpy(), self._column("words")
        now = rows.with_columns(a=pl.Series(words[:, 0]), b=pl.Series(words[:, 1])).with_row_index("row")
        before = now.filter(pl.col("folder") == number).select("id", "a", "b", was="cluster").unique("id", keep="first")
        mine = now.filter(pl.col("folder") > number)
        same = mine.join(before, on=["id", "a", "b"], how="inner", nulls_equal=True)
        departed = (~now.filter(pl.col("folder") == number)["id"].is_in(mine["id"].implode())).to_numpy()
        settled = np.zeros(rows.height, np.bool_)
        settled[same["row"].to_numpy()] = True
        names = same.select("row", was="was")
        with_names = now.join(names, on="row", how="left", maintain_order="left")
        stays = np.ones(rows.height, np.bool_)
        stays[np.flatnonzero(place == number)] = departed
        frame = with_names.with_columns(cluster=pl.coalesce("cluster", "was")).select(rows.columns)
        self._documents = frame.filter(pl.Series(stays))
        return departed, settled[stays]

    def exact(self) -> None:
        """Documents with the words of a better one fall to it."""
        place = np.lexsort((self._words[:, 1], self._words[:, 0]))  # stable: the best of equals comes first
        words = self._words[place]
        new = np.ones(len(place), bool)
        new[1:] = (words[1:] != words[:-1]).any(axis=1)
        first = place[np.maximum.accumulate(np.where(new, np.arange(len(place)), 0))]
        self._keeper[place] = first
        self._keeper[self._stays] = np.flatnonzero(self._stays)
        self._cluster = self._keeper.copy()

    def near(self) -> None:
        """Of the others, those that share a bucket are measured and fall to the best that they resemble."""
        from lamina.data.duplicates.stars_kernels import FREE, KNOWN, STAYS, walk

        alive = np.flatnonzero((self._keeper == np.arange(len(self._keeper))) & (self._grams > 0))
        buckets, room = self._buckets(alive)
        shared = (buckets >= 0).any(axis=1)
        alive, buckets = alive[shared], buckets[shared]
        if not len(alive):
            return
        sets, places = self._sets(alive)
        fixed = np.where(self._old[alive], KNOWN, np.where(self._stays[alive], STAYS, FREE)).astype(np.int8)
        keepers, likeness = np.full(len(alive), -1), np.zeros(len(alive))
        parents = np.arange(len(alive))
        limits = (self._wanted.threshold, self._wanted.related)
        at = (sets.starts[places], sets.sizes[places], sets.values)
        self._measured = walk(buckets, room, *at, fixed, *limits, keepers, likeness, parents)
        fallen = keepers >= 0
        self._settle(alive, alive[keepers[fallen]], fallen, likeness[fallen], alive[_roots(parents)])

    def found(self) -> Found:
        """The verdicts, by row."""
        back = np.empty(len(self._order), np.int64)
        back[self._order] = np.arange(len(self._order))
        keeper = self._order[self._keeper][back]
        raw = self._column("raw")
        return Found(
            documents=self._documents,
            known=self._known,
            departed=self._departed,
            order=self._order,
            keeper=keeper,
            likeness=self._likeness[back],
            same=raw == raw[keeper],
            cluster=self._order[self._cluster][back],
            measured=self._measured,
            column=self._column,
        )

    def _settle(
        self, alive: Ints, keepers: Ints, fallen: NDArray[np.bool_], likeness: NDArray[np.float64], roots: Ints
    ) -> None:
        """A copy of a text that fell falls with it, as like the keeper as that text."""
        final, alike, root = np.arange(len(self._keeper)), np.ones(len(self._keeper)), np.arange(len(self._keeper))
        final[alive[fallen]], alike[alive[fallen]], root[alive] = keepers, likeness, roots
        own = self._keeper == np.arange(len(self._keeper))
        self._likeness = alike[self._keeper]
        self._cluster = root[self._keeper]
        self._keeper = final[self._keeper]
        assert own[self._keeper].all()

    def _buckets(self, alive: Ints) -> tuple[NDArray[np.int32], Ints]:
        """(A, bands) numbers of the buckets that two or more share, -1 elsewhere; and the places that each has."""
        bands = self._wanted.scheme.bands
        buckets = np.full((len(alive), bands), -1, np.int32)
        sizes: list[Ints] = []
        total = 0
        rows = self._order[alive]
        for band in range(bands):
            keys = self._column(f"band-{band:02d}")[rows]
            place = np.argsort(keys, kind="stable")
            same = keys[place][1:] == keys[place][:-1]
            shared = np.zeros(len(keys), bool)
            shared[1:] |= same
            shared[:-1] |= same
            begins = shared.copy()
            begins[1:] &= ~same
            number = np.cumsum(begins) - 1
            buckets[place[shared], band] = number[shared] + total
            sizes.append(np.bincount(number[shared], minlength=int(begins.sum())))
            total += int(begins.sum())
        room = np.minimum(np.concatenate(sizes), KEEPERS) if sizes else np.zeros(0, np.int64)
        return buckets, np.concatenate([np.zeros(1, np.int64), np.cumsum(room)])

    def _sets(self, alive: Ints) -> tuple[Sets, Ints]:
        """The shingles of some documents, and which set is whose."""
        first = self._words[alive, 0]
        keys = np.unique(first)
        place = self._batches.work / "shared"
        sets = collect_sets(self._batches, self._wanted.scheme, keys, place, extra=self._extra)
        return sets, np.searchsorted(keys, first)

    def _column(self, name: str) -> NDArray[Any]:
        columns = read_columns(self._folders, name)
        if self._departed is not None:
            place = len(self._wanted.against)
            columns[place] = columns[place][self._departed]
        empty = np.zeros((0, 2) if name in ("words", "facts") else 0, np.uint64)
        return np.concatenate(columns) if columns else empty


def _size(folder: Path) -> int:
    return int(pq.read_metadata(folder / "documents.parquet").num_rows)


def _documents(folders: Sequence[Path]) -> pl.DataFrame:
    import polars as pl

    kinds = {"id": pl.String, "source": pl.String, "score": pl.Float64, "cluster": pl.String, "folder": pl.Int32}
    frames = [
        pl.read_parquet(folder / "documents.parquet").with_columns(folder=pl.lit(n, pl.Int32))
        for n, folder in enumerate(folders)
    ]
    return pl.concat([pl.DataFrame(schema=kinds), *frames])


def _order(documents: pl.DataFrame, old: NDArray[np.bool_], lengths: Any, raw: Any, keep: str) -> Ints:
    """Rows, the best first: the old ones, then by score, length, id."""
    import polars as pl

    frame = documents.select("score", "id").with_columns(
        old=pl.Series(old),
        length=pl.Series(np.zeros_like(lengths) if keep == "first" else lengths),
        raw=pl.Series(raw),
        row=pl.int_range(pl.len()),
    )
    by = ["old", "score", "length", "id", "raw"]
    return frame.sort(by, descending=[True, True, True, False, False], nulls_last=True)["row"].to_numpy()


def _roots(parents: Ints) -> Ints:
    """The representative of each, all ways gone to their end."""
    while True:
        above = parents[parents]
        if (above == parents).all():
            return above
        parents = above
