"""Texts with their translations, on which a translator shows how good it is: a table or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from lamina.data.augment.tags import primary
from lamina.kit.errors import ConfigError

_HINT = 'a .tsv or .csv whose first line names the languages (en, es), or lines such as {"en": "…", "es": "…"}'
_MOST = 500  # pairs that are translated


def read_parallel(path: Path, source: str, target: str) -> list[tuple[str, str]]:
    """The first 500 pairs of a text in ``source`` and its translation into ``target`` that the file has.

    ``.tsv`` and ``.csv``: the first line names a language a column. Else JSON lines: objects with the languages as
    keys, at the top or under "translation". Raises ``ConfigError`` for anything else.
    """
    try:
        rows = _rows(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise ConfigError(f"these are no pairs of texts: {error}", where=str(path), hint=_HINT) from error
    pairs = ((row.get(primary(source)), row.get(primary(target))) for row in rows)
    found = [(a, b) for a, b in pairs if a and b]
    return found[:_MOST]


@lru_cache(maxsize=2)
def _rows(path: Path, stamp: int) -> tuple[dict[str, str], ...]:
    return tuple(_table(path) if path.suffix in (".tsv", ".csv") else _lines(path))


def _table(path: Path) -> Iterator[dict[str, str]]:
    tabs = path.suffix == ".tsv"
    options: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True, **options)
        names = [primary(name.strip()) for name in next(reader, [])]
        if len(names) < 2 or not all(2 <= len(name) <= 3 and name.isalpha() for name in names):
            raise ValueError(f"the first line names no languages: {names}")
        for row in reader:
            yield {name: value.strip() for name, value in zip(names, row, strict=False)}


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = orjson.loads(line)
            row = row.get("translation", row) if isinstance(row, Mapping) else row
            if not isinstance(row, Mapping):
                raise ValueError(f"line {number} is no object")
            yield {primary(key): value for key, value in row.items() if isinstance(value, str)}
