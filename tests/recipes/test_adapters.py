"""Adapters of the stack file: what is loaded at the start, and what stops it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamina.kit.errors import ConfigError, ModelFileError
from lamina.recipes.adapters import adapter_limits, add_adapters
from lamina.recipes.current import Current, remember
from lamina.recipes.stack import Stack, open_stack


class Service:
    """Takes adapters, but one."""

    def __init__(self) -> None:
        self.added: dict[str, Path] = {}

    def add_adapter(self, name: str, folder: Path) -> None:
        if name == "bad":
            raise ModelFileError("not a PEFT adapter", where=str(folder))
        self.added[name] = folder


def stack(folder: Path, text: str) -> Stack:
    (folder / "lamina.toml").write_text(f'name = "pequod"\n[model]\nbase = "base"\n[deployment]\n{text}')
    return open_stack(folder / "lamina.toml")


def test_folders_start_at_the_stack_file(tmp_path: Path) -> None:
    service = Service()
    add_adapters(stack(tmp_path, '[deployment.adapters]\nlegal = "a/legal"\npoems = "/srv/poems"'), service)
    assert service.added == {"legal": tmp_path / "a" / "legal", "poems": Path("/srv/poems")}


def test_one_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"deployment\.adapters\.bad: .*not a PEFT adapter"):
        add_adapters(stack(tmp_path, '[deployment.adapters]\nbad = "x"'), Service())


def test_the_limits_are_the_stack_files(tmp_path: Path) -> None:
    plain = adapter_limits(stack(tmp_path, ""))
    assert (plain.most, plain.most_rank, plain.base) == (8, 64, None)
    assert list(plain.folders) == [tmp_path / ".lamina"]
    assert "pequod" in plain.reserved
    made = stack(tmp_path, 'adapters_from = ["more"]\nmax_adapters = 2\nmax_lora_rank = 16')
    remember(made, Current(base="0" * 32))
    limits = adapter_limits(made)
    assert (limits.most, limits.most_rank, limits.base) == (2, 16, "0" * 32)
    assert list(limits.folders) == [tmp_path / ".lamina", tmp_path / "more"]
    with pytest.raises(ConfigError, match="max_lora_rank"):
        adapter_limits(stack(tmp_path, "max_lora_rank = 0"))
