"""Which documents go when something is to be forgotten: those that were named, near copies of them, and what was made
from them; and of each corpus the traces that dropped documents have left.

Documents are named by id, address, author, source or words of their text. A named document whose text the corpus does
not hold, because it fell as a duplicate, is stood for by the one that it fell to: their likeness was measured then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lamina.data.parts import rows_of
from lamina.data.tombstones import KINDS, THRESHOLD, Draft, Matcher, Secret, matcher_of
from lamina.data.units import SAMPLE_CHARACTERS, read_unit, units_of
from lamina.kit.errors import InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.workers import Workers

if TYPE_CHECKING:
    import polars as pl

_SNIPPET = 12  # characters that words must have to name a document
_FEW = 20_000  # documents that this process looks through by itself
_FACTS = ("id", "source", "url", "author", "license", "language", "split", "parent_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be forgotten, as a person says it. ``salts``: of the pseudonyms that sources give to authors."""

    ids: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    salts: tuple[str, ...] = ()

    def keys(self) -> dict[str, set[str]]:
        """Values by kind; an author also under the pseudonyms that the sources would give."""
        authors = set(self.authors)
        for salt in self.salts:
            names = [variant for name in self.authors for variant in (name, name.lower(), name.lstrip("@"))]
            authors |= {f"person-{blake3_hex(salt, name)[:10]}" for name in names}
        return dict(zip(KINDS, (set(self.ids), set(self.urls), authors, set(self.sources)), strict=True))


@dataclass(slots=True)
class Selected:
    """Named documents: ids in the corpus, ids of dropped ones, and the draft of the removal."""

    kept: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    draft: Draft = field(default_factory=Draft)


def select(corpus: Path, wanted: Wanted) -> Selected:
    """The documents of a built corpus that ``wanted`` names. Raises ``InputError`` for words that are too few."""
    found = Selected(draft=Draft(keys=wanted.keys(), threshold=_threshold(corpus)))
    secret = Secret(bytes(32))  # of this look alone: nothing made with it is kept
    matcher = Matcher(secret, [{k: [secret.names(k, v) for v in some] for k, some in wanted.keys().items()}], [])
    patterns = [_pattern(text) for text in wanted.texts]
    for batch in _batches(_data(corpus), [*_FACTS, "meta", "text"]):
        named, said = matcher.named(batch), _said(batch.column("text"), patterns)
        ids, texts, sources = (batch.column(name).to_pylist() for name in ("id", "text", "source"))
        for row in np.flatnonzero(named | said).tolist():
            found.kept.add(ids[row])
            found.draft.texts.append(texts[row] or "")
            if sources[row] not in wanted.sources:  # of a source one key is enough
                found.draft.keys["id"].add(ids[row])
    _select_dropped(corpus, matcher, patterns, found)
    return found


def _select_dropped(corpus: Path, matcher: Matcher, patterns: Sequence[str], found: Selected) -> None:
    """What was dropped leaves traces: ledger rows with its words, samples, signals."""
    samples = corpus / "dropped.parquet"
    for batch in _batches(_records(corpus), ["id", "source", "url", "author"]):
        found.dropped |= _ids(batch, matcher.named(batch))
    for batch in _batches([samples], ["id", "source", "text"]):
        found.dropped |= _ids(batch, _said(batch.column("text"), patterns))
    found.dropped -= found.kept
    found.draft.keys["id"] |= found.dropped
    if not found.dropped:
        return
    for batch in _batches([samples], ["id", "text"]):
        for id, text in zip(*(batch.column(n).to_pylist() for n in ("id", "text")), strict=True):
            if id in found.dropped and len(text or "") < SAMPLE_CHARACTERS:
                found.draft.texts.append(text or "")
    keepers = {keeper for id, keeper in folded(corpus) if id in found.dropped}
    for batch in _batches(_data(corpus), ["id", "text"]):
        some = batch.filter(pa.array([id in keepers for id in batch.column("id").to_pylist()], pa.bool_()))
        found.draft.texts.extend(text or "" for text in some.column("text").to_pylist())


def folded(corpus: Path) -> list[tuple[str, str]]:
    """Documents that fell as duplicates, and to which."""
    import polars as pl

    if not (corpus / "ledger.parquet").exists():
        return []
    rows = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action") == "duplicate")
    table = rows.select("id", keeper=pl.col("detail").str.json_path_match("$.keeper")).drop_nulls().collect()
    return list(table.iter_rows())


def _threshold(corpus: Path) -> float:
    """From which similarity the corpus itself takes texts to be copies."""
    place = corpus / "signals" / "steps.json"
    steps = orjson.loads(place.read_bytes())["steps"] if place.exists() else []
    told = [s["parameters"].get("threshold") for s in steps if s.get("name") == "duplicates"]
    return float(min((t for t in told if t), default=THRESHOLD))


def _pattern(text: str) -> str:
    if len(" ".join(text.split())) < _SNIPPET:
        raise InputError(f"'{text}' is too short to name a document", hint=f"{_SNIPPET} characters or more")
    return r"\s+".join(re.sub(r"\\([-&~# ])", r"\1", re.escape(word)) for word in text.split())


