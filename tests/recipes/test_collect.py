"""Sources of a stack: which files they get, what they are called, and what makes them stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import open_progress
from lamina.recipes.collect import Collected, collect
from lamina.recipes.stack import open_stack


def sources(folder: Path, text: str) -> list[Collected]:
    (folder / "lamina.toml").write_text(f'name = "x"\n{text}')
    return collect(open_stack(folder / "lamina.toml"), open_progress("quiet"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("docs/a.md", "docs/deep/b.md", "docs/c.txt", "docs/.git/d.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_patterns_choose_the_files_and_hidden_ones_stay_out(folder: Path) -> None:
    [source] = sources(folder, '[[data.sources]]\nuse = "files"\nfrom = "docs"\nmatch = "**/*.md"\n')
    assert [name for name, _ in source.files] == ["a.md", "deep/b.md"]
    assert (source.name, source.origin) == ("files-docs", "docs")


def test_a_changed_file_changes_the_identity_and_a_touched_one_does_not(folder: Path) -> None:
    text = '[[data.sources]]\nuse = "files"\nfrom = "docs"\nlicense = "MIT"\n'
    before = sources(folder, text)[0].identity
    (folder / "docs" / "a.md").touch()
    assert sources(folder, text)[0].identity == before
    (folder / "docs" / "a.md").write_text("other")
    assert sources(folder, text)[0].identity != before


def test_nothing_matching_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no file of docs matches \*\.pdf"):
        sources(folder, '[[data.sources]]\nuse = "files"\nfrom = "docs"\nmatch = "*.pdf"\n')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('use = "flies"\nfrom = "docs"', "did you mean 'files'"),
        ('use = "files"\nfrom = "docs"\nrecord = "x"', "did you mean 'records'"),
        ('use = "files"\nfrom = "nowhere"', "nowhere"),
    ],
)
def test_mistakes_name_the_source(folder: Path, text: str, words: str) -> None:
    with pytest.raises((ConfigError, InputError), match=words):
        sources(folder, f"[[data.sources]]\n{text}\n")


def test_two_sources_of_one_name_are_refused(folder: Path) -> None:
    one = '[[data.sources]]\nuse = "files"\nfrom = "docs"\n'
    with pytest.raises(ConfigError, match="two sources are named"):
        sources(folder, one + one)
