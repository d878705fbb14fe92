"""Builds of one stack, one after another, with ``against = ["earlier"]``: what comes new falls to what was kept."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lamina.recipes.corpus_tools import explain
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import build_data

STACK = """
name = "weekly"

[data]
held_out = 0.0
workers = 1

[[data.sources]]
use = "files"
from = "docs"
name = "docs"
license = "CC0-1.0"

[[data.steps]]
transform = "normalize"

[[data.steps]]
pass = "duplicates"
plant = 0
against = ["earlier"]
"""
WORDS = [f"sea{i}" for i in range(900)]


def prose(seed: int, count: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def write(stack: Stack, **texts: str) -> None:
    for name, text in texts.items():
        (stack.folder / "docs" / f"{name}.txt").write_text(text)


def built(stack: Stack) -> tuple[dict[str, Any], set[str]]:
    """The report of a build, and the names of what is kept."""
    report = build_data(stack, json=True)
    files = sorted((stack.state / "corpora" / report["corpus"] / "data").glob("*.parquet"))
    return report, {Path(url).stem for file in files for url in pq.read_table(file, columns=["url"])["url"].to_pylist()}


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "docs").mkdir()
    (tmp_path / "lamina.toml").write_text(STACK)
    return open_stack(tmp_path / "lamina.toml")


def test_new_documents_fall_to_what_earlier_builds_kept_even_to_what_is_gone(stack: Stack) -> None:
    write(stack, whale=prose(1), lost=prose(2), rope=prose(3))
    first, kept = built(stack)
    assert kept == {"whale", "lost", "rope"}
    # "whale" stays although a longer copy of it comes; "lost" goes, and a copy of it comes; "new" is like nothing.
    (stack.folder / "docs" / "lost.txt").unlink()
    write(stack, whale_again=f"{prose(1)} and more of it", lost_again=f"{prose(2)} again", new=prose(4))
    second, kept = built(stack)
    assert second["corpus"] != first["corpus"]
    assert kept == {"whale", "rope", "new"}
    assert second["dropped"] == {"near duplicate": 2}
    assert second["passes"]["02 pass duplicates"]["sketches_reused"] == 2  # "whale" and "rope", as they were
    fell = explain(stack, "whale_again.txt", as_json=True)["duplicates"][0]
    assert fell["id"] == explain(stack, "whale.txt", as_json=True)["id"]
    assert fell["texts"]["stretches"][-1] == {"this": "and more of it", "other": ""}
    gone = explain(stack, "lost_again.txt", as_json=True)["duplicates"][0]
    assert (gone["index"], "texts" in gone) == ("earlier", False)
    assert "its text is not of this corpus but of the index earlier" in explain(stack, "lost_again.txt")
    assert built(stack)[0]["corpus"] == second["corpus"]  # nothing but the index is newer: nothing is done again
    # What was kept two builds ago and is gone since still lets new documents fall.
    write(stack, lost_once_more=f"{prose(2)} once more", new_again=f"{prose(4)} again")
    third, kept = built(stack)
    assert kept == {"whale", "rope", "new"}
    assert third["dropped"] == {"near duplicate": 4}


def test_without_an_earlier_build_documents_fall_to_one_another_alone(stack: Stack) -> None:
    file = stack.folder / "lamina.toml"
    file.write_text(file.read_text().replace('against = ["earlier"]\n', ""))
    alone = open_stack(file)
    write(alone, lost=prose(2), rope=prose(3))
    assert built(alone)[1] == {"lost", "rope"}
    (alone.folder / "docs" / "lost.txt").unlink()
    write(alone, lost_again=f"{prose(2)} again", rope_again=f"{prose(3)} and more")
    assert built(alone)[1] == {"lost_again", "rope_again"}
