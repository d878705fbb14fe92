"""Rows of ``[model.train.rows]``: found, read, checked and split before anything is trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.contracts.chat import DPO, KTO
from lamina.contracts.corpus import DOCUMENTS
from lamina.kit import config
from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.identity import blake3_hex
from lamina.kit.progress import Progress
from lamina.kit.stages import Stage
from lamina.recipes.collect import cache_folder, locate, matching
from lamina.recipes.row_section import COLUMNS, RowsSection, read_rows_section
from lamina.recipes.stack import Stack, TrainSection

TRAIN, HELD_OUT = "train", "held-out"
_FILES = {TRAIN: "train.parquet", HELD_OUT: "held_out.parquet"}
_CHAT = {"dpo": DPO, "kto": KTO}


def rows_stage(stack: Stack, section: TrainSection, progress: Progress) -> Stage:
    """The stage that reads the rows; what the files hold decides whether it is stale."""
    from lamina.data.objectives.row_files import KINDS
    from lamina.data.readers.streams import kind

    found = read_rows_section(section.objective, section.rows)
    if found is None:
        raise ConfigError(f'"{section.objective}" learns from the documents', where="model.train.objective")
    location, rows = found
    patterns = (rows.match,) if isinstance(rows.match, str) else rows.match
    located = locate(stack, location, progress, match=() if patterns == ("**/*",) else patterns)
    files = [f for f in matching(located.path, patterns, cache_folder(stack) / "names") if f[1].is_file()]
    readable = [f for f in files if kind(f[0]) in KINDS]
    if not readable:
        raise InputError(
            f"no file of rows matches {', '.join(patterns)}",
            where=f"{stack.file.name}: model.train.rows ({location})",
            hint="known: " + ", ".join(KINDS),
        )
    return Stage(
        name="rows",
        shelf="rows",
        function="lamina.recipes.rows:write_rows",
        parameters={
            "objective": section.objective,
            "rows": {name: value for name, value in config.resolved(rows).items() if name != "license"},
            "origin": located.location if located.version else location,
            "sha256": located.sha256,
        },
        versions={"rows": 1},
        context={"files": [[name, str(path)] for name, path in readable], "license": rows.license or located.license},
    )


def write_rows(
    staging: Path, work: Path, parameters: dict[str, Any], inputs: Mapping[str, Path], progress: Progress
) -> None:
    """``train.parquet`` and ``held_out.parquet``, their texts as a corpus in ``data/``, and ``facts.json``."""
    from lamina.data.objectives.row_files import read_rows

    objective, section = parameters["objective"], config.build(RowsSection, parameters["rows"], where="rows")
    given = [(name, Path(path)) for name, path in parameters["context"]["files"]]
    with progress.task("rows", total=None, unit="rows") as task:
        found = read_rows(
            objective,
            given,
            fields=_fields(objective, section),
            records=section.records,
            encoding=section.encoding,
            labels=section.labels,
            limit=section.limit,
        )
        task.advance(len(found.kept))
    held = _held_out([row[COLUMNS[objective][0]] for row in found.kept], section.held_out)
    split = {
        TRAIN: [row for row, out in zip(found.kept, held, strict=True) if not out],
        HELD_OUT: [row for row, out in zip(found.kept, held, strict=True) if out],
    }
    if section.both_ways:
        split = {side: _both_ways(rows, section.languages) for side, rows in split.items()}
    facts: dict[str, Any] = {"objective": objective, "origin": parameters["origin"]}
    facts |= {"train": len(split[TRAIN]), "held_out": len(split[HELD_OUT]), "left_out": found.in_words()}
    if objective == "classification":
        facts["labels"] = _labels(split, section.labels)
        facts["label_rows"] = dict(Counter(row["label"] for row in found.kept))
    if section.languages:
        facts["languages"] = list(section.languages)
        facts["both_ways"] = section.both_ways
    for name, rows in split.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema(objective)), staging / _FILES[name])
    _write_texts(staging / "data", split[TRAIN])
    atomic_write(staging / "facts.json", json.dumps(facts, indent=1, ensure_ascii=False).encode())


def read_split(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of one side of the split, in the order of the files."""
    rows: list[dict[str, Any]] = pq.read_table(folder / _FILES[split]).to_pylist()
    return rows


