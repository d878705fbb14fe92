from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamina.kit.errors import ConfigError, CorruptError
from lamina.kit.lock import Lock, LockChoice, LockEntry

ENTRY = LockEntry(version="1.0", file="a-1.0.whl", sha256="ab" * 32, license="MIT")


def test_what_is_added_is_found_again(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lamina.lock")
    assert lock.get("pypi:a==1.0") is None
    lock.add("pypi:b", ENTRY)
    lock.add("pypi:a==1.0", ENTRY)
    assert Lock(tmp_path / "lamina.lock").get("pypi:a==1.0") == ENTRY
    text = (tmp_path / "lamina.lock").read_text()
    assert text.index("pypi:a") < text.index("pypi:b"), "sorted, so that a difference reads well"
    assert text.endswith("}\n")


def test_changed_bytes_are_refused_and_the_lock_stands(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lamina.lock")
    lock.add("npm:x", ENTRY)
    before = lock.path.read_bytes()
    with pytest.raises(CorruptError, match="npm:x has sha256 cdcd"):
        lock.add("npm:x", LockEntry(version="1.0", file="x", sha256="cd" * 32))
    lock.add("npm:x", LockEntry(version="1.0", file="x", sha256="ab" * 32))
    assert lock.path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": 1}', '{"format": 1, "packages": {"x": {"version": "1"}}}', '{"format": 2}',
     '{"format": 1, "packages": {"x": {"version": "1", "file": "f", "sha256": "short"}}}'],
)  # fmt: skip
def test_what_is_no_lock_is_said_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "lamina.lock").write_text(text)
    with pytest.raises(ConfigError, match=r"lamina\.lock"):
        Lock(tmp_path / "lamina.lock").get("x")


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    Lock(tmp_path / "lamina.lock").add("deb:x", ENTRY)
    value = json.loads((tmp_path / "lamina.lock").read_text())
    assert value == {
        "format": 1,
        "packages": {"deb:x": {"version": "1.0", "file": "a-1.0.whl", "sha256": "ab" * 32, "license": "MIT"}},
    }


def test_choices_stand_beside_what_was_fetched(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lamina.lock")
    assert lock.choice("model.base") is None
    lock.choose("model.base", LockChoice(location="pypi:a==1.0", why="it fits"))
    lock.add("pypi:a==1.0", ENTRY)
    assert lock.choice("model.base") == LockChoice(location="pypi:a==1.0", why="it fits")
    lock.choose("model.base", LockChoice(location="pypi:b", why="it fits better"))
    assert lock.choice("model.base") == LockChoice(location="pypi:b", why="it fits better")
    assert lock.get("pypi:a==1.0") == ENTRY
