"""Labels of documents, "keep" or not, as a person gave them: one JSON object a line.

{"text": "…", "keep": true}
{"id": "3f0a…", "keep": false}
{"id": "77b1…", "text": "…", "keep": null}     not labelled yet
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from lamina.kit.errors import ConfigError

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A verdict on a document, known by its id, its text, or both."""

    line: int
    id: str | None
    text: str | None
    keep: bool


def read_labels(file: Path) -> list[Label]:
    """The labels in ``file``; of two on one document the later counts. Raises ``ConfigError`` naming the line."""
    if not file.is_file():
        raise ConfigError("there is no such file", where=str(file), hint="lamina data labels writes one to fill in")
    found: dict[str, Label] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        label = _label(line, number, f"{file}:{number}")
        if label is not None:
            found[label.id or "text " + str(label.text)] = label
    return list(found.values())


def unlabelled(file: Path) -> int:
    """Rows of the file that nobody has labelled yet."""
    rows = (orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip())
    return sum(row.get("keep") is None for row in rows)


def with_texts(labels: Sequence[Label], texts: Mapping[str, str], where: str) -> list[Label]:
    """The labels with the texts of those that have only an id. Raises ``ConfigError`` where one is not known."""
    lacking = [label.line for label in labels if label.text is None and (label.id or "") not in texts]
    if lacking:
        lines = ", ".join(map(str, lacking[:_SHOWN])) + (" …" if len(lacking) > _SHOWN else "")
        what = f"the texts of {len(lacking)} labelled documents are not known (line {lines})"
        raise ConfigError(what, where=where, hint="a label may carry its text; lamina data labels writes it")
    return [label if label.text is not None else replace(label, text=texts[label.id or ""]) for label in labels]


def written(labels: Sequence[Label]) -> bytes:
    """The labels as a file."""
    return b"".join(orjson.dumps({"id": x.id, "text": x.text, "keep": x.keep}) + b"\n" for x in labels)


def _label(line: bytes, number: int, where: str) -> Label | None:
    try:
        row: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"is not JSON: {error}", where=where) from None
    if not isinstance(row, dict) or "keep" not in row:
        raise ConfigError("a label is an object with 'keep', and 'id' or 'text'", where=where)
    id, text, keep = row.get("id"), row.get("text"), row["keep"]
    if keep is None:
        return None
    if not isinstance(keep, bool):
        raise ConfigError(f"'keep' is true, false or null, not {keep!r}", where=where)
    if not (isinstance(id, str) and id) and not (isinstance(text, str) and text.strip()):
        raise ConfigError("needs 'id' or 'text'", where=where)
    return Label(line=number, id=id or None, text=text if isinstance(text, str) and text.strip() else None, keep=keep)
