"""Sources of a stack: which files they get, what they are called, and what makes them stale."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.progress import open_progress
from lamina.kit.registry import SOURCES
from lamina.recipes.collect import Collected, collect
from lamina.recipes.stack import open_stack


class Said:
    """``contracts.corpus.Report``."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def read(self, name: str) -> None: ...

    def unread(self, name: str, reason: str) -> None:
        self.reasons.setdefault(name, reason)


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


def test_what_is_no_file_is_listed_and_nothing_hangs(folder: Path) -> None:
    docs = folder / "docs"
    os.mkfifo(docs / "pipe.txt")
    (docs / "circle").symlink_to(docs)
    (docs / "gone.txt").symlink_to(docs / "nowhere")
    (docs / "self.txt").symlink_to("self.txt")
    (docs / "also.txt").symlink_to(docs / "c.txt")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(docs / "door.txt"))
        [source] = sources(folder, '[[data.sources]]\nuse = "files"\nfrom = "docs"\nmatch = "**/*.txt"\n')
    names = ["also.txt", "c.txt", "circle", "door.txt", "gone.txt", "pipe.txt", "self.txt"]
    assert [name for name, _ in source.files] == names
    report = Said()
    files = tuple(SourceFile(name=name, path=path) for name, path in source.files)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    inbox = Inbox(source="s", files=files, origin="", collected=now, report=report)
    rows = [row for batch in SOURCES.get("files").function(inbox) for row in batch.to_pylist()]
    assert [row["text"] for row in rows] == ["docs/c.txt"] * 2
    assert report.reasons == {
        "circle": "is a link to a folder: name that folder itself",
        "door.txt": "is a pipe, a socket or a device",
        "gone.txt": "is a link to what cannot be read: No such file or directory",
        "pipe.txt": "is a pipe, a socket or a device",
        "self.txt": "is a link to what cannot be read: Too many levels of symbolic links",
    }


def test_names_that_are_no_utf_8_are_read(folder: Path) -> None:
    for name in (b"caf\xe9.md", b"two\nlines.md"):
        (folder / "docs" / os.fsdecode(name)).write_text(f"words of {name!r}")
    text = '[[data.sources]]\nuse = "files"\nfrom = "docs"\nmatch = "*.md"\n'
    [source] = sources(folder, text)
    found = dict(source.files)
    assert set(found) == {"a.md", "caf\ufffd.md", "two\nlines.md", "deep/b.md"}
    assert found["caf\ufffd.md"].read_text() == "words of b'caf\\xe9.md'"
    assert json.loads(json.dumps([str(path) for path in found.values()]).encode())
    str(found["caf\ufffd.md"]).encode()
    assert sources(folder, text)[0].identity == source.identity


def test_a_pipe_alone_is_no_source(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jsonl")
    with pytest.raises(InputError, match="no file"):
        sources(folder, '[[data.sources]]\nuse = "files"\nfrom = "pipe.jsonl"\n')
