"""Every example's stack file opens, and its sources, steps and rows are as the code has them."""

from __future__ import annotations

import json
import py_compile
from pathlib import Path

import pytest

from lamina.data.steps import plan
from lamina.kit.config import bind
from lamina.kit.registry import SOURCES
from lamina.recipes.row_section import read_rows_section
from lamina.recipes.stack import open_stack

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*/*.toml"))
COMMON = {"use", "from", "name", "match", "license", "language"}


def name_of(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_stack_file_says_what_the_code_knows(file: Path) -> None:
    stack = open_stack(file)
    for source in stack.data.sources if stack.data else ():
        bind(SOURCES.get(source["use"]).function, {k: v for k, v in source.items() if k not in COMMON}, where=str(file))
    if stack.data and stack.data.steps is not None:
        plan([dict(step) for step in stack.data.steps])
    if stack.model and stack.model.train:
        read_rows_section(stack.model.train.objective, stack.model.train.rows)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_package_of_a_source_is_pinned(file: Path) -> None:
    stack = open_stack(file)
    wanted = {source["from"] for source in (stack.data.sources if stack.data else ())}
    wanted = {place for place in wanted if place.startswith(("pypi:", "npm:"))}
    lock = file.parent / "lamina.lock"
    known = set(json.loads(lock.read_text())["packages"]) if lock.is_file() else set()
    assert wanted <= known


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*/*.py")), ids=name_of)
def test_the_script_compiles(script: Path, tmp_path: Path) -> None:
    py_compile.compile(str(script), str(tmp_path / "script.pyc"), doraise=True)


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES}), ids=lambda folder: folder.name)
def test_the_example_tells_what_it_is(folder: Path) -> None:
    assert folder.name == "quickstart" or (folder / "README.md").is_file()
