"""The corpora of the quickstart, as their packages hold them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

pytestmark = pytest.mark.material
Material = Callable[[str], Path]


def contents(folder: Path, pattern: str) -> dict[str, Path]:
    """Name in the package to file."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob(pattern))}


def test_a_novel_in_chapters(collect: Any, material: Material) -> None:
    found = collect("books", contents(material("moby-dick"), "chapter_*.json"), title="Moby Dick")
    assert len(found.rows) == 135
    assert not found.reasons
    first = next(row for row in found.rows if row["position"] == 1)
    assert first["title"] == "Moby Dick: Loomings."
    assert first["text"].startswith("Call me Ishmael.")
    assert {row["group_id"] for row in found.rows} == {"Moby Dick"}


def test_the_same_novel_as_text_and_its_index_as_script(collect: Any, material: Material) -> None:
    folder = material("moby-dick")
    found = collect("books", contents(folder, "chapter_1.txt") | contents(folder, "data.js"))
    assert len(found.rows) == 1
    assert "a program" in found.reasons[next(iter(contents(folder, "data.js")))]


def test_an_encyclopedia(collect: Any, material: Material) -> None:
    fields = {"text": "extract", "title": "title"}
    listed = contents(material("wiki"), "summaries_en-us.json")
    found = collect("files", listed, records="*", fields=fields)
    assert len(found.rows) == 10_033
    assert not found.reasons
    cello = next(row for row in found.rows if row["title"] == "Cello")
    assert "bowed" in cello["text"]
    assert orjson.loads(cello["meta"])["topic"] == "Arts"
    assert [r["id"] for r in collect("files", listed, records="*", fields=fields, limit=5).rows] == [
        row["id"] for row in found.rows[:5]
    ]


def test_conversations(collect: Any, material: Material) -> None:
    found = collect("social", contents(material("chitchat"), "dataset.json"), limit=600)
    assert len(found.rows) == 600
    talks = [meta["messages"] for row in found.rows if "messages" in (meta := orjson.loads(row["meta"]))]
    assert len(talks) > 200
    assert all(m["content"] and m["role"] == ("user", "assistant")[n % 2] for t in talks for n, m in enumerate(t))
