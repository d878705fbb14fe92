"""The part of the corpus' page on the questions that models are judged by, and the documents that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from lamina.data.clean.contamination import in_words
from lamina.kit.page import table

_SHOWN = 12


def questions_section(corpus: Path, found: Mapping[str, Any] | None) -> str:
    """HTML of what ``clean.contamination`` found, or of ``{"failed": why}``; nothing where nothing was looked for."""
    if found is None:
        return ""
    if "failed" in found:
        return f'<h2>Evaluation</h2><p class="warn">{escape(found["failed"])}</p>'
    kind = ' class="warn"' if found["documents"] else ""
    line = in_words(found)
    said = f"<p{kind}>{escape(line[:1].upper() + line[1:])}.</p>"
    if not found["documents"]:
        return f"<h2>Evaluation</h2>{said}"
    shown = found["documents"][:_SHOWN]
    names = _names(corpus, [h["id"] for h in shown])
    rows = [
        (names.get(h["id"], h["id"]), h["source"], h["split"], h["questions"], h["question"], h["answer"] or "")
        for h in shown
    ]
    note = (
        "<p>A model that learned a question, or finds it among its sources, is judged on what it has seen. A step"
        f' pass = "decontaminate" with sets = ["{escape(found["set"])}"] drops documents that hold a question with an'
        ' answer near it; with answers = "ignore" all of these.</p>'
    )
    head = ("document", "source", "split", "questions", "one of them", "answer near it")
    return f"<h2>Evaluation</h2>{said}{note}{table(head, rows)}"


def _names(corpus: Path, ids: list[str]) -> dict[str, str]:
    """What documents are called: title, or address."""
    import polars as pl

    data = pl.scan_parquet(sorted((corpus / "data").glob("*.parquet"))).filter(pl.col("id").is_in(ids))
    return dict(data.select("id", pl.coalesce("title", "url", "id").alias("name")).collect().iter_rows())
