"""Where documents and tokens went, by step and source, and what they may be used for: counted for page and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.data.clean.rights import reservations
from lamina.data.what_if_signals import BYTES_PER_TOKEN

if TYPE_CHECKING:
    import polars as pl

KEPT = "kept"
_SOURCES, _FATES = 10, 14  # in a picture; the smallest of more are put together
Amounts = dict[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Flows:
    """Amounts by (source, fate); a fate is "kept" or what dropped a document, in the order of the steps."""

    sources: Sequence[str]
    fates: Sequence[str]
    documents: Amounts
    tokens: Amounts


def flows(corpus: Path) -> Flows:
    """Where the documents of each source went, the largest sources first.

    Tokens are estimated from bytes, of the texts as they stood when they were last measured.
    """
    import polars as pl

    gone = (
        pl.scan_parquet(corpus / "ledger.parquet")
        .filter(pl.col("action").is_in(["drop", "duplicate"]))
        .select("id", "source", "step", fate=pl.coalesce("reason", "step"))
        .unique("id", keep="first", maintain_order=True)
    )
    sizes = _sizes(corpus)
    lost = gone.join(sizes.lazy(), on="id", how="left").group_by("source", "step", "fate")
    rows = lost.agg(pl.len(), pl.col("bytes").sum()).sort("step", "fate", "source").collect()
    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet"))).filter(pl.col("parent_id").is_null())
    stays = data.group_by("source").agg(pl.len(), bytes=pl.col("text").str.len_bytes().sum()).sort("source").collect()
    documents: Amounts = {(source, KEPT): count for source, count, _ in stays.iter_rows()}
    tokens: Amounts = {(source, KEPT): size / BYTES_PER_TOKEN for source, _, size in stays.iter_rows()}
    for source, _, fate, count, size in rows.iter_rows():
        pair = (source or "unknown", fate)
        documents[pair] = documents.get(pair, 0) + count
        tokens[pair] = tokens.get(pair, 0) + (size or 0) / BYTES_PER_TOKEN
    return _gathered(documents, tokens)


def _sizes(corpus: Path) -> pl.DataFrame:
    """``id`` and ``bytes`` of every document that was measured."""
    import polars as pl

    files = sorted((corpus / "signals").glob("phase-*.parquet"))
    parts = [pl.scan_parquet(file).select("id", bytes=pl.col("_bytes").cast(pl.Int64)) for file in files]
    empty = pl.LazyFrame(schema={"id": pl.String, "bytes": pl.Int64})
    return pl.concat([empty, *parts]).unique("id", keep="last", maintain_order=False).collect()


def _gathered(documents: Amounts, tokens: Amounts) -> Flows:
    """The largest sources and reasons by themselves, the smallest of many put together."""
    sources: Counter[str] = Counter()
    fates: Counter[str] = Counter({KEPT: 0})
    for (source, fate), count in documents.items():
        sources[source] += int(count)
        fates[fate] += int(count)
    shown = [name for name, _ in sources.most_common(_SOURCES)]
    large = {name for name, _ in fates.most_common(_FATES)} | {KEPT}
    few, small = f"{len(sources) - len(shown)} other sources", f"{len(fates) - len(large)} other reasons"

    def put(amounts: Amounts) -> Amounts:
        found: Amounts = {}
        for (source, fate), amount in amounts.items():
            pair = (source if source in shown else few, fate if fate in large else small)
            found[pair] = found.get(pair, 0) + amount
        return found

    order = [*(fate for fate in fates if fate in large), small]
    return Flows([*shown, few], order, put(documents), put(tokens))


def rights_of(corpus: Path) -> dict[str, Any]:
    """What the kept documents say of their use, as it was captured at collection: counts of documents.

    ``licenses``: by source and licence; ``signalled``: with any robots or TDM signal; ``reserved``: by the way in which
    text mining is reserved (see the signal "rights"); ``words``: the signals as they stand, the most frequent of them.
    """
    import polars as pl

    files = sorted((corpus / "data").glob("*.parquet"))
    if not files:
        return {}
    data = pl.scan_parquet(files)
    table = data.group_by("source", pl.col("license").fill_null("unknown")).len().sort("source", "len", descending=True)
    licenses: dict[str, dict[str, int]] = {}
    for source, name, count in table.collect().iter_rows():
        licenses.setdefault(source, {})[name] = count
    pairs = (
        data.filter(pl.col("rights").is_not_null()).group_by("rights", pl.col("collected").dt.date()).len().collect()
    )
    words: Counter[str] = Counter()
    reserved: Counter[str] = Counter()
    for text, day, count in pairs.iter_rows():
        words[text] += count
        found = reservations(text, day)
        reserved.update(dict.fromkeys(found, count))
        reserved["any"] += count if found else 0
    shown = {text[:200]: count for text, count in words.most_common(8)}
    return {
        "licenses": licenses,
        "signalled": sum(words.values()),
        "reserved": {way: count for way, count in reserved.most_common() if count},
        "words": shown,
    }


def rights_in_words(rights: Mapping[str, Any], documents: int) -> list[str]:
    """Lines of the report on signals; none where no document has any."""
    if not rights.get("signalled"):
        return []
    line = f"rights: {rights['signalled']:,} of {documents:,} documents say how they may be used"
    reserved = dict(rights["reserved"])
    if some := reserved.pop("any", 0):
        ways = ", ".join(f"{way} {count:,}" for way, count in reserved.items())
        line += f"; {some:,} reserve text and data mining ({ways})"
    return [line]
