"""The documentation's stack files open, its commands exist, its links lead somewhere."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest
import typer

from lamina.cli import app
from lamina.recipes.stack import _Tables, open_stack

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.S | re.M)


def blocks(page: Path, language: str) -> list[str]:
    return [b for _, name, b in BLOCK.findall(page.read_text()) if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_stack_files_open(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        open_stack(file)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_lamina_command_exists(page: Path) -> None:
    known = typer.main.get_command(app)
    for words in re.findall(r"(?:^|`)lamina ([a-z]+)(?: ([a-z-]+))?", page.read_text(), re.M):
        verb = known.commands.get(words[0])  # type: ignore[attr-defined]
        assert verb is not None, f"{page}: lamina {words[0]}"
        if hasattr(verb, "commands") and words[1]:
            assert words[1] in verb.commands, f"{page}: lamina {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_test_that_is_named_exists(page: Path) -> None:
    file: str | None = None
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", page.read_text()):
        file = path or file
        assert file is None or (ROOT / file).is_file(), f"{page}: {file}"
        if name and file:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{page}: {file}::{name}"


def keys(section: type, path: str = "") -> list[str]:
    """The keys of a section and those below it, with their paths."""
    hints = typing.get_type_hints(section)
    found = []
    for field in dataclasses.fields(section):
        kinds = list(typing.get_args(hints[field.name]) or (hints[field.name],))
        below = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
        name = f"{path}{field.name}"
        found += keys(below[0], f"{name}.") if below else [name]  # type: ignore[arg-type]
    return found


def test_every_key_of_a_stack_file_is_explained() -> None:
    """By its name, in a row of its section."""
    page = (ROOT / "docs" / "config.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    said: set[str] = set()
    for row in rows:
        section = ""
        for words in re.findall(r"`\[*([\w.]+)\]*`", row):
            section = words.rpartition(".")[0] or section
            said.add(words if "." in words or not section else f"{section}.{words}")
    whole = said | {words.rpartition(".")[0] for words in said}  # a table of its own keys is explained by them
    left = [key for key in keys(_Tables) if key not in whole and key.rpartition(".")[0] not in said]
    assert not left, "docs/config.md does not explain: " + ", ".join(left)
