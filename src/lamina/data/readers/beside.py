"""What lies beside the files of a data set and tells of it: Hugging Face's dataset card, ``dataset_info.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.contracts.corpus import SourceFile
from lamina.data.readers.records import json_value
from lamina.data.readers.streams import decode
from lamina.kit.errors import DocumentError

CARD = re.compile(r"^(?:dataset_info|configs|task_categories|size_categories):", re.MULTILINE)
FRONT = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n(.{0,20000}?)\r?\n\1[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LARGEST = 16 << 20
_ENTRY = r"^{0}:[ \t]*(?:\[?[ \t]*['\"]?([\w.+-]+)['\"]?[ \t]*\]?[ \t]*$|\r?\n((?:[ \t]*-[ \t]+\S[^\n]*(?:\n|\Z))+))"
_UNSAID = ("other", "unknown", "multilingual")


def described(file: SourceFile) -> dict[str, Any]:
    """What ``datasets.save_to_disk`` wrote beside an Arrow file: its ``state.json`` and ``dataset_info.json``."""
    found: dict[str, Any] = {}
    for name in ("dataset_info.json", "state.json"):
        text = _text(file.path.with_name(name))
        try:
            value = json_value(text) if text else None
        except DocumentError:
            continue
        found |= value if isinstance(value, dict) else {}
    return found


def carded(file: SourceFile) -> dict[str, str]:
    """``license`` and ``language`` by the card (README.md) of the data set that a file belongs to, where it says one.

    The card lies in the file's folder, or in one above within the location that the file is named in.
    """
    for folder in _folders(file):
        front = FRONT.match(_text(folder / "README.md"))
        if front and (CARD.search(front[2]) or _said(front[2], "license")):
            told = {"license": _said(front[2], "license"), "language": _said(front[2], "language")}
            return {name: value for name, value in told.items() if value}
    return {}


def _folders(file: SourceFile) -> Iterator[Path]:
    if file.path.as_posix().endswith(f"/{file.name}"):
        yield from list(file.path.parents)[: file.name.count("/") + 1]


def _said(front: str, name: str) -> str | None:
    """The one value of an entry; None where there are several, or it says nothing."""
    match = re.search(_ENTRY.format(name), front, re.MULTILINE)
    if match is None:
        return None
    values = [match[1]] if match[1] else [line.strip(" \t\r-'\"") for line in match[2].splitlines()]
    return values[0] if len(values) == 1 and values[0].lower() not in _UNSAID else None


def _text(path: Path) -> str:
    """A small text file's content; "" where there is none."""
    try:
        return decode(path.read_bytes())[0] if path.is_file() and path.stat().st_size < _LARGEST else ""
    except (DocumentError, OSError):
        return ""
