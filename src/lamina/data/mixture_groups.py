"""The groups of a corpus that a mixture speaks of, and which documents of the token shards are in which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq

from lamina.data.mixture import UNKNOWN, By, Group
from lamina.data.shards import Shards
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