def prefix(target: str) -> str:
    """What stands before a text that is to be translated into ``target``, where a model knows several directions
    (Johnson et al. 2017, arXiv 1611.04558), in the form of OPUS-MT's models."""
    return f">>{target}<< "


def _both_ways(rows: Sequence[Mapping[str, Any]], languages: Sequence[str]) -> list[dict[str, Any]]:
    """Each row, and the same the other way round."""
    first, second = languages
    return [
        {**row, "source": prefix(into) + row[a], "target": row[b]}
        for row in rows
        for into, a, b in ((second, "source", "target"), (first, "target", "source"))
    ]


def in_words(facts: Mapping[str, Any]) -> str:
    """What was read, for a person."""
    lines = [f"rows: {facts['train']:,} to learn from, {facts['held_out']:,} held out ({facts['origin']})"]
    if "label_rows" in facts:
        counts = sorted(facts["label_rows"].items(), key=lambda item: -item[1])
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        lines.append("labels: " + ", ".join(f"{name} {count:,}" for name, count in counts[:8]) + more)
    return "\n".join([*lines, *(f"  {line}" for line in facts["left_out"])])


def _fields(objective: str, section: RowsSection) -> dict[str, str]:
    """Column = path in the record; of a translation the languages name the columns where ``fields`` does not."""
    usual = {column: column for column in COLUMNS[objective]}
    if section.languages:
        usual = dict(zip(usual, section.languages, strict=True))
    return usual | section.fields


def _held_out(asked: Sequence[Any], share: float) -> list[bool]:
    """Which rows are held out, by the hash of what is asked: rows that ask the same stand on one side."""
    import polars as pl

    from lamina.data.splits import assign

    keys = [blake3_hex(json.dumps(value, sort_keys=True, ensure_ascii=False)) for value in asked]
    frame = pl.DataFrame(
        {"id": [str(number) for number in range(len(keys))], "parent_id": None, "duplicate_cluster": keys},
        schema={"id": pl.String, "parent_id": pl.String, "duplicate_cluster": pl.String},
    )
    if len(set(keys)) < 2:
        return [False] * len(keys)  # else one question would stand on both sides
    return [side == HELD_OUT for side in assign(frame, share)["split"].to_list()]


def _labels(split: Mapping[str, Sequence[Mapping[str, Any]]], given: Sequence[str]) -> list[str]:
    """The labels in the order of the scores. Raises ``InputError`` for one alone, and for one that is never learned."""
    met = {row["label"] for rows in split.values() for row in rows}
    learned = {row["label"] for row in split[TRAIN]}
    names = list(given) or sorted(met, key=lambda name: (len(name), name) if name.isdigit() else (1 << 30, name))
    if len(met) < 2:
        raise InputError(
            f"all rows have the label '{next(iter(met))}': there is nothing to tell apart", where="model.train.rows"
        )
    for name in names:
        if name not in learned:
            known = "has no row" if name not in met else "stands in held-out rows alone"
            raise InputError(
                f"the label '{name}' {known}, so it cannot be learned",
                where="model.train.rows",
                hint="give it more rows, or leave it out",
            )
    return names


def _schema(objective: str) -> pa.Schema:
    names = COLUMNS[objective]
    kinds = _CHAT.get(objective)
    columns = [kinds.field(name) if kinds is not None else pa.field(name, pa.string()) for name in names]
    return pa.schema([*columns, pa.field("where", pa.string())])


def _write_texts(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The texts of rows as documents: what a tokenizer learns from where the stack has no others."""
    folder.mkdir()
    texts = [text for row in rows for text in _texts(row)]
    documents = [
        {"id": blake3_hex("row", str(number), text), "text": text, "source": "rows"}
        for number, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENTS), folder / "train-00000.parquet")


def _texts(row: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in row.items():
        if isinstance(value, str) and name not in ("label", "where"):
            found.append(value)
        elif isinstance(value, list):
            found += [turn["content"] for turn in value]
    return found
