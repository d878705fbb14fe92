"""Why a document is there, or is not: its signals against their thresholds, every decision and edit, its duplicates,
its descendants, and where its tokens lie; and back, from a token to its document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.explain_beside import Beside, side_by_side
from lamina.data.explain_find import data, find
from lamina.data.units import SAMPLE_CHARACTERS
from lamina.kit.errors import InputError

SHOWN = 600  # characters of the text
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_BESIDE = 3  # duplicates of a document whose texts are shown beside its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of one document."""

    id: str
    kept: bool
    facts: Mapping[str, Any]  # document columns that are not null, and the ``file`` of the corpus that has it
    text: str  # its beginning; "" where a dropped one's is not kept
    signals: Mapping[str, Any]
    rules: Sequence[Mapping[str, Any]]  # expression, reason, signals that it names
    ledger: Sequence[Mapping[str, Any]]
    #: Of the keeper: who was folded into it; of a dropped one: its keeper. relation, id, jaccard; ``index`` where the
    #: keeper is another corpus'; of the first ones ``texts`` (``Beside``: this document's and the other's) or ``note``.
    duplicates: Sequence[Mapping[str, Any]]
    children: Sequence[str]  # augmented from it
    tokens: tuple[int, int] | None = None  # first token and the one behind the last, in the shards
    more: Sequence[str] = field(default_factory=tuple)  # other documents that fit what was asked


def explain(corpus: Path, query: str, *, tokens: Path | None = None) -> Explanation:
    """The document that ``query`` names: an id, an address in any spelling, or words of its text (see ``find``).

    ``tokens``: the folder of the token shards, for the document's place in them. Raises ``NotFoundError`` where nothing
    fits, with what is known instead.
    """
    id, *more = find(corpus, query)
    row = _kept(corpus, id)
    measured = _signals(corpus, id)
    signals = {k: v for k, v in (measured | row).items() if k not in DOCUMENTS.names and k != "file" and v is not None}
    entries = _ledger(corpus, id)
    known = (measured | row) if row else measured | {"source": entries[0]["source"] if entries else None}
    facts = {n: known[n] for n in (*DOCUMENTS.names, "file") if n not in ("text", "id") and known.get(n) is not None}
    duplicates = _duplicates(corpus, id, entries)
    texts = _texts(corpus, [id, *(d["id"] for d in duplicates[:_BESIDE])])
    return Explanation(
        id=id,
        kept=bool(row),
        facts=facts,
        text=texts.get(id, "")[:SHOWN],
        signals=signals,
        rules=_rules(corpus, measured | signals),
        ledger=entries,
        duplicates=[d | (_beside(texts, id, d) if n < _BESIDE else {}) for n, d in enumerate(duplicates)],
        children=_children(corpus, id),
        tokens=_place(tokens, id) if tokens else None,
        more=more,
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


def _kept(corpus: Path, id: str) -> dict[str, Any]:
    import polars as pl

    rows = data(corpus).filter(pl.col("id") == id).drop("text").head(1).collect()
    return rows.row(0, named=True) | {"file": f"data/{Path(rows['file'][0]).name}"} if rows.height else {}


def _signals(corpus: Path, id: str) -> dict[str, Any]:
    """What was measured of a document, the last value of each; ``source``, address, language and so on among them."""
    import polars as pl

    found: dict[str, Any] = {}
    for file in sorted((corpus / "signals").glob("*.parquet")):
        rows = pl.scan_parquet(file).filter(pl.col("id") == id).head(1).collect()
        if rows.height:
            row = rows.row(0, named=True)
            found |= {k: v for k, v in row.items() if v is not None and k != "id"}
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
    found = [_relation("folded into", d.get("keeper"), d) for d in mine]
    ledger = pl.scan_parquet(corpus / "ledger.parquet")
    folded = ledger.filter((pl.col("action") == "duplicate") & pl.col("detail").str.contains(id, literal=True))
    for row in folded.select("id", "detail").collect().iter_rows(named=True):
        detail = orjson.loads(row["detail"])
        if detail.get("keeper") == id:
            found.append(_relation("took in", row["id"], detail))
    return found


def _relation(relation: str, id: str | None, detail: Mapping[str, Any]) -> dict[str, Any]:
    index = {"index": detail["index"]} if detail.get("index") else {}
    return {"relation": relation, "id": id, "jaccard": detail.get("jaccard"), **index}


def _beside(texts: Mapping[str, str], id: str, other: Mapping[str, Any]) -> dict[str, Beside | str]:
    """The two texts compared, or why they cannot be."""
    lacking = [name for name in (id, other["id"]) if name not in texts]
    if other.get("index") and other["id"] in lacking:
        return {"note": f"its text is not of this corpus but of the index {other['index']}"}
    if lacking:
        return {"note": f"the text of {' and '.join(lacking)} is not kept"}
    mine, theirs = texts[id], texts[other["id"]]
    # Of a dropped text the beginning is kept; the keeper's is whole.
    cut = min(len(mine), len(theirs)) == SAMPLE_CHARACTERS
    return {"texts": side_by_side(mine, theirs, cut=cut)}


def _children(corpus: Path, id: str) -> list[str]:
    import polars as pl

    return [str(c) for c in data(corpus).filter(pl.col("parent_id") == id).select("id").collect()["id"]]


def _texts(corpus: Path, ids: Sequence[str | None]) -> dict[str, str]:
    """The texts of documents by id: of kept ones all, of dropped ones the beginning where it is kept."""
    import polars as pl

    wanted = pl.col("id").is_in([id for id in ids if id])
    dropped = corpus / "dropped.parquet"
    frames = [pl.scan_parquet(dropped).select("id", "text")] if dropped.exists() else []
    frames.append(data(corpus).select("id", "text"))
    return {id: text for frame in frames for id, text in frame.filter(wanted).collect().iter_rows() if text}


def _place(tokens: Path, id: str) -> tuple[int, int] | None:
    import polars as pl

    rows = pl.scan_parquet(tokens / "documents.parquet").with_row_index("number").filter(pl.col("id") == id).collect()
    if not rows.height:
        return None
    ends = np.fromfile(tokens / "tokens.index", "<u8")
    return int(rows["start"][0]), int(ends[rows["number"][0]])
