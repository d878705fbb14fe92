"""A corpus as one page with pictures: where its documents came from, what became of them, and what they look like.

The page is a single file without scripts or addresses: it can be mailed, printed and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from lamina.data.augment.telling import in_words, left_out, samples

if TYPE_CHECKING:
    import polars as pl

_SAMPLES = 4  # documents shown of each kind
_SHOWN = 400  # characters of each
_HISTOGRAMS = {
    "_characters": "length in characters (powers of two)",
    "mean_word_length": "mean word length",
    "alphabetic_words": "words with a letter",
    "stop_words": "stop words",
    "top_2_gram": "characters in the most frequent pair of words",
    "duplicate_5_grams": "characters in repeated five-word runs",
    "language_score": "certainty of the language",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c1b18;background:#fbfaf7;max-width:66rem;margin:2.5rem auto;
padding:0 1.5rem}
h1{font-size:1.7rem;margin:0}h2{font-size:1.15rem;margin:2.6rem 0 .6rem}p{margin:.3rem 0 .8rem;color:#55534d}
table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{padding:.3rem .7rem .3rem 0;text-align:left;
border-bottom:1px solid #e5e2da;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{display:inline-block;height:.7rem;background:#106858;border-radius:2px;vertical-align:middle}.bar.lost{background:#d9a38c}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1.6rem}figure{margin:0}
figcaption{font-size:.85rem;color:#55534d}svg{width:100%;height:auto;display:block}
blockquote{margin:.5rem 0 1rem;padding:.6rem .9rem;background:#fff;border:1px solid #e5e2da;border-radius:6px;
font-size:.9rem;white-space:pre-wrap;overflow-wrap:anywhere}blockquote b{color:#55534d;font-weight:600}
.warn{color:#8a4b1f}
@media(prefers-color-scheme:dark){body{background:#191815;color:#ece9e2}p,figcaption,blockquote b{color:#aaa69c}
td,th{border-color:#3a3832}blockquote{background:#22211d;border-color:#3a3832}.bar{background:#4fb39c}.warn{color:#e0a070}}
"""


