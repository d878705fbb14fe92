"""The groups of a corpus that a mixture speaks of, and which documents of the token shards are in which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from lamina.data.mixture import UNKNOWN, By, Group
from lamina.data.shards import Shards
from lamina.data.variety.scores import effective_number
from lamina.kit.errors import InputError


def known_groups(corpus: Path, by: By) -> list[str]:
    """The names that a corpus' groups have. Raises ``InputError`` where its topics were not measured."""
    if by == "cluster":
        return _topics(corpus)
    report = orjson.loads((corpus / "report.json").read_bytes())
    return list(report["sources" if by == "source" else "languages"])


def groups_of(shards: Shards, corpus: Path, by: By) -> list[Group]:
    """The documents of ``shards`` by source, language or topic, as the corpus that they were made of tells."""
    table = pq.read_table(shards.path / "documents.parquet", columns=["id", "source"])
    if by == "source":
        names = table.column("source").to_pylist()
    else:
        found = _languages(corpus) if by == "language" else _clusters(corpus)
        names = [found.get(id) for id in table.column("id").to_pylist()]
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        numbers.setdefault(name or UNKNOWN, []).append(number)
    return [Group(name=name, documents=np.asarray(numbers[name], np.int64)) for name in sorted(numbers)]


def _topics(corpus: Path) -> list[str]:
    file = corpus / "variety.json"
    if not file.is_file():
        raise InputError("the topics of this corpus were not measured", where=str(corpus), hint="lamina data build")
    return [topic["name"] for topic in orjson.loads(file.read_bytes())["topics"]]


def _clusters(corpus: Path) -> dict[str, str]:
    names = _topics(corpus)
    table = pq.read_table(corpus / "clusters.parquet")
    return {
        id: names[number]
        for id, number in zip(table.column("id").to_pylist(), table.column("cluster").to_pylist(), strict=True)
    }


def _languages(corpus: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for file in sorted((corpus / "data").glob("train-*.parquet")):
        table = pq.read_table(file, columns=["id", "language"])
        found.update(zip(table.column("id").to_pylist(), table.column("language").to_pylist(), strict=True))
    return found


def add_tokens(variety: dict[str, Any], shards: Shards, corpus: Path) -> dict[str, Any]:
    """``variety`` with the training tokens of every group: ``tokens`` beside documents and characters."""
    import polars as pl

    table = pl.read_parquet(shards.path / "documents.parquet", columns=["id"])
    tokens = table.with_columns(tokens=pl.Series(np.diff(shards.ends, prepend=0)))
    files = sorted((corpus / "data").glob("train-*.parquet"))
    facts = pl.scan_parquet(files).select("id", "source", "language", "author", year=pl.col("created").dt.year())
    topics = pl.DataFrame({"id": [], "topic": []}, schema={"id": pl.String, "topic": pl.String})
    if (corpus / "clusters.parquet").is_file():
        named = _clusters(corpus)
        topics = pl.DataFrame({"id": list(named), "topic": list(named.values())}, schema=topics.schema)
    rows = tokens.join(facts.collect(), on="id", how="left").join(topics, on="id", how="left")
    shares = {}
    for facet, found in variety["shares"].items():
        sums = rows.group_by(pl.col(facet).cast(pl.String)).agg(pl.sum("tokens"))
        counts: dict[str | None, int] = dict(sums.iter_rows())
        groups = [group | {"tokens": counts.get(group["name"], 0)} for group in found["groups"]]
        unknown = counts.get(None, 0)
        others = sum(counts.values()) - unknown - sum(group["tokens"] for group in groups)
        shares[facet] = found | {
            "groups": groups,
            "unknown": found["unknown"] | {"tokens": unknown},
            "others": found["others"] | {"tokens": others},
            "effective": found["effective"] | {"tokens": round(_effective(counts), 3)},
        }
    return variety | {"tokens": shards.total_tokens, "shares": shares}


def _effective(counts: dict[str | None, int]) -> float:
    return effective_number([count for name, count in counts.items() if name is not None])
