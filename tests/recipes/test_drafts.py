"""``[deployment] draft``: a folder beside the stack file, or a version."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lamina.contracts.lineage import ModelVersion
from lamina.kit.errors import ConfigError, NotFoundError
from lamina.recipes.drafts import find_drafts
from lamina.recipes.stack import open_stack

STACK = 'name = "s"\n[[data.sources]]\nuse = "files"\nfrom = "docs"\n[model]\nbase = "b"\n[deployment]\n'
V1 = ModelVersion(
    id="v1", digest="d", parent=None, run="r", corpus="c1", snapshot=None, role="documents", metrics={},
    created=datetime.now(UTC),
)  # fmt: skip
V2 = replace(V1, id="v2")


class Registry:
    known: tuple[str, ...] = ("v2", "challenger")

    def resolve(self, name: str) -> ModelVersion:
        if name not in self.known:
            raise NotFoundError(f"there is no model '{name}'", hint="known: v1, v2")
        return V2

    def folder(self, version: str) -> Path:
        return Path("/registry") / version


def opened(folder: Path, more: str = ""):
    (folder / "lamina.toml").write_text(STACK + more)
    return open_stack(folder / "lamina.toml")


def test_a_folder_or_a_version(tmp_path: Path) -> None:
    assert find_drafts(opened(tmp_path), Registry()) is None
    (tmp_path / "small").mkdir()
    assert find_drafts(opened(tmp_path, 'draft = "small"\n'), Registry())(V1) == tmp_path / "small"
    with pytest.raises(ConfigError, match="neither a folder"):
        find_drafts(opened(tmp_path, 'draft = ""\n'), Registry())
    for name in ("v2", "challenger"):
        find = find_drafts(opened(tmp_path, f'draft = "{name}"\n'), Registry())
        assert find(V1) == Path("/registry/v2")
        assert find(V2) is None, "no version guesses for itself"
    with pytest.raises(ConfigError, match=r"deployment\.draft: 'smal' is neither a folder .* \(known: v1, v2\)"):
        find_drafts(opened(tmp_path, 'draft = "smal"\n'), Registry())


def test_one_that_is_gone_is_done_without(tmp_path: Path, caplog) -> None:
    registry = Registry()
    find = find_drafts(opened(tmp_path, 'draft = "challenger"\n'), registry)
    registry.known = ()
    assert find(V1) is None
    assert "v1 is served without its draft" in caplog.text


def test_only_where_something_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is to be guessed"):
        opened(tmp_path, 'draft = "small"\nspeculate = false\n')
