"""What augmentation did, in words and in samples: for the report, its page and the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

_WIDTH = 240  # characters of a sample
_LEAD = 60  # of them before the first edit


def in_words(told: Mapping[str, Any]) -> list[str]:
    """Lines on ``report["augmentation"]``: how many children of what, by which translator, and what is worth a note."""
    total = told["characters"] + told["children_characters"]
    share = told["children_characters"] / total if total else 0.0
    kinds = ", ".join(f"{o['operation']} {o['kept']:,}" for o in told["operations"])
    lines = [
        f"augmentation: {told['children']:,} children of {told['documents']:,} training documents ({kinds}),"
        f" {share:.1%} of the training characters (at most {told['max_share']:.0%})"
    ]
    lines += [
        f"{row['operation']} {row['language']}-{row['pivot']}: {'; '.join(row['reasons'])}"
        for row in told["translators"]
    ]
    for operation in told["operations"]:
        if not operation["kept"]:
            why = left_out(operation)
            lines.append(f"note: {operation['operation']} made no child" + (f": {why}" if why else ""))
    return lines


def left_out(operation: Mapping[str, Any]) -> str:
    """Why children of an operation were left out, and why pieces of texts stayed as they were; "" for no reason."""
    refused = [f"{count:,} {reason}" for reason, count in operation["refused"].items()]
    pieces = [f"{count:,} by {reason}" for reason, count in operation["pieces"].items()]
    return (
        ", ".join(refused)
        + ("; " if refused and pieces else "")
        + (f"sentences that stayed: {', '.join(pieces)}" if pieces else "")
    )


def excerpt(text: str, edits: Sequence[Sequence[Any]], *, width: int = _WIDTH) -> tuple[str, str]:
    """The stretch of ``text`` round its first edit as it was and as it is after ``edits`` (begin, end, new; in order),
    on one line each."""
    if not edits:
        return _line(text[:width]), _line(text[:width])
    begin = max(0, int(edits[0][0]) - _LEAD)
    if begin:
        begin = text.find(" ", begin, int(edits[0][0])) + 1 or begin
    end = min(len(text), begin + width)
    end = max([end, *(int(b) for a, b, _ in edits if int(a) < end)])
    after: list[str] = []
    at = begin
    for first, last, new in edits:
        if int(first) >= end:
            break
        after += [text[at : int(first)], str(new)]
        at = int(last)
    after.append(text[at:end])
    dots = "…" if end < len(text) else ""
    return _line(("…" if begin else "") + text[begin:end] + dots), _line(("…" if begin else "") + "".join(after) + dots)


def _line(text: str) -> str:
    return " ".join(text.split())


def samples(corpus: Path, count: int = 2) -> Iterator[tuple[str, str, str]]:
    """(operation, before, after) of some children of a built corpus, ``count`` an operation: those with the smallest
    ids."""
    import polars as pl

    ledger = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("action") == "augment")
    some = ledger.select("id", "step", "detail").sort("id").group_by("step", maintain_order=True).head(count).collect()
    details = [(step.removeprefix("augment "), orjson.loads(detail)) for _, step, detail in some.sort("step").rows()]
    wanted = [detail["parent"] for _, detail in details]
    data = pl.scan_parquet(sorted((corpus / "data").glob("train-*.parquet")))
    texts = dict(data.filter(pl.col("id").is_in(wanted)).select("id", "text").collect().rows())
    for operation, detail in details:
        if detail["parent"] in texts:
            yield operation, *excerpt(texts[detail["parent"]], detail["done"].get("edits", ()))
