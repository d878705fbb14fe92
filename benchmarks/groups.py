"""Control groups of one's own, below those that this process is in, for processor time and memory (cgroups 1 and 2).

Needs the right to make them: root, and controllers that are mounted (1) or handed down (2).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class Group:
    """Raises ``OSError`` where no groups can be made. Ended with the block, when nobody is in it any more."""

    def __init__(self, name: str, *, processors: float, memory: int | None = None) -> None:
        self.cpu, self.memory, self.version = _folders(f"lamina-{name}-{os.getpid()}")
        self._folders = {self.cpu, self.memory}
        made = []
        try:
            for folder in self._folders:
                folder.mkdir()
                made.append(folder)
            self.limit_processors(processors)
            if memory is not None:
                self.limit_memory(memory)
        except OSError:
            for folder in made:
                folder.rmdir()
            raise

    def limit_processors(self, count: float) -> None:
        """Processor seconds a second."""
        if self.version == 1:
            (self.cpu / "cpu.cfs_quota_us").write_text(str(int(count * 100_000)))
        else:
            (self.cpu / "cpu.max").write_text(f"{int(count * 100_000)} 100000")

    def limit_memory(self, size: int) -> None:
        """Bytes. Raises ``OSError`` where more than that is held and cannot be dropped (1)."""
        (self.memory / ("memory.limit_in_bytes" if self.version == 1 else "memory.max")).write_text(str(size))

    def used(self) -> int:
        """Bytes, pages of files among them."""
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int((self.memory / name).read_text())

    def most(self) -> int:
        """The most bytes that were used so far. ``OSError`` before Linux 5.19 (2)."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        return int((self.memory / name).read_text())

    def enter(self, pid: int) -> None:
        """Move a process in."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove it, when its processes are gone."""
        for folder in self._folders:
            for _ in range(100):
                with suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.05)

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _folders(name: str) -> tuple[Path, Path, int]:
    """Of processor time and of memory, and the version of the groups."""
    own: dict[str, str] = {}
    for line in OWN.read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        own |= dict.fromkeys(kinds.split(",") if kinds else [""], path.lstrip("/"))
    if {"cpu", "memory"} <= own.keys():
        return GROUPS / "cpu" / own["cpu"] / name, GROUPS / "memory" / own["memory"] / name, 1
    if "" not in own:
        raise OSError("this system has no control groups")
    return GROUPS / own[""] / name, GROUPS / own[""] / name, 2
