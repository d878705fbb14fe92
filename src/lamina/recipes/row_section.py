"""``[model.train.rows]``: where the rows of an objective lie that learns from pairs, labels or preferences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lamina.kit import config
from lamina.kit.errors import ConfigError

#: What a row of each objective holds; ``fields`` says where.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "translation": ("source", "target"),
    "classification": ("text", "label"),
    "contrastive": ("anchor", "positive"),
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
}
_WHERE = "model.train.rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsSection:
    """The keys of ``[model.train.rows]`` beside ``from``."""

    match: str | tuple[str, ...] = "**/*"  # which files
    records: str = ""  # where records lie in JSON, as in [[data.sources]]
    fields: dict[str, str] = field(default_factory=dict)  # column = "path in the record"
    encoding: str | None = None  # of tables and JSON that are not UTF-8
    held_out: float = 0.1  # share of the rows that are never trained on, by the hash of what is asked
    languages: tuple[str, ...] = ()  # of translation: source and target, which name the columns too
    both_ways: bool = False  # of translation: from the target into the source, too; needs languages
    labels: tuple[str, ...] = ()  # of classification: all there are, in the order of the scores
    limit: int | None = None  # the first so many rows
    license: str | None = None  # of the rows (SPDX); default: what their package says


def read_rows_section(objective: str, table: Mapping[str, Any] | None) -> tuple[str, RowsSection] | None:
    """The location, and the other keys; None for objectives without rows.

    Raises ``ConfigError`` where rows are missing, stand where none are read, or name what the objective has not.
    """
    if objective not in COLUMNS:
        if table is not None:
            fitting = ", ".join(f'"{name}"' for name in COLUMNS)
            raise ConfigError(f'"{objective}" learns from the documents, not from rows', hint=f"rows are of {fitting}")
        return None
    if table is None or not isinstance(table.get("from"), str):
        raise ConfigError(
            f'"{objective}" learns from rows of {", ".join(COLUMNS[objective])}', hint=f'[{_WHERE}] from = "rows.jsonl"'
        )
    section = config.build(RowsSection, {k: v for k, v in table.items() if k != "from"}, where=_WHERE)
    unknown = sorted(set(section.fields) - set(COLUMNS[objective]))
    if unknown:
        raise ConfigError(
            f"{', '.join(map(repr, unknown))} is no column of {objective}",
            where=f"{_WHERE}.fields",
            hint=f"known: {', '.join(COLUMNS[objective])}",
        )
    if not 0 <= section.held_out < 1:
        raise ConfigError(f"{section.held_out} is no share from 0 to below 1", where=f"{_WHERE}.held_out")
    if section.limit is not None and section.limit < 1:
        raise ConfigError(f"{section.limit} rows cannot be learned from", where=f"{_WHERE}.limit")
    if section.languages and (objective != "translation" or len(section.languages) != 2):
        raise ConfigError(
            "names the source and the target of a translation",
            where=f"{_WHERE}.languages",
            hint='languages = ["en", "es"]',
        )
    if section.both_ways and not section.languages:
        raise ConfigError(
            "needs the names of the languages", where=f"{_WHERE}.both_ways", hint='languages = ["en", "es"]'
        )
    if section.labels and (objective != "classification" or len(set(section.labels)) < max(2, len(section.labels))):
        raise ConfigError("lists the two or more labels of a classification", where=f"{_WHERE}.labels")
    return table["from"], section
