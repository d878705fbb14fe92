"""What the machine has, and how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lamina.model.device import memory_of, product_rate, read_rate

CPU = torch.device("cpu")


def group(folder: Path, name: str, limit: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(limit + "\n")


@pytest.mark.parametrize(
    ("lines", "name", "inner"),
    [("0::/app/worker\n", "memory.max", ""), ("4:memory:/app/worker\n0::/\n", "memory.limit_in_bytes", "memory")],
)
def test_the_narrowest_group_bounds_the_memory(tmp_path: Path, lines: str, name: str, inner: str) -> None:
    own, groups = tmp_path / "own", tmp_path / "groups"
    own.write_text(lines)
    group(groups / inner / "app" / "worker", name, "max")
    whole = memory_of(CPU, groups=groups, own=own)
    assert whole > 2**28
    group(groups / inner / "app", name, str(2**28))
    assert memory_of(CPU, groups=groups, own=own) == 2**28
    group(groups / inner / "app" / "worker", name, str(2**27))
    assert memory_of(CPU, groups=groups, own=own) == 2**27
    group(groups / inner, name, str(2**26))
    assert memory_of(CPU, groups=groups, own=own) == 2**26, "a container sees its own group at the root"


def test_a_machine_without_groups_has_what_it_has(tmp_path: Path) -> None:
    assert memory_of(CPU, groups=tmp_path, own=tmp_path / "none") > 2**28


def test_rates_are_of_this_century() -> None:
    assert 1e9 < product_rate(CPU) < 1e15
    assert 1e8 < read_rate(CPU) < 1e13
