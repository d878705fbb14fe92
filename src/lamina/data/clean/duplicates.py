"""Duplicates, exact and near, with every near pair measured on its shingles before a document is dropped.

MinHash LSH (Broder 1997; 14 bands of 8 hashes over word 5-grams, as FineWeb has it) only proposes pairs; a proposed
pair counts when the exact Jaccard similarity of its shingles reaches the threshold. Clusters are stars: each dropped
document resembles its keeper directly, so that no chain of likenesses joins what is unlike. Digits count, other than
in FineWeb: figures are facts. The machinery is ``lamina.data.duplicates``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.corpus import Batches
from lamina.data.clean.frames import with_facts, with_warnings
from lamina.data.duplicates.index import Part, fits, save_index
from lamina.data.duplicates.planted import measure
from lamina.data.duplicates.search import Found, Search, search
from lamina.data.duplicates.sketch import Scheme
from lamina.kit.errors import ConfigError
from lamina.kit.registry import STEPS

if TYPE_CHECKING:
    import polars as pl

RESULT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("duplicate_cluster", pa.string()),
        pa.field("duplicates", pa.int64()),
        pa.field("drop", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
#: What ``keep = "license"`` prefers where nothing is said: what asks for least first.
LICENSES = (
    *("CC0-1.0", "PDDL-1.0", "Unlicense", "0BSD", "MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"),
    *("CC-BY-4.0", "CC-BY-3.0", "ODC-By-1.0", "CC-BY-SA-4.0", "CC-BY-SA-3.0"),
)
EARLIER = "earlier"  # in ``against``: what earlier builds of this stack kept
_MANY = 20  # documents of a source from which its share of duplicates says something


@STEPS("duplicates", kind="pass", version=3)
def duplicates(
    batches: Batches,
    *,
    threshold: float = 0.8,
    related: float = 0.5,
    keep: str = "longest",
    licenses: tuple[str, ...] = LICENSES,
    against: tuple[str, ...] = (),
    index: bool = False,
    alarm: float = 0.5,
    plant: int = 200,
    shingle: int = 5,
    bands: int = 14,
    rows: int = 8,
) -> pa.Table:
    """For each document: ``duplicate_cluster`` (the id that its split hangs on), ``duplicates`` (how many were folded
    into it), ``drop`` ("exact duplicate", "near duplicate" or null) and ``detail`` (keeper, Jaccard similarity, index).

    ``threshold``: Jaccard similarity of word ``shingle``-grams from which a document is dropped; kept documents from
    ``related`` upwards share a cluster, and so a split. ``keep``: the longest of a cluster, the "first" (smallest id),
    the "newest" or "oldest" (``created``), that with the best "license" (in the order of ``licenses``), or that with
    the highest value of any column; then the longest, then the smallest id.

    ``against``: indexes of other corpora (folders), whose documents are never dropped but let new ones fall; the word
    "earlier" stands for what earlier builds of this stack kept: such a document stays if it is still there, and lets
    new ones fall even if it is not. ``index = true`` (or "earlier") leaves an index in ``batches.work / "keep"``; texts
    that the build before has in its index are not sketched again. A source that loses more than the share ``alarm`` to
    duplicates is named in the table's warnings. ``plant``: edited copies of so many documents that are made to measure
    the search (see ``duplicates.planted``); recall and wrong finds are in the table's facts. ``bands`` of ``rows``
    hashes propose a pair of similarity J with probability 1 - (1 - J^rows)^bands. Ids that occur twice and documents
    without text are never dropped.
    """
    scheme = Scheme(shingle=shingle, bands=bands, rows=rows)
    _check(threshold, related, alarm, plant, scheme)
    last = batches.earlier if batches.earlier is not None and fits(batches.earlier, scheme) else None
    wanted = Search(
        threshold=threshold,
        related=min(related, threshold),
        keep=keep,
        licenses=licenses,
        against=tuple(Path(folder) for folder in against if folder != EARLIER),
        earlier=last if EARLIER in against else None,
        reuse=last,
        scheme=scheme,
    )
    found, units = search(batches, wanted)
    verdicts = _verdicts(found, wanted)
    if units and (index or EARLIER in against):
        _save(batches, wanted, found, units, verdicts)
    facts: dict[str, Any] = {"sketches_reused": sum(int((unit / "reused").read_text()) for unit in units)}
    if plant and units:
        facts["search"] = measure(found, units, wanted, batches.work, copies=plant)
    return _table(verdicts[found.known :], alarm, facts)


def _save(batches: Batches, wanted: Search, found: Found, units: Sequence[Path], verdicts: pl.DataFrame) -> None:
    """The index of what is kept, and of what earlier builds kept."""
    parts = []
    by_row = verdicts[found.known :]
    by_row = by_row.with_columns(kept=by_row["keeper"] == by_row["row"])
    begin = 0
    for unit in units:
        some = by_row[begin : (begin := begin + pq.read_metadata(unit / "documents.parquet").num_rows)]
        parts.append(Part(unit, some["kept"].to_numpy(), some["duplicate_cluster"]))
    sources = [wanted.reuse] if wanted.reuse is not None else []
    if wanted.earlier is not None and found.departed is not None:
        parts.append(Part(wanted.earlier, found.departed))
    save_index(batches, wanted.scheme, parts, sources, batches.work / "keep")


def _check(threshold: float, related: float, alarm: float, plant: int, scheme: Scheme) -> None:
    if not 0 < threshold <= 1 or not 0 <= related <= 1 or not 0 <= alarm <= 1:
        raise ConfigError(f"threshold = {threshold}, related = {related} and alarm = {alarm} are shares from 0 to 1")
    if not 0 <= plant <= 10_000:
        raise ConfigError(f"plant = {plant} is a number of copies up to 10,000")
    if scheme.shingle < 1 or not 1 <= scheme.bands <= 100 or not 1 <= scheme.rows <= 100:
        raise ConfigError(f"shingle = {scheme.shingle}, bands = {scheme.bands} and rows = {scheme.rows} are 1 to 100")


def _verdicts(found: Found, wanted: Search) -> pl.DataFrame:
    """One row for each row of the search."""
    import polars as pl

    frame = found.documents.select("id", "source", "cluster", "folder").with_columns(
        row=pl.int_range(pl.len()),
        keeper=pl.Series(found.keeper),
        likeness=pl.Series(found.likeness),
        same=pl.Series(found.same),
        group=pl.Series(found.cluster),
    )
    # A cluster keeps the name that an index gave it; else it is named after its smallest id.
    names = frame.group_by("group").agg(duplicate_cluster=pl.coalesce(pl.col("cluster").min(), pl.col("id").min()))
    folded = frame.filter(pl.col("keeper") != pl.col("row")).group_by("keeper").agg(duplicates=pl.len().cast(pl.Int64))
    keepers = frame.select(keeper="row", keeper_id="id", keeper_folder="folder")
    against = [str(folder) for folder in wanted.against] + ([EARLIER] if wanted.earlier is not None else [])
    given = {"keeper_folder": list(range(len(against))), "index": against}
    names_of = pl.DataFrame(given, schema={"keeper_folder": pl.Int32, "index": pl.String})
    frame = frame.join(names, on="group", how="left", maintain_order="left")
    frame = frame.join(folded.rename({"keeper": "row"}), on="row", how="left", maintain_order="left")
    frame = frame.join(keepers, on="keeper", how="left", maintain_order="left")
    frame = frame.join(names_of, on="keeper_folder", how="left", maintain_order="left")
    return frame.with_columns(pl.col("duplicates").fill_null(0))


def _table(verdicts: pl.DataFrame, alarm: float, facts: Mapping[str, Any]) -> pa.Table:
    import polars as pl

    fell = pl.col("keeper") != pl.col("row")
    evidence = [pl.col("keeper_id").alias("keeper"), pl.col("likeness").round(4).alias("jaccard")]
    own = pl.struct(evidence).struct.json_encode()
    foreign = pl.struct([*evidence, pl.col("index")]).struct.json_encode()
    kind = pl.when("same").then(pl.lit("exact duplicate")).otherwise(pl.lit("near duplicate"))
    frame = verdicts.select(
        "id",
        "source",
        "duplicate_cluster",
        "duplicates",
        drop=pl.when(fell).then(kind),
        detail=pl.when(fell).then(pl.when(pl.col("index").is_null()).then(own).otherwise(foreign)),
    )
    warnings = _warnings(frame, alarm)
    if frame["id"].is_duplicated().any():  # an id that occurs twice has one verdict: steps join by id
        frame = frame.sort("id", "duplicates", "duplicate_cluster").unique("id", keep="last", maintain_order=True)
    return with_facts(with_warnings(frame.select(RESULT.names).to_arrow().cast(RESULT), warnings), facts)


def _warnings(frame: pl.DataFrame, alarm: float) -> list[str]:
    """Sources that lose more than they should."""
    import polars as pl

    lost = frame.group_by("source").agg(all=pl.len(), gone=pl.col("drop").is_not_null().sum()).sort("source")
    worth = (pl.col("all") >= _MANY) & (pl.col("gone") > alarm * pl.col("all"))
    return [
        f"source '{source}' lost {gone / size:.0%} of its documents to duplicates ({gone:,} of {size:,}; the alarm"
        f" is set at {alarm:.0%})"
        for source, size, gone in lost.filter(worth).iter_rows()
    ]