def _said(texts: pa.Array, patterns: Sequence[str]) -> NDArray[np.bool_]:
    import polars as pl

    hit = np.zeros(len(texts), np.bool_)
    for pattern in patterns:
        hit |= pl.Series(texts).str.contains(pattern).fill_null(False).to_numpy()
    return hit


# -- what a set of tombstones takes from a corpus -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gone:
    """What goes of one corpus: ``rows`` of its documents (their facts, ``how`` and ``likeness``), and the ids of
    ``traces``, which are these and those of dropped documents."""

    rows: pl.DataFrame
    traces: frozenset[str]

    @property
    def ids(self) -> set[str]:
        """The ids of the documents."""
        return set(self.rows["id"])

    def addresses(self) -> set[str]:
        """Where they were read."""
        return {url for url in self.rows["url"].drop_nulls() if url}


def gone(corpus: Path, state: Path, digest: str, *, workers: int | None = None) -> Gone:
    """What the tombstones of ``state`` (``digest``) take from a corpus: named, near copies, and their descendants."""
    import polars as pl

    files = _data(corpus)
    units = units_of(files)
    told = {"state": str(state), "digest": digest}
    with Workers(1 if rows_of(files) < _FEW else workers) as pool:
        found = [row for rows in pool.map(f"{__name__}:search", [{"unit": u, **told} for u in units]) for row in rows]
    kinds = {"id": pl.String, "how": pl.String, "likeness": pl.Float64}
    hits = pl.DataFrame(found, schema=kinds, orient="row").unique("id", keep="first", maintain_order=True)
    facts = _facts(files)
    traces = _traces(corpus, matcher_of(str(state), digest), set(hits["id"]))
    hits = _with_descendants(facts, hits, traces)
    rows = facts.join(hits, on="id", how="inner", maintain_order="left")
    return Gone(rows, frozenset(traces | set(rows["id"])))


def search(payload: Mapping[str, Any]) -> list[list[Any]]:
    """id, how ("named", "near copy") and likeness of a unit's documents that are forgotten."""
    matcher = matcher_of(payload["state"], payload["digest"])
    found: list[list[Any]] = []
    for batch in read_unit(payload["unit"]):
        named = matcher.named(batch)
        near, likeness = matcher.alike(batch.column("text"))
        for row in np.flatnonzero(named | near).tolist():
            how = "named" if named[row] else "near copy"
            found.append([batch.column("id")[row].as_py(), how, round(float(likeness[row]), 4) or None])
    return found


def _facts(files: Sequence[Path]) -> pl.DataFrame:
    import polars as pl

    scan = pl.scan_parquet(list(files))
    sizes = pl.col("text").str.len_chars().cast(pl.Int64).alias("characters")
    return scan.select(*_FACTS, sizes).collect()


def _with_descendants(facts: pl.DataFrame, hits: pl.DataFrame, ids: Iterable[str]) -> pl.DataFrame:
    """``hits`` and what was made of them, or of other documents ``ids`` that are gone, generation by generation."""
    import polars as pl

    fresh = pl.DataFrame({"id": sorted(ids)}, schema={"id": pl.String})
    while fresh.height:
        children = facts.filter(pl.col("parent_id").is_in(fresh["id"].implode())).select("id")
        fresh = children.join(hits, on="id", how="anti").with_columns(
            how=pl.lit("descendant"), likeness=pl.lit(None, pl.Float64)
        )
        hits = pl.concat([hits, fresh])
    return hits


def _traces(corpus: Path, matcher: Matcher, ids: set[str]) -> set[str]:
    """``ids``, and those of dropped documents that are forgotten as well."""
    found = set(ids)
    for batch in _batches(_records(corpus), ["id", "source", "url", "author"]):
        found |= _ids(batch, matcher.named(batch))
    for batch in _batches([corpus / "dropped.parquet"], ["id", "source", "text"]):
        found |= _ids(batch, matcher.named(batch) | matcher.alike(batch.column("text"), begun=True)[0])
    fallen = folded(corpus)
    while more := {id for id, keeper in fallen if keeper in found} - found:
        found |= more
    return found


def _ids(batch: pa.RecordBatch, hit: NDArray[np.bool_]) -> set[str]:
    return set(batch.column("id").filter(pa.array(hit)).to_pylist())


def _records(corpus: Path) -> list[Path]:
    """What tells of every document, dropped ones too."""
    return [corpus / "ledger.parquet", *sorted((corpus / "signals").glob("phase-*.parquet"))]


def _data(corpus: Path) -> list[Path]:
    return sorted((corpus / "data").glob("*.parquet"))


def _batches(files: Iterable[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Of the files that there are, the columns that they have."""
    for path in files:
        if not path.exists():
            continue
        with pq.ParquetFile(path) as file:
            names = [n for n in columns if n in file.schema_arrow.names]
            yield from file.iter_batches(columns=names)
