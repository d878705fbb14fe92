"""Rows of files as they are learned from: pairs, labelled texts, preferences. What is of no use is counted and told.

The columns are those of Hugging Face data sets and of TRL (https://huggingface.co/docs/trl/dataset_formats).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamina.data.readers import records as reading
from lamina.data.readers.columnar import arrow_rows, parquet_rows
from lamina.data.readers.encodings import known_encoding, legible
from lamina.data.readers.streams import kind, open_bytes, read_bytes
from lamina.data.readers.tables import csv_rows
from lamina.kit.errors import ConfigError, DocumentError, InputError
from lamina.kit.jail import Jail

Row = dict[str, Any]
KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
_SHOWN = 5  # places named of each reason
_ROLES = ("system", "user", "assistant")
_TRUE, _FALSE = ("true", "1", "yes", "good"), ("false", "0", "no", "bad")


class _Useless(Exception):
    """Why a row teaches nothing."""


@dataclass(slots=True)
class Rows:
    """Rows of one objective, with what was left out: how often for each reason, and where first."""

    kept: list[Row] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, where: str, reason: str) -> None:
        """Count one row."""
        self.left_out[reason] += 1
        shown = self.places.setdefault(reason, [])
        if len(shown) < _SHOWN:
            shown.append(where)

    def in_words(self) -> list[str]:
        """A line for each reason."""
        lines = []
        for reason, count in self.left_out.most_common():
            shown = ", ".join(self.places[reason])
            more = ", …" if count > len(self.places[reason]) else ""
            lines.append(f"{count:,} row{'s' if count != 1 else ''} left out: {reason} ({shown}{more})")
        return lines


def read_rows(
    objective: str,
    files: Sequence[tuple[str, Path]],
    *,
    fields: Mapping[str, str],
    records: str = "",
    encoding: str | None = None,
    labels: Sequence[str] = (),
    limit: int | None = None,
) -> Rows:
    """The rows of ``files`` (name, place) for "translation", "classification", "contrastive", "dpo" or "kto".

    ``fields``: column = dotted path in the record, of every column of the objective. Raises ``InputError`` for files
    without rows, for a column that no row has (naming those that are there), and for a label that is none of
    ``labels``; ``ConfigError`` for a file of another kind.
    """
    known, found, seen = known_encoding(encoding), Rows(), set[str]()
    make = _MAKERS[objective]
    with Jail(workers=1) as jail:
        for name, path in files:
            _read(make, name, _records(name, path, jail, records, known, found), fields, found, seen, limit)
    if not found.kept:
        raise InputError(
            "holds no row to learn from" + "".join(f"; {line}" for line in found.in_words()),
            where=", ".join(name for name, _ in files[:3]) or "no file",
        )
    if labels:
        _check_labels(found.kept, labels)
    return found


def _read(
    make: Callable[[Mapping[str, Any]], Row],
    name: str,
    given: Iterator[reading.Record],
    fields: Mapping[str, str],
    found: Rows,
    seen: set[str],
    limit: int | None,
) -> None:
    met, count, sample = Counter[str](), 0, None
    for record in given:
        if limit is not None and len(found.kept) >= limit:
            return
        count += 1
        where = f"{name}:{record.key}"
        if not isinstance(record.value, Mapping):
            found.leave_out(where, "is no object with columns")
            continue
        sample = sample or record.value
        values = {column: reading.dig(record.value, path) for column, path in fields.items()}
        met.update(column for column, value in values.items() if value is not None)
        try:
            row = make(values)
        except _Useless as reason:
            found.leave_out(where, str(reason))
            continue
        mark = repr(row)
        if mark in seen:
            found.leave_out(where, "stands there already")
            continue
        seen.add(mark)
        found.kept.append(row | {"where": where})
    optional = {"prompt"} if "chosen" in fields else set()
    lacking = [column for column in fields if not met[column] and column not in optional]
    if count and lacking:
        paths = ", ".join(f"'{fields[column]}'" for column in lacking)
        has = ", ".join(map(str, sample))[:200] if sample else "no columns"
        example = f'fields = {{ {lacking[0]} = "…" }}'
        raise InputError(f"no row has a column {paths}; there is: {has}", where=name, hint=f"{example} names it")


def _records(
    name: str, path: Path, jail: Jail, records: str, encoding: str | None, found: Rows
) -> Iterator[reading.Record]:
    def bad(where: str, reason: str) -> None:
        found.leave_out(f"{name}:{where}", reason)

    suffix = kind(name)
    try:
        if suffix in (".jsonl", ".ndjson"):
            with open_bytes(path, name) as stream:
                yield from reading.json_lines(stream, records, bad, encoding=encoding)
        elif suffix == ".json":
            yield from reading.records_of(reading.json_value(legible(read_bytes(path, name), encoding)[0]), records)
        elif suffix in (".csv", ".tsv"):
            yield from csv_rows(path, name, bad, encoding)
        elif suffix == ".parquet":
            yield from parquet_rows(path, jail, bad)
        elif suffix in KINDS:
            yield from arrow_rows(path, jail)
        else:
            raise ConfigError(
                "rows are not read from files of this kind", where=name, hint="known: " + ", ".join(KINDS)
            )
    except DocumentError as error:
        raise InputError(error.what, where=name, hint=error.hint) from error


def _text(values: Mapping[str, Any], column: str) -> str:
    value = values[column]
    if value is None:
        raise _Useless(f"has no {column}")
    if not isinstance(value, str):
        raise _Useless(f"its {column} is no text")
    if not value.strip():
        raise _Useless(f"its {column} is empty")
    return value.strip()


def _pair(first: str, second: str) -> Callable[[Mapping[str, Any]], Row]:
    return lambda values: {first: _text(values, first), second: _text(values, second)}


def _labelled(values: Mapping[str, Any]) -> Row:
    label = values["label"]
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if label is None or not isinstance(label, str | int) or not str(label).strip():
        raise _Useless("has no label")
    return {"text": _text(values, "text"), "label": str(label).strip()}


def _preferred(values: Mapping[str, Any]) -> Row:
    chosen, rejected = (_turns(values[name], name, "assistant") for name in ("chosen", "rejected"))
    if values["prompt"] is None:  # TRL's implicit prompt: what both conversations begin with
        same = next((n for n, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), 0)
        prompt, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
        if not prompt:
            raise _Useless("has no prompt")
    else:
        prompt = _turns(values["prompt"], "prompt", "user")
        chosen, rejected = _after(prompt, chosen), _after(prompt, rejected)
    if chosen == rejected:
        raise _Useless("its answers are the same")
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer or answer[0]["role"] != "assistant":
            raise _Useless(f"its {name} is no answer")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _judged(values: Mapping[str, Any]) -> Row:
    label = values["label"]
    said = str(label).strip().lower()
    if label is None or said not in (*_TRUE, *_FALSE):
        raise _Useless("its label is neither true nor false" if label is not None else "has no label")
    prompt = _turns(values["prompt"], "prompt", "user")
    completion = _after(prompt, _turns(values["completion"], "completion", "assistant"))
    if not completion or completion[0]["role"] != "assistant":
        raise _Useless("its completion is no answer")
    return {"prompt": prompt, "completion": completion, "label": said in _TRUE}


def _after(prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> list[dict[str, str]]:
    """The turns of an answer, which some data sets write behind the prompt again."""
    return answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer


def _turns(value: Any, column: str, role: str) -> list[dict[str, str]]:
    """A text as one turn of ``role``, or the turns of a conversation."""
    if value is None or isinstance(value, str):
        return [{"role": role, "content": _text({column: value}, column)}]
    if not isinstance(value, list) or not value:
        raise _Useless(f"its {column} is neither a text nor turns")
    turns = []
    for turn in value:
        if not isinstance(turn, Mapping) or turn.get("role") not in _ROLES or not isinstance(turn.get("content"), str):
            raise _Useless(f"its {column} has a turn without role or content")
        turns.append({"role": str(turn["role"]), "content": turn["content"]})
    if not turns[-1]["content"].strip():
        raise _Useless(f"its {column} is empty")
    return turns


def _check_labels(rows: Sequence[Row], labels: Sequence[str]) -> None:
    for row in rows:
        if row["label"] not in labels:
            raise InputError(
                f"the label '{row['label']}' is none of {', '.join(labels)}",
                where=row["where"],
                hint="add it to model.train.rows.labels, or correct the row",
            )


_MAKERS: Mapping[str, Callable[[Mapping[str, Any]], Row]] = {
    "translation": _pair("source", "target"),
    "classification": _labelled,
    "contrastive": _pair("anchor", "positive"),
    "dpo": _preferred,
    "kto": _judged,
}
