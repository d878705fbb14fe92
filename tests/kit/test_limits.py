"""What a process may use, read from made-up trees of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina.kit import limits
from lamina.kit.limits import Limits, MemoryUse, memory_use, processor_name, read_limits, tell_libraries

MB = 2**20
ALL = len(os.sched_getaffinity(0))


class Tree:
    """Control groups as files. ``path``: where this process is."""

    def __init__(self, folder: Path, version: int, path: str = "/app/worker") -> None:
        self.groups, self.own, self.version = folder / "groups", folder / "own", version
        self.groups.mkdir()
        self.own.write_text(f"0::{path}\n" if version == 2 else f"5:cpu,cpuacct:{path}\n4:memory:{path}\n0::/\n")

    def write(self, place: str, **files: str) -> None:
        for name, text in files.items():
            name = name.replace("__", ".")
            kind = "" if self.version == 2 else "memory" if name.startswith("memory") else "cpu,cpuacct"
            folder = self.groups / kind / place
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.rstrip() + "\n")

    def read(self) -> Limits:
        return read_limits(groups=self.groups, own=self.own)

    def use(self, machine: Path) -> MemoryUse:
        return memory_use(groups=self.groups, own=self.own, machine=machine)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.parametrize(
    ("quota", "threads"),
    [(200000, 2), (150000, 1), (175000, 2), (50000, 1), (100000, 1), (10**9, 64), (400000, 4), (360000, 3)],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_quota_is_worth_whole_threads(tmp_path: Path, many: None, version: int, quota: int, threads: int) -> None:
    tree = Tree(tmp_path, version)
    if version == 2:
        tree.write("app/worker", cpu__max=f"{quota} 100000")
    else:
        tree.write("app/worker", cpu__cfs_quota_us=str(quota), cpu__cfs_period_us="100000")
    found = tree.read()
    assert (found.processors, found.quota, found.affinity) == (threads, quota / 100000, 64)


@pytest.mark.parametrize("version", [1, 2])
def test_without_a_quota_it_is_the_affinity(tmp_path: Path, many: None, version: int) -> None:
    tree = Tree(tmp_path, version)
    if version == 2:
        tree.write("app/worker", cpu__max="max 100000", memory__max="max")
    else:
        tree.write("app/worker", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
        tree.write("app/worker", memory__limit_in_bytes="9223372036854771712")
    found = tree.read()
    assert (found.processors, found.quota, found.capped) == (64, None, False)
    nothing = read_limits(groups=tmp_path / "none", own=tmp_path / "none")
    assert (nothing.processors, nothing.quota, nothing.capped) == (64, None, False)


def test_a_quota_around_the_group_counts_too(tmp_path: Path, many: None) -> None:
    tree = Tree(tmp_path, 2)
    tree.write("app/worker", cpu__max="800000 100000")
    tree.write("app", cpu__max="300000 100000")
    assert tree.read().processors == 3
    tree.write("", cpu__max="100000 50000")
    assert tree.read().processors == 2, "a container sees its own group at the root"


@pytest.mark.parametrize("version", [1, 2])
def test_the_narrowest_group_bounds_the_memory(tmp_path: Path, version: int) -> None:
    tree = Tree(tmp_path, version)
    name = "memory__max" if version == 2 else "memory__limit_in_bytes"
    tree.write("app/worker", **{name: "max" if version == 2 else "9223372036854771712"})
    whole = tree.read().memory
    assert whole > 256 * MB
    for place, size in (("app", 256), ("app/worker", 128), ("", 64)):
        tree.write(place, **{name: str(size * MB)})
        assert (tree.read().memory, tree.read().capped) == (size * MB, True)


@pytest.mark.parametrize("version", [1, 2])
def test_pages_of_files_are_not_in_use(tmp_path: Path, version: int) -> None:
    tree = Tree(tmp_path, version)
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 8192000 kB\nMemFree: 10 kB\nMemAvailable: 8000000 kB\n")
    stat = "anon 5\n{0}inactive_file {1}\n{0}active_file {2}\n"
    if version == 2:
        tree.write("app", memory__max=str(1000 * MB), memory__current=str(900 * MB))
        tree.write("app", memory__stat=stat.format("", 300 * MB, 100 * MB))
        tree.write("app", memory__pressure="some avg10=12.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00")
    else:
        tree.write("app", memory__limit_in_bytes=str(1000 * MB), memory__usage_in_bytes=str(900 * MB))
        tree.write("app", memory__stat=stat.format("total_", 300 * MB, 100 * MB))
    use = tree.use(machine)
    assert (use.limit, use.used, use.share) == (1000 * MB, 500 * MB, 0.5)
    assert use.stalled == (0.125 if version == 2 else None)
    machine.write_text("MemTotal: 8192000 kB\nMemAvailable: 100 kB\n")
    assert tree.use(machine).used == 8191900 * 1024, "the machine has less left than the group"


def test_libraries_are_told_of_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
    for name in (*names, "LAMINA_THREADS_BY_QUOTA"):
        monkeypatch.delenv(name, raising=False)
    found = Limits(processors=64, affinity=64, quota=None, memory=1, capped=False)
    monkeypatch.setattr(limits, "read_limits", lambda: found)
    tell_libraries()
    assert not any(name in os.environ for name in names), "they count processors themselves"
    found = Limits(processors=2, affinity=64, quota=2.0, memory=1, capped=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    tell_libraries()
    assert [os.environ[name] for name in names] == ["2"] * 3
    assert limits.allowed_threads() == 2
    found = Limits(processors=4, affinity=64, quota=4.0, memory=1, capped=False)
    assert limits.allowed_threads() == 4, "what was told at the start does not bind later"
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "3"})
    tell_libraries()
    assert os.environ == {"OMP_NUM_THREADS": "3"}, "the user's word stands"
    assert limits.allowed_threads() == 3


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Fast 9000\nflags : avx2 fma\n")
    assert processor_name(tmp_path / "cpuinfo") == "Fast 9000"
    assert limits.processor_flags(tmp_path / "cpuinfo") == "avx2 fma"
    assert processor_name(tmp_path / "none"), "of the platform, then"
