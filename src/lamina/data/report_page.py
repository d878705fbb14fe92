"""A corpus as one page with pictures: where its documents came from, what became of them, and what they look like.

The page is a single file without scripts or addresses: it can be mailed, printed and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import orjson

from lamina.data.augment.telling import in_words, left_out, samples
from lamina.data.report_duplicates import duplicates_section
from lamina.data.report_flow import KEPT, flows, rights_in_words, rights_of
from lamina.data.report_pictures import alluvial, histogram
from lamina.data.report_questions import questions_section
from lamina.data.report_variety import variety_section
from lamina.data.what_if_signals import BYTES_PER_TOKEN
from lamina.kit.page import bar, page, sample, table

_SAMPLES = 6  # documents shown of those that were kept
_SHOWN = 700  # characters of each
_DROPPED = 12  # of those that were dropped, one or two a reason
_UNREAD = 12  # reasons shown
_HISTOGRAMS = {
    "_characters": "length in characters",
    "words": "length in words",
    "mean_word_length": "mean word length",
    "alphabetic_words": "share of words with a letter",
    "stop_words": "stop words",
    "top_2_gram": "share of characters in the most frequent pair of words",
    "duplicate_5_grams": "share of characters in repeated five-word runs",
    "language_score": "certainty of the language",
    "perplexity": "perplexity",
    "quality_score": "score of the quality classifier",
}
_POWERS = ("_characters", "words", "perplexity")


def report_page(corpus: Path, facts: Mapping[str, Any] | None = None) -> str:
    """The page of a built corpus, as HTML.

    ``facts``: ``contamination`` (as ``questions_section`` takes it), and what ``variety_section`` takes.
    """
    report: dict[str, Any] = orjson.loads((corpus / "report.json").read_bytes())
    told = dict(facts or {})
    held = told.pop("contamination", None)
    parts = [
        f"<h1>{report['documents']:,} documents</h1>",
        f"<p>{report['collected']:,} were collected from {report['files_read']:,} files"
        f" ({report['files_unread']:,} could not be read); {report['train']:,} are for training,"
        f" {report['held_out']:,} are held out; {report['characters']:,} characters.</p>",
        *(f'<p class="warn">{escape(w)}</p>' for w in report["warnings"]),
        _flow(corpus),
        _sources(report),
        _dropped(corpus),
        _shares(report),
        variety_section(corpus, **told),
        _histograms(corpus),
        _missing(corpus),
        _rights(corpus, report),
        duplicates_section(corpus, report),
        questions_section(corpus, held),
        _augmentation(report, corpus),
        _unread(corpus),
        _samples(corpus),
    ]
    return page(f"Corpus: {report['documents']:,} documents", parts)


def _flow(corpus: Path) -> str:
    """Where the documents and tokens of each source went, as pictures."""
    found = flows(corpus)
    order: dict[str, Any] = {"sources": found.sources, "fates": found.fates, "kept": KEPT}
    told = f"tokens, estimated at {BYTES_PER_TOKEN:g} bytes each"
    return (
        "<h2>Where they went</h2>"
        + alluvial("documents", found.documents, unit="documents", **order)
        + alluvial(told, found.tokens, unit="tokens", **order)
    )


def _sources(report: Mapping[str, Any]) -> str:
    most = max((s["characters"] for s in report["sources"].values()), default=0)
    rows = [
        (name, s["use"], s["license"] or "unknown", s["collected"], s["documents"], s["characters"],
         bar(s["characters"], most, longest=8))
        for name, s in report["sources"].items()
    ]  # fmt: skip
    return "<h2>Sources</h2>" + table(("source", "kind", "licence", "collected", "kept", "characters", ""), rows)


def _dropped(corpus: Path) -> str:
    """What each step dropped, by source."""
    import polars as pl

    ledger = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action").is_in(["drop", "duplicate"]))
    counts = ledger.group_by("step", "reason").agg(pl.len(), pl.col("source").value_counts(sort=True))
    found = counts.sort("step", "reason").collect()
    if not found.height:
        return "<h2>What was dropped</h2><p>Nothing.</p>"
    most = max(found["len"])
    rows = [
        (step, reason, count, bar(count, most, lost=True, longest=8),
         ", ".join(f"{s['source'] or 'unknown'} {s['count']:,}" for s in sources[:4]))
        for step, reason, count, sources in found.iter_rows()
    ]  # fmt: skip
    return "<h2>What was dropped</h2>" + table(("step", "reason", "documents", "", "from"), rows)


def _shares(report: Mapping[str, Any]) -> str:
    parts = []
    for title, counts in (("Languages", report["languages"]), ("Licences", report["licenses"])):
        rows = list(counts.items())[:12]
        most = max((n for _, n in rows), default=0)
        shown = table((title[:-1].lower(), "documents", ""), [(k, n, bar(n, most, longest=5)) for k, n in rows])
        parts.append(f"<div><h2>{title}</h2>{shown}</div>")
    return f'<div class="grid">{"".join(parts)}</div>'


def _histograms(corpus: Path) -> str:
    """One picture a signal; what was dropped stands on what was kept."""
    import numpy as np
    import polars as pl

    file = corpus / "signals" / "phase-0.parquet"
    if not file.exists():
        return ""
    names = pl.scan_parquet(file).collect_schema().names()
    verdicts = [pl.col(n).fill_null(True) for n in names if n.startswith("decide:")]
    kept = pl.all_horizontal(verdicts) if verdicts else pl.lit(True)
    pictures = []
    for name, title in _HISTOGRAMS.items():
        if name in names:
            known = pl.scan_parquet(file).select(pl.col(name).cast(pl.Float64), kept=kept).drop_nulls().collect()
            values = known[name].to_numpy()
            powers = name in _POWERS
            values = np.log2(np.maximum(values, 1)) if powers else values
            said = f"{title} (logarithmic)" if powers else title
            pictures.append(histogram(said, values, known["kept"].to_numpy(), powers=powers))
    note = 'Every document that was measured: <i class="key kept"></i>kept by the rules <i class="key lost"></i>dropped'
    return f'<h2>What they are like</h2><p>{note}</p><div class="grid">{"".join(pictures)}</div>'


def _missing(corpus: Path) -> str:
    """Fields that are null among the kept documents, and what was filled."""
    import polars as pl

    names = ["title", "author", "created", "language", "license", "url", "group_id"]
    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet")))
    nulls = data.select(pl.len().alias("_all"), *(pl.col(n).null_count() for n in names)).collect().row(0, named=True)
    ledger = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action") == "impute")
    filled = dict(ledger.group_by("reason").len().collect().iter_rows())
    rows = [(n, nulls[n], bar(nulls[n], nulls["_all"], lost=True), int(filled.get(n, 0))) for n in names]
    return "<h2>Missing data</h2>" + table(("field", "still missing", "", "filled in"), rows)


def _rights(corpus: Path, report: Mapping[str, Any]) -> str:
    """Licences by source, and what robots.txt, pages and books say of text mining."""
    told = report.get("rights") or rights_of(corpus)
    rows = [(source, name, n) for source, names in told["licenses"].items() for name, n in list(names.items())[:6]]
    silent = ["No document says how it may be used beyond its licence."]
    lines = rights_in_words(told, report["documents"]) or silent
    words = table(("signal, as it stood", "documents"), list(told["words"].items())) if told["words"] else ""
    shown = table(("source", "licence", "documents"), rows)
    return f"<h2>Rights</h2>{''.join(f'<p>{escape(line)}</p>' for line in lines)}{shown}{words}"


def _augmentation(report: Mapping[str, Any], corpus: Path) -> str:
    told = report.get("augmentation")
    if not told:
        return ""
    most = max((o["kept"] for o in told["operations"]), default=0)
    rows = [(o["operation"], o["children"], o["kept"], bar(o["kept"], most), left_out(o)) for o in told["operations"]]
    note = "".join(f"<p>{escape(line)}</p>" for line in in_words(told))
    shown_table = table(("operation", "children made", "within the budget", "", "left out, or left as it was"), rows)
    shown = "".join(
        f"<blockquote><b>{escape(operation)}</b>\n{escape(before)}\n→ {escape(after)}</blockquote>"
        for operation, before, after in samples(corpus)
    )
    return f"<h2>Augmentation</h2>{note}{shown_table}{shown}"


def _unread(corpus: Path) -> str:
    """What was not read, by reason, with an example."""
    import polars as pl

    file = corpus / "unread.jsonl"
    if not file.exists() or not file.stat().st_size:
        return "<h2>What was not read</h2><p>Everything was read.</p>"
    lines = pl.read_ndjson(file, schema={"source": pl.String, "name": pl.String, "reason": pl.String})
    sort = pl.col("reason").str.replace(r"[:(;].*$", "").str.replace_all(r"\d[\d,.]*", "N").str.strip_chars()
    found = lines.group_by("source", sort.alias("sort")).agg(pl.len(), pl.col("name", "reason").first())
    rows = found.sort("len", "source", "sort", descending=[True, False, False]).head(_UNREAD)
    shown = [(s, n, r[:160], e[:80]) for s, n, e, r in rows.select("source", "len", "name", "reason").iter_rows()]
    return "<h2>What was not read</h2>" + table(("source", "places", "reason", "for example"), shown)


def _samples(corpus: Path) -> str:
    """Documents of each source that were kept, and some that each step dropped with the value that did it."""
    import polars as pl

    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet")))
    columns = ["id", "source", "title", "author", "language", "license", "created", "text"]
    originals = data.filter(pl.col("parent_id").is_null()).select(columns)
    sources = originals.select("source").unique().collect().height
    some = max(1, _SAMPLES // max(1, sources))
    kept = originals.sort("id").group_by("source", maintain_order=True).head(some).head(2 * _SAMPLES).collect()
    parts = ["<h2>Some that were kept</h2>"]
    for row in kept.sort("source", "id").iter_rows(named=True):
        facts = (row["author"], row["language"], row["license"], row["created"] and f"{row['created']:%Y-%m-%d}")
        size = f"{len(row['text'] or ''):,} characters"
        title = f"{row['source']} · {row['title'] or row['id']}"
        parts.append(sample(title, [*(str(f) for f in facts if f), size], row["text"], shown=_SHOWN))
    return "".join([*parts, *_gone(corpus)])


def _gone(corpus: Path) -> list[str]:
    import polars as pl

    file = corpus / "dropped.parquet"
    if not file.exists():
        return []
    found = pl.scan_parquet(file).sort("id").group_by("step", "reason", maintain_order=True).head(2).collect()
    many = found.select("step", "reason").n_unique() > _DROPPED // 2
    gone = found.unique(["step", "reason"], keep="first", maintain_order=True).head(_DROPPED) if many else found
    told = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action").is_in(["drop", "duplicate"]))
    why = told.select("id", "step", "value", "threshold").unique(["id", "step"], keep="first", maintain_order=True)
    rows = gone.join(why.collect(), on=["id", "step"], how="left", maintain_order="left").sort("step", "reason", "id")
    parts = ["<h2>Some that were dropped</h2>"] if rows.height else []
    for row in rows.iter_rows(named=True):
        measured = f"{row['value']} (rule: {row['threshold']})" if row["threshold"] else row["value"] or ""
        title = f"{row['reason'] or row['step']} · {row['source']}"
        parts.append(sample(title, [row["step"], measured[:300]], row["text"], shown=_SHOWN, gone=True))
    return parts
