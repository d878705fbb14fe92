"""The search measured in the corpus that it searched: known copies of its documents, made for it and thrown away.

Some kept documents are edited in ways whose effect is counted on their words themselves. Each copy goes the way of a
document that comes new: MinHash, buckets with their cap, measured likeness. What should be found and is, is the recall;
look-alikes (half a page of another document in the frame of this one) must not be found. Nothing of it enters anything.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.duplicates.items import words_of_texts
from lamina.data.duplicates.search import KEEPERS, Found, Search
from lamina.data.duplicates.sets import Sets, gathered
from lamina.data.duplicates.sketch import computed, shingle

_PIECE = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")
Edit = Callable[[list[str], list[str], random.Random], list[str]]


@dataclass(frozen=True, slots=True)
class _Plant:
    base: int  # row of the document that it was made of
    kind: str
    text: str
    likeness: float  # Jaccard similarity with it, counted on the words


def measure(found: Found, units: Sequence[Path], wanted: Search, work: Path, *, copies: int) -> dict[str, Any] | None:
    """Recall and wrong finds of ``copies`` edited copies and a quarter as many look-alikes; None without documents
    that are long enough."""
    bases = _bases(found, units, copies)
    if not bases:
        return None
    plants = list(_plants(bases, copies, wanted.scheme.shingle))
    hits = _found(plants, bases, found, wanted, work)
    near = [n for n, plant in enumerate(plants) if plant.likeness >= wanted.threshold]
    far = [n for n, plant in enumerate(plants) if plant.likeness < wanted.threshold]
    right, wrong = sum(hits[n] for n in near), sum(hits[n] for n in far)
    scheme = wanted.scheme
    promised = [1 - (1 - plants[n].likeness ** scheme.rows) ** scheme.bands for n in near]
    kinds = sorted({plants[n].kind for n in near})
    return {
        "planted": len(near),
        "found": right,
        "look_alikes": len(far),
        "wrongly": wrong,
        "recall": round(right / len(near), 4) if near else None,
        "precision": round(right / (right + wrong), 4) if right + wrong else None,
        "promised": round(float(np.mean(promised)), 4) if near else None,
        "by_edit": {k: [sum(hits[n] for n in near if plants[n].kind == k), _count(plants, near, k)] for k in kinds},
        "documents": len(bases),
    }


def _count(plants: Sequence[_Plant], some: Sequence[int], kind: str) -> int:
    return sum(plants[n].kind == kind for n in some)


def _bases(found: Found, units: Sequence[Path], most: int) -> dict[int, str]:
    """Kept documents of the samples, by row: those with the smallest hashes."""
    import polars as pl

    own = np.arange(found.documents.height)
    kept = (found.keeper == own) & (own >= found.known)
    frame = found.documents.select("id", "folder").with_row_index("row").filter(pl.Series(kept))
    frame = frame.with_columns(hash=pl.Series(found.column("raw")[kept]))
    first = int(found.documents["folder"].to_numpy().max(initial=0)) - len(units) + 1 if units else 0
    rows: list[tuple[int, int, str]] = []
    for number, unit in enumerate(units, first):
        sample = pl.DataFrame(pq.read_table(unit / "sample.parquet"))
        mine = sample.join(frame.filter(pl.col("folder") == number), on="id", how="inner")
        rows += [(row["hash"], row["row"], row["text"]) for row in mine.iter_rows(named=True)]
    return {row: text for _, row, text in sorted(rows)[:most]}


def _plants(bases: dict[int, str], copies: int, n: int) -> list[_Plant]:
    rows = list(bases)
    pieces = {row: _PIECE.findall(text) for row, text in bases.items()}
    plants: list[tuple[int, str, str]] = []
    for number in range(copies + copies // 4):
        edits = _COPIES if number < copies else _LOOK_ALIKES
        row = rows[number % len(rows)]
        kind = list(edits)[(number + number // len(rows)) % len(edits)]
        draw = random.Random(f"{number} {bases[row][:200]}")
        other = pieces[rows[(number + 1) % len(rows)]] if len(rows) > 1 else draw.sample(pieces[row], len(pieces[row]))
        plants.append((row, kind, "".join(edits[kind](pieces[row], other, draw))))
    words, ends = words_of_texts([*bases.values(), *(text for _, _, text in plants)])
    sets = [_grams(words[ends[i] : ends[i + 1]], n) for i in range(len(ends) - 1)]
    known = dict(zip(rows, sets, strict=False))
    return [
        _Plant(row, kind, text, len(known[row] & own) / max(len(known[row] | own), 1))
        for (row, kind, text), own in zip(plants, sets[len(rows) :], strict=True)
    ]


def _grams(words: NDArray[np.uint64], n: int) -> set[tuple[int, ...]]:
    """The n-grams themselves: by none of the hashes that the search goes by."""
    own = words.tolist()
    return set(zip(*(own[i:] for i in range(n)), strict=False)) if len(own) >= n else {tuple(own)}


def _found(plants: Sequence[_Plant], bases: dict[int, str], found: Found, wanted: Search, work: Path) -> list[bool]:
    """Whether each plant would have fallen to a document."""
    from lamina.data.duplicates.stars_kernels import jaccard_of

    texts = pa.array([*(plant.text for plant in plants), *bases.values()], pa.large_string())
    sketches = computed(texts, wanted.scheme)
    place = {row: len(plants) + n for n, row in enumerate(bases)}
    sets, at = _sets(texts, sketches["words"][:, 0], wanted, work)
    candidates = _candidates({n: sketches[n][: len(plants)] for n in sketches}, found, wanted)
    hits = []
    for number, rows in enumerate(candidates):
        alike = False
        for row in rows:
            if row in place:  # of other documents the shingles are not at hand
                a, b = at[number], at[place[row]]
                told = (sets.starts[a], sets.sizes[a], sets.starts[b], sets.sizes[b], wanted.threshold)
                alike = alike or jaccard_of(sets.values, *told) >= wanted.threshold
                same = sketches["words"][number] == sketches["words"][place[row]]
                alike = alike or bool(same.all())
        hits.append(alike)
    return hits


def _sets(texts: pa.Array, first: NDArray[np.uint64], wanted: Search, work: Path) -> tuple[Sets, NDArray[np.int64]]:
    """The shingle sets of texts, made as the search makes them, and which is whose."""
    folder = work / "planted"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keys = np.unique(first)
    keys.tofile(folder / "wanted.u64")
    told = {"scheme": asdict(wanted.scheme), "wanted": str(folder / "wanted.u64")}
    shingle([pa.record_batch({"text": texts})], folder, told)
    return gathered(keys, [folder], folder / "sets"), np.searchsorted(keys, first)


def _candidates(sketches: dict[str, NDArray[Any]], found: Found, wanted: Search) -> list[set[int]]:
    """For each plant the rows that it would have been measured against: the first keepers of each of its buckets."""
    rank = np.empty(len(found.order), np.int64)
    rank[found.order] = np.arange(len(found.order))
    kept = found.keeper == np.arange(len(found.keeper))
    candidates: list[set[int]] = [set() for _ in sketches["raw"]]
    for name in (f"band-{band:02d}" for band in range(wanted.scheme.bands)):
        keys, mine = found.column(name), sketches[name]
        rows = np.flatnonzero(np.isin(keys, mine) & kept)
        rows = rows[np.argsort(rank[rows], kind="stable")]
        buckets: dict[int, list[int]] = {}
        for row, key in zip(rows.tolist(), keys[rows].tolist(), strict=True):
            bucket = buckets.setdefault(key, [])
            if len(bucket) < KEEPERS:
                bucket.append(row)
        for number, key in enumerate(mine.tolist()):
            candidates[number].update(buckets.get(key, ()))
    return candidates


# -- edits: pieces of a text, of another text, and a draw ------------------------------------------------------------


def _words(pieces: Sequence[str]) -> list[int]:
    return [n for n, piece in enumerate(pieces) if piece[0].isalnum()]


def _some(pieces: Sequence[str], draw: random.Random, least: float, most: float) -> list[int]:
    """Places of a share of the words, one at least."""
    places = _words(pieces)
    return draw.sample(places, min(len(places), max(1, round(draw.uniform(least, most) * len(places)))))


def _replaced(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    changed = list(pieces)
    for place in _some(pieces, draw, 0.001, 0.018):
        changed[place] = f"w{draw.randrange(10**6)}"
    return changed


def _left_out(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    gone = set(_some(pieces, draw, 0.001, 0.02))
    return [piece for n, piece in enumerate(pieces) if n not in gone]


def _doubled(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    twice = set(_some(pieces, draw, 0.001, 0.02))
    return [piece if n not in twice else f"{piece} {piece}" for n, piece in enumerate(pieces)]


def _longer(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    return [*pieces, " ", *other[: max(2, round(draw.uniform(0.03, 0.15) * len(pieces)))]]


def _shorter(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    return pieces[max(1, round(draw.uniform(0.02, 0.15) * len(pieces))) :]


def _loud(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    return [" ;\n" if piece == "," else piece.upper() for piece in pieces]


def _half(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    return [*pieces[: len(pieces) // 2], " ", *other[: max(4, len(pieces) // 2)]]


def _framed(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    edge = len(pieces) // 4
    return [*pieces[:edge], " ", *other[: max(4, 2 * edge)], " ", *pieces[len(pieces) - edge :]]


def _garbled(pieces: list[str], other: list[str], draw: random.Random) -> list[str]:
    changed = list(pieces)
    for place in _some(pieces, draw, 0.08, 0.15):
        changed[place] = f"w{draw.randrange(10**6)}"
    return changed


_COPIES: dict[str, Edit] = {
    "words replaced": _replaced,
    "words left out": _left_out,
    "words doubled": _doubled,
    "end added": _longer,
    "beginning cut": _shorter,
    "case and punctuation": _loud,
}
_LOOK_ALIKES: dict[str, Edit] = {"half of another": _half, "same frame": _framed, "every tenth word": _garbled}
