"""Why a document is there, or is not: its signals against their thresholds, every decision and edit, its duplicates,
its descendants, and where its tokens lie; and back, from a token to its document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lamina.contracts.corpus import DOCUMENTS
from lamina.kit.errors import InputError, NotFoundError

if TYPE_CHECKING:
    import polars as pl

SHOWN = 600  # characters of the text
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_SNIPPET = 12  # characters that a piece of text must have to be looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of one document."""

    id: str
    kept: bool
    facts: Mapping[str, Any]  # document columns that are not null
    text: str  # its beginning, as far as it is kept
    signals: Mapping[str, Any]
    rules: Sequence[Mapping[str, Any]]  # expression, reason, signals that it names
    ledger: Sequence[Mapping[str, Any]]
    duplicates: Sequence[Mapping[str, Any]]  # of the keeper: who was folded into it; of a dropped one: its keeper
    children: Sequence[str]  # augmented from it
    tokens: tuple[int, int] | None = None  # first token and the one behind the last, in the shards
    more: Sequence[str] = field(default_factory=tuple)  # other documents that fit what was asked


def explain(corpus: Path, query: str, *, tokens: Path | None = None) -> Explanation:
    """The document that ``query`` names: an id, a URL, or words of its text.

    Raises ``NotFoundError`` where nothing fits.
    """
    found = _find(corpus, query)
    if not found:
        raise NotFoundError(
            f"no document has the id or URL '{query[:80]}', or these words in its text",
            where=str(corpus),
            hint='lamina data explain ID | URL | "words of the text"',
        )
    id = found[0]
    row = _kept(corpus, id)
    signals = {**_signals(corpus, id), **{k: v for k, v in row.items() if k not in DOCUMENTS.names and v is not None}}
    entries = _ledger(corpus, id)
    text = row.get("text") or _dropped_text(corpus, id)
    facts = {k: v for k, v in row.items() if k in DOCUMENTS.names and k not in ("text", "id") and v is not None}
    return Explanation(
        id=id,
        kept=bool(row),
        facts=facts or {"source": entries[0]["source"]} if entries else facts,
        text=(text or "")[:SHOWN],
        signals=signals,
        rules=_rules(corpus, signals),
        ledger=entries,
        duplicates=_duplicates(corpus, id, entries),
        children=_children(corpus, id),
        tokens=_place(tokens, id) if tokens else None,
        more=found[1:6],
    )


def whereis(tokens: Path, offset: int) -> tuple[str, int]:
    """The id of the document that token ``offset`` of the shards belongs to, and the token's place in it.

    Raises ``InputError`` for an offset beyond the shards.
    """
    import polars as pl

    ends = np.fromfile(tokens / "tokens.index", "<u8").astype(np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if not 0 <= offset < total:
        raise InputError(f"token {offset:,} is not there: the shards have {total:,}", where=str(tokens))
    number = int(np.searchsorted(ends, offset, side="right"))
    row = pl.scan_parquet(tokens / "documents.parquet").slice(number, 1).collect().row(0, named=True)
    return str(row["id"]), offset - int(row["start"])


def describe(found: Explanation) -> str:
    """The explanation in words, for a terminal."""
    lines = [f"{found.id}  {'kept' if found.kept else 'not in the corpus'}"]
    lines += [f"  {name:<12} {value}" for name, value in found.facts.items() if name != "meta"]
    if found.tokens:
        lines.append(f"  {'tokens':<12} {found.tokens[0]:,} to {found.tokens[1]:,} of the shards")
    if found.text:
        lines += ["", *(f"  | {line}" for line in found.text.splitlines()[:8])]
    if found.rules:
        lines += ["", "rules"]
        lines += [
            f"  {r['verdict']:<10} {r['reason']}: {r['expression']}  [{_values(r['values'])}]" for r in found.rules
        ]
    if found.ledger:
        lines += ["", "what happened"]
        lines += [f"  {_entry(entry)}" for entry in found.ledger]
    if found.duplicates:
        lines += ["", "duplicates"]
        lines += [
            f"  {d['relation']} {d['id']}" + (f"  Jaccard {d['jaccard']}" if d.get("jaccard") else "")
            for d in found.duplicates
        ]
    if found.children:
        lines += ["", f"augmented into {len(found.children)}: {', '.join(found.children[:5])}"]
    if found.more:
        lines += ["", f"these fit too: {', '.join(found.more)}"]
    return "\n".join(lines)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} = {v:.4g}" if isinstance(v, float) else f"{k} = {v}" for k, v in values.items())


def _entry(entry: Mapping[str, Any]) -> str:
    what = f"{entry['step']}: {entry['action']}" + (f" {entry['reason']}" if entry["reason"] else "")
    detail = orjson.loads(entry["detail"]) if entry["detail"] else {}
    for begin, _, old, new in detail.get("spans", [])[:5] if isinstance(detail, dict) else []:
        what += f"\n      at {begin}: {old!r} -> {new!r}"
    return what + (f" = {entry['value']}" if entry["value"] and entry["action"] != "edit" else "")


