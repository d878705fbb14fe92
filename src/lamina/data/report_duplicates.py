"""Duplicates on the corpus' page and in its report: how good the search is, what sources lost, who took in most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from lamina.kit.page import bar, table

#: What the pass "duplicates" drops for; it raises an alarm of its own.
REASONS = ("exact duplicate", "near duplicate")
_SHOWN = 8  # keepers


def search_in_words(report: Mapping[str, Any]) -> list[str]:
    """A line for each search for duplicates that was measured on planted copies (see ``duplicates.planted``)."""
    return [_measured(label, facts["search"]) for label, facts in _searches(report)]


def duplicates_section(corpus: Path, report: Mapping[str, Any]) -> str:
    """HTML of the search as it was measured, the sources' losses, and the documents that took in most others."""
    parts = [_planted(report), _losses(report), _keepers(corpus)]
    return f"<h2>Duplicates</h2>{''.join(parts)}" if any(parts) else ""


def _searches(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((label, facts) for label, facts in (report.get("passes") or {}).items() if "search" in facts)


def _measured(label: str, search: Mapping[str, Any] | None) -> str:
    if not search:
        return f"{label}: not measured on planted copies, for no kept document is long enough"
    if not search["planted"]:
        found = "no planted copy was alike enough to be looked for"
    else:
        found = f"found {search['found']:,} of {search['planted']:,} planted copies (recall {_share(search['recall'])}"
        found += f"; {_share(search['promised'])} to be expected)" if search["promised"] is not None else ")"
    wrong = f"took {search['wrongly']:,} of {search['look_alikes']:,} look-alikes for copies"
    precise = f" (precision {_share(search['precision'])})" if search["precision"] is not None else ""
    return f"{label}: {found} and {wrong}{precise}"


def _share(share: float) -> str:
    """In percent; only all of it is 100 %."""
    return f"{share:.0%}" if share in (0, 1) else f"{min(share, 0.999):.1%}"


def _planted(report: Mapping[str, Any]) -> str:
    parts = []
    for label, facts in _searches(report):
        parts.append(f"<p>{escape(_measured(label, facts['search']))}.</p>")
        edits = (facts["search"] or {}).get("by_edit", {})
        rows = [(edit, made, found, bar(found, made, longest=8)) for edit, (found, made) in edits.items()]
        if rows:
            parts.append(table(("edit of the planted copies", "made", "found", ""), rows))
    note = (
        "<p>Copies of documents of this corpus were edited, looked for among all the others, and thrown away;"
        " look-alikes share half a page, a frame or most of their words with a document, and must not be found.</p>"
    )
    return f"<h3>The search, measured</h3>{note}{''.join(parts)}" if parts else ""


def _losses(report: Mapping[str, Any]) -> str:
    """What each source lost to duplicates, of all that was collected."""
    rows = []
    for name, facts in report["sources"].items():
        lost = sum(facts["dropped"].get(reason, 0) for reason in REASONS)
        if lost:
            part = lost / max(facts["collected"], 1)
            share = f"{part:.1%}" if part >= 0.001 else "<0.1%"
            rows.append((name, facts["collected"], lost, share, bar(part, 1, lost=True, longest=5)))
    head = ("source", "collected", "lost", "share", "")
    return f"<h3>What sources lost to them</h3>{table(head, rows)}" if rows else ""


def _keepers(corpus: Path) -> str:
    """The documents that took in most others, by name, with how alike they were."""
    import polars as pl

    ledger = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action") == "duplicate")
    rows = ledger.select("value", id=pl.col("detail").str.json_path_match("$.keeper")).drop_nulls("id").collect()
    if not rows.height:
        return ""
    value = pl.col("value").cast(pl.Float64, strict=False)
    biggest = rows.group_by("id").agg(pl.len(), value.min()).sort("len", "id", descending=[True, False]).head(_SHOWN)
    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet"))).select("id", "source", "title", "url")
    named = biggest.join(data.filter(pl.col("id").is_in(biggest["id"].to_list())).collect(), on="id", how="left")
    note = f"<p>{rows.height:,} documents were folded into {rows['id'].n_unique():,} others.</p>"
    shown = [
        (row["title"] or row["url"] or row["id"], row["source"] or "", row["len"], _likeness(row["value"]))
        for row in named.sort("len", "id", descending=[True, False]).iter_rows(named=True)
    ]
    head = ("kept document", "source", "took in", "least alike")
    return f"<h3>Documents that took in most others</h3>{note}{table(head, shown)}"


def _likeness(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