def report_page(corpus: Path) -> str:
    """The page of a built corpus, as HTML."""
    report: dict[str, Any] = orjson.loads((corpus / "report.json").read_bytes())
    parts = [
        f"<h1>{report['documents']:,} documents</h1>",
        f"<p>{report['collected']:,} were collected from {report['files_read']:,} files"
        f" ({report['files_unread']:,} could not be read); {report['train']:,} are for training,"
        f" {report['held_out']:,} are held out; {report['characters']:,} characters.</p>",
        *(f'<p class="warn">{escape(w)}</p>' for w in report["warnings"]),
        _sources(report),
        _flow(corpus),
        _shares(report),
        _histograms(corpus),
        _missing(corpus),
        _duplicates(corpus),
        _augmentation(report, corpus),
        _samples(corpus),
    ]
    title = f"<title>Corpus: {report['documents']:,} documents</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{title}<style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; numbers are set to the right, what is HTML already comes as ``_Raw``."""
    rows = list(rows)
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    marks = [' class="n"' if n else "" for n in numeric]
    top = "".join(f"<th{m}>{escape(h)}</th>" for h, m in zip(head, marks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{m}>{_cell(v)}</td>" for v, m in zip(row, marks, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


class _Raw(str):
    """Text that is HTML."""

    __slots__ = ()


def _cell(value: Any) -> str:
    if isinstance(value, _Raw):
        return value
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _bar(part: float, whole: float, *, lost: bool = False, longest: float = 12) -> _Raw:
    width = longest * part / whole if whole else 0
    return _Raw(f'<span class="bar{" lost" if lost else ""}" style="width:{width:.2f}rem"></span>')


def _sources(report: Mapping[str, Any]) -> str:
    most = max((s["characters"] for s in report["sources"].values()), default=0)
    rows = [
        (name, s["use"], s["license"] or "unknown", s["collected"], s["documents"], s["characters"],
         _bar(s["characters"], most))
        for name, s in report["sources"].items()
    ]  # fmt: skip
    return "<h2>Sources</h2>" + _table(
        ("source", "kind", "licence", "collected", "kept", "characters", "share of characters"), rows
    )


def _flow(corpus: Path) -> str:
    """What each step dropped, by source."""
    import polars as pl

    ledger = pl.read_parquet(corpus / "ledger.parquet", columns=["step", "action", "reason", "source"])
    lost = ledger.filter(pl.col("action").is_in(["drop", "duplicate"]))
    if not lost.height:
        return "<h2>What was dropped</h2><p>Nothing.</p>"
    table = (
        lost.group_by("step", "reason").agg(pl.len(), pl.col("source").value_counts(sort=True)).sort("step", "reason")
    )
    most = max(table["len"])
    rows = [
        (step, reason, count, _bar(count, most, lost=True),
         ", ".join(f"{s['source']} {s['count']:,}" for s in sources[:4]))
        for step, reason, count, sources in table.iter_rows()
    ]  # fmt: skip
    return "<h2>What was dropped</h2>" + _table(("step", "reason", "documents", "", "from"), rows)


def _shares(report: Mapping[str, Any]) -> str:
    parts = []
    for title, counts in (("Languages", report["languages"]), ("Licences", report["licenses"])):
        rows = list(counts.items())[:12]
        most = max((n for _, n in rows), default=0)
        table = _table((title[:-1].lower(), "documents", ""), [(k, n, _bar(n, most, longest=5)) for k, n in rows])
        parts.append(f"<div><h2>{title}</h2>{table}</div>")
    return f'<div class="grid">{"".join(parts)}</div>'


def _histograms(corpus: Path) -> str:
    """One picture a signal; what was dropped stands on what was kept."""
    import polars as pl

    file = corpus / "signals" / "phase-0.parquet"
    if not file.exists():
        return ""
    frame = pl.read_parquet(file)
    verdicts = [pl.col(n).fill_null(True) for n in frame.columns if n.startswith("decide:")]
    frame = frame.with_columns(_kept=pl.all_horizontal(verdicts) if verdicts else pl.lit(True))
    figures = [_histogram(frame, name, title) for name, title in _HISTOGRAMS.items() if name in frame.columns]
    note = "<p>Every document that was measured; the lighter part was dropped by a rule.</p>"
    return f'<h2>What they are like</h2>{note}<div class="grid">{"".join(figures)}</div>'


def _histogram(frame: pl.DataFrame, name: str, title: str) -> str:
    import numpy as np
    import polars as pl

    known = frame.select(name, "_kept").drop_nulls()
    values = known[name].cast(pl.Float64).to_numpy()
    if name == "_characters":
        values = np.log2(np.maximum(values, 1))
    if not len(values):
        return ""
    low, high = float(values.min()), float(np.quantile(values, 0.995))
    edges = np.linspace(low, high if high > low else low + 1, 25)
    kept = known["_kept"].to_numpy()
    clipped = np.minimum(values, edges[-1])
    stays, goes = np.histogram(clipped[kept], edges)[0], np.histogram(clipped[~kept], edges)[0]
    most = max(int((stays + goes).max()), 1)
    bars = []
    for i, (a, b) in enumerate(zip(stays.tolist(), goes.tolist(), strict=True)):
        first, second = 70 * a / most, 70 * b / most
        bars.append(f'<rect x="{i * 10}" y="{80 - first:.1f}" width="9" height="{first:.1f}" fill="#2f8f7b"/>')
        bars.append(
            f'<rect x="{i * 10}" y="{80 - first - second:.1f}" width="9" height="{second:.1f}" fill="#d9a38c"/>'
        )
    shown = (
        [f"{2 ** edges[0]:,.0f}", f"{2 ** edges[-1]:,.0f}"]
        if name == "_characters"
        else [f"{edges[0]:.3g}", f"{edges[-1]:.3g}"]
    )
    text = (
        f'<text x="0" y="95" font-size="10" fill="currentColor">{shown[0]}</text>'
        f'<text x="240" y="95" font-size="10" text-anchor="end" fill="currentColor">{shown[1]}</text>'
    )
    picture = f'<svg viewBox="0 0 240 100" role="img" aria-label="{escape(title)}">{"".join(bars)}{text}</svg>'
    return f"<figure>{picture}<figcaption>{escape(title)}</figcaption></figure>"


def _missing(corpus: Path) -> str:
    """Fields that are null among the kept documents, and what was filled."""
    import polars as pl

    names = ["title", "author", "created", "language", "license", "url", "group_id"]
    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet")))
    nulls = data.select(pl.len().alias("_all"), *(pl.col(n).null_count() for n in names)).collect().row(0, named=True)
    ledger = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action") == "impute")
    filled = dict(ledger.group_by("reason").len().collect().iter_rows())
    rows = [(n, nulls[n], _bar(nulls[n], nulls["_all"], lost=True), int(filled.get(n, 0))) for n in names]
    return "<h2>Missing data</h2>" + _table(("field", "still missing", "", "filled in"), rows)


def _duplicates(corpus: Path) -> str:
    import polars as pl

    ledger = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action") == "duplicate")
    rows = ledger.select("id", "source", "reason", "value", "detail").collect()
    if not rows.height:
        return ""
    keepers = rows["detail"].str.json_path_match("$.keeper").drop_nulls()
    biggest = keepers.value_counts(sort=True).head(5)
    note = f"<p>{rows.height:,} documents were folded into {keepers.n_unique():,} others.</p>"
    return f"<h2>Duplicates</h2>{note}" + _table(("kept document", "took in"), list(biggest.iter_rows()))


def _augmentation(report: Mapping[str, Any], corpus: Path) -> str:
    told = report.get("augmentation")
    if not told:
        return ""
    most = max((o["kept"] for o in told["operations"]), default=0)
    rows = [(o["operation"], o["children"], o["kept"], _bar(o["kept"], most), left_out(o)) for o in told["operations"]]
    note = "".join(f"<p>{escape(line)}</p>" for line in in_words(told))
    table = _table(("operation", "children made", "within the budget", "", "left out, or left as it was"), rows)
    shown = "".join(
        f"<blockquote><b>{escape(operation)}</b>\n{escape(before)}\n→ {escape(after)}</blockquote>"
        for operation, before, after in samples(corpus)
    )
    return f"<h2>Augmentation</h2>{note}{table}{shown}"


def _samples(corpus: Path) -> str:
    import polars as pl

    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet"))).select(
        "id", "source", "title", "text", "parent_id"
    )
    kept = data.filter(pl.col("parent_id").is_null()).sort("id").head(_SAMPLES).collect()
    parts = ["<h2>Some that were kept</h2>"]
    parts += [_quoted(f"{source} · {title or id}", text) for id, source, title, text, _ in kept.iter_rows()]
    file = corpus / "dropped.parquet"
    gone = pl.read_parquet(file).sort("id").group_by("step", maintain_order=True).head(2) if file.exists() else None
    if gone is not None and gone.height:
        parts.append("<h2>Some that were dropped</h2>")
        rows = gone.sort("step", "id").select("source", "step", "reason", "text")
        parts += [_quoted(f"{source} · {step}: {reason}", text) for source, step, reason, text in rows.iter_rows()]
    return "".join(parts)


def _quoted(title: str, text: str | None) -> str:
    shown = (text or "")[:_SHOWN] + ("…" if len(text or "") > _SHOWN else "")
    return f"<blockquote><b>{escape(title)}</b>\n{escape(shown)}</blockquote>"