def _data(corpus: Path) -> pl.LazyFrame:
    import polars as pl

    return pl.scan_parquet(sorted((corpus / "data").glob("*.parquet")))


def _find(corpus: Path, query: str) -> list[str]:
    """Ids that fit, the best first."""
    import polars as pl

    ledger = pl.scan_parquet(corpus / "ledger.parquet")
    data = _data(corpus)
    exact = data.filter((pl.col("id") == query) | (pl.col("url") == query)).select("id").head(6).collect()
    if exact.height:
        return [str(id) for id in exact["id"]]
    gone = ledger.filter(pl.col("id") == query).select("id").head(1).collect()
    if gone.height:
        return [query]
    words = " ".join(query.split())
    if len(words) < _SNIPPET:
        return []
    pattern = r"\s+".join(re.escape(word) for word in words.split())
    pattern = re.sub(r"\\([-&~# ])", r"\1", pattern)  # Rust knows no needless escapes
    frames = [data.select("id", "text")]
    if (corpus / "dropped.parquet").exists():
        frames.append(pl.scan_parquet(corpus / "dropped.parquet").select("id", "text"))
    return [
        str(id)
        for frame in frames
        for id in frame.filter(pl.col("text").str.contains(pattern)).select("id").head(6).collect()["id"]
    ]


def _kept(corpus: Path, id: str) -> dict[str, Any]:
    import polars as pl

    rows = _data(corpus).filter(pl.col("id") == id).head(1).collect()
    return rows.row(0, named=True) if rows.height else {}


def _signals(corpus: Path, id: str) -> dict[str, Any]:
    import polars as pl

    found: dict[str, Any] = {}
    for file in sorted((corpus / "signals").glob("*.parquet")):
        rows = pl.scan_parquet(file).filter(pl.col("id") == id).head(1).collect()
        if rows.height:
            row = rows.row(0, named=True)
            found |= {k: v for k, v in row.items() if v is not None and k not in ("id", "source")}
    return {k: v for k, v in found.items() if not k.startswith("decide:")}


def _rules(corpus: Path, signals: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The corpus' rules, with the values of this document's signals, and what they say of it."""
    import polars as pl

    file = corpus / "signals" / "steps.json"
    if not file.exists() or not signals:
        return []
    found = []
    for step in _decides(orjson.loads(file.read_bytes())):
        names = [n for n in dict.fromkeys(_NAME.findall(step["expression"])) if n in signals]
        if not names:
            continue
        try:
            verdict = pl.DataFrame({k: [v] for k, v in signals.items()}).select(v=pl.sql_expr(step["expression"]))["v"][
                0
            ]
        except pl.exceptions.PolarsError:  # it names columns that this document has no value for
            verdict = None
        word = "undecided" if verdict is None else "passes" if verdict else "fails"
        found.append({**step, "verdict": word, "values": {n: signals[n] for n in names}})
    return found


def _decides(steps: Any) -> Iterable[dict[str, Any]]:
    for step in steps.get("steps", []) if isinstance(steps, dict) else steps:
        if step.get("kind") == "decide":
            yield {"expression": step["expression"], "reason": step.get("reason") or step["label"]}


def _ledger(corpus: Path, id: str) -> list[dict[str, Any]]:
    import polars as pl

    rows = pl.scan_parquet(corpus / "ledger.parquet").filter(pl.col("id") == id).collect()
    return list(rows.iter_rows(named=True))


def _duplicates(corpus: Path, id: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    import polars as pl

    mine = [orjson.loads(e["detail"]) for e in entries if e["action"] == "duplicate" and e["detail"]]
    found = [{"relation": "folded into", "id": d.get("keeper"), "jaccard": d.get("jaccard")} for d in mine]
    ledger = pl.scan_parquet(corpus / "ledger.parquet")
    folded = ledger.filter(
        (pl.col("action") == "duplicate") & pl.col("detail").str.contains(id, literal=True)
    ).collect()
    for row in folded.iter_rows(named=True):
        detail = orjson.loads(row["detail"])
        if detail.get("keeper") == id:
            found.append({"relation": "took in", "id": row["id"], "jaccard": detail.get("jaccard")})
    return found


def _children(corpus: Path, id: str) -> list[str]:
    import polars as pl

    return [str(c) for c in _data(corpus).filter(pl.col("parent_id") == id).select("id").collect()["id"]]


def _dropped_text(corpus: Path, id: str) -> str | None:
    import polars as pl

    if not (corpus / "dropped.parquet").exists():
        return None
    rows = pl.scan_parquet(corpus / "dropped.parquet").filter(pl.col("id") == id).head(1).collect()
    return str(rows["text"][0]) if rows.height else None


def _place(tokens: Path, id: str) -> tuple[int, int] | None:
    import polars as pl

    rows = pl.scan_parquet(tokens / "documents.parquet").with_row_index("number").filter(pl.col("id") == id).collect()
    if not rows.height:
        return None
    ends = np.fromfile(tokens / "tokens.index", "<u8")
    return int(rows["start"][0]), int(ends[rows["number"][0]])
