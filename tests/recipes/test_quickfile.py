"""``lamina up FOLDER`` writes a stack file that opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.kit.errors import BusyError, ConfigError, InputError
from lamina.recipes.quickfile import write_stack_file
from lamina.recipes.stack import open_stack


def test_a_mixed_folder_becomes_sources_by_kind(tmp_path: Path) -> None:
    folder = tmp_path / "My Handbook"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.md", "deep/b.txt", "c.epub", "d.html", "e.exe"):
        (folder / name).write_text("x")
    file = tmp_path / "lamina.toml"
    write_stack_file([str(folder)], file)
    stack = open_stack(file)
    assert stack.name == "my-handbook"
    assert stack.data is not None
    assert {s["use"] for s in stack.data.sources} == {"books", "files", "web"}
    assert all("**/*.exe" not in s["match"] for s in stack.data.sources)
    assert {s["from"] for s in stack.data.sources} == {"My Handbook"}


def test_urls_become_one_web_source(tmp_path: Path) -> None:
    file = tmp_path / "lamina.toml"
    write_stack_file(["https://example.org/a", "https://example.org/b"], file)
    stack = open_stack(file)
    assert stack.data is not None
    assert stack.data.sources == ({"use": "web", "urls": ["https://example.org/a", "https://example.org/b"]},)


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "lamina.toml"
    file.write_text("mine")
    with pytest.raises(BusyError, match="stands already"):
        write_stack_file([str(tmp_path)], file)
    assert file.read_text() == "mine"


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file that a source reads"):
        write_stack_file([str(tmp_path / "empty")], tmp_path / "lamina.toml")
    with pytest.raises(ConfigError, match="no such file or folder"):
        write_stack_file([str(tmp_path / "nowhere")], tmp_path / "lamina.toml")
