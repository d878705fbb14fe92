"""What this process may use of its machine: processors and memory, by affinity and by its control groups (1 and 2).

Nothing is kept: the limits of a container may change while it runs, and reading them costs some file reads (cgroups(7),
the kernel's admin guide "Control Group v2"). A group is also bound by those around it; a container often sees its own
group as the root, so that every place from the root down to the named one is looked at.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
MEMORY, PROCESSOR = Path("/proc/meminfo"), Path("/proc/cpuinfo")
_SHARED = 0.25  # of a processor that a quota may fall short of a whole one and still be worth a thread
_LIBRARIES = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
_OURS = "LAMINA_THREADS_BY_QUOTA"  # set where the variables above are from here, not from the user


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``processors``: threads that can compute at a time; ``affinity``: processors that it may run on; ``quota``: its
    processor seconds a second, None without one; ``memory``: bytes; ``capped``: whether groups bound the memory."""

    processors: int
    affinity: int
    quota: float | None
    memory: int
    capped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Of the group that has the least left, else of the machine: bytes ``used`` that cannot be dropped at will, of
    ``limit``; ``stalled``: the share of the last 10 s in which somebody waited for memory (PSI), None where unknown."""

    limit: int
    used: int
    stalled: float | None

    @property
    def share(self) -> float:
        """Used of the limit, 0 to 1."""
        return self.used / max(1, self.limit)


def read_limits(*, groups: Path = GROUPS, own: Path = OWN) -> Limits:
    """As they are now. ``groups``: where the kernel shows control groups; ``own``: which ones this process is in."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(groups, own), default=None)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    caps = [limit for limit, _ in _memories(groups, own)]
    memory = min([whole, *caps])
    return Limits(
        processors=_threads(affinity, quota), affinity=affinity, quota=quota, memory=memory, capped=memory < whole
    )


def processors() -> int:
    """Threads that can compute at a time: the processors that this process may run on, or what its quota is worth.

    A quota of 1.5 is worth one thread (two would stand still a quarter of the time, each waiting for the other at
    barriers), one of 1.75 two.
    """
    return read_limits().processors


def allowed_threads() -> int:
    """``processors()``, or what the user has set as ``OMP_NUM_THREADS``, where that is less."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    most = int(said) if said.isdigit() and int(said) and _OURS not in os.environ else None
    return processors() if most is None else min(most, processors())


def tell_libraries() -> None:
    """Tell libraries that count processors themselves, and all children, what a quota is worth.

    They look at the affinity only. To be called before they are loaded; what the user has set stands.
    """
    limits = read_limits()
    if limits.processors < limits.affinity and not any(name in os.environ for name in _LIBRARIES):
        os.environ |= dict.fromkeys(_LIBRARIES, str(limits.processors)) | {_OURS: "1"}


def memory_use(*, groups: Path = GROUPS, own: Path = OWN, machine: Path = MEMORY) -> MemoryUse:
    """As it is now. Pages of files, which the kernel drops when it needs room, are not counted."""
    found = [(limit, _used(place), place) for limit, place in _memories(groups, own)]
    known = [(limit, used, place) for limit, used, place in found if used is not None]
    whole, used = _machine(machine)
    tightest = min(known, key=lambda one: one[0] - one[1], default=None)
    if tightest is None or whole - used < tightest[0] - tightest[1]:
        return MemoryUse(limit=whole, used=used, stalled=_stalled(Path("/proc/pressure/memory")))
    return MemoryUse(limit=tightest[0], used=tightest[1], stalled=_stalled(tightest[2] / "memory.pressure"))


def busy() -> bool:
    """Whether more wants to run on this machine than it has processors, so that what is timed now tells little."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def processor_name(file: Path = PROCESSOR) -> str:
    """The processor, in its maker's words."""
    return _said(file, "model name") or f"{platform.machine()} {platform.processor()}".strip()


def processor_flags(file: Path = PROCESSOR) -> str:
    """The instructions that it has, as the kernel lists them; "" where it does not."""
    return _said(file, "flags") or _said(file, "Features")


def _threads(affinity: int, quota: float | None) -> int:
    return affinity if quota is None else min(affinity, max(1, int(quota + _SHARED)))


def _places(groups: Path, own: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Folders of the groups of ``controller`` that bind this process, outermost first, with their version (1 or 2)."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and controller not in kinds.split(","):
            continue
        roots = (groups / controller, groups / kinds) if kinds else (groups,)
        root = next((place for place in roots if place.is_dir()), roots[0])
        inner = root / path.lstrip("/")
        for place in (*reversed(inner.parents), inner):
            if place == root or root in place.parents:
                yield place, 1 if kinds else 2


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    for place, version in _places(groups, own, "cpu"):
        with suppress(OSError, ValueError):  # "max" is no number, and -1 none that limits: there is no quota
            if version == 2:
                quota, period = (int(word) for word in _text(place / "cpu.max").split())
            else:
                quota, period = int(_text(place / "cpu.cfs_quota_us")), int(_text(place / "cpu.cfs_period_us"))
            if quota > 0 and period > 0:
                yield quota / period


def _memories(groups: Path, own: Path) -> Iterator[tuple[int, Path]]:
    """(limit, folder) of the groups that have a limit; the kernel's "no limit" is beyond any machine."""
    for place, version in _places(groups, own, "memory"):
        with suppress(OSError, ValueError):
            name = "memory.max" if version == 2 else "memory.limit_in_bytes"
            limit = int(_text(place / name))
            if limit < 1 << 60:
                yield limit, place


def _used(place: Path) -> int | None:
    """Bytes that a group holds, without pages of files; None where that is not told."""
    for current, files in (
        ("memory.current", ("inactive_file", "active_file")),
        ("memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    ):
        with suppress(OSError, ValueError):
            words = dict(line.split(maxsplit=1) for line in _text(place / "memory.stat").splitlines())
            return max(0, int(_text(place / current)) - sum(int(words.get(name, 0)) for name in files))
    return None


def _machine(file: Path) -> tuple[int, int]:
    """Bytes of memory that the machine has, and that are not at hand."""
    with suppress(OSError, ValueError, KeyError):
        words = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _text(file).splitlines()}
        return words["MemTotal"], words["MemTotal"] - words["MemAvailable"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0


def _stalled(file: Path) -> float | None:
    with suppress(OSError, ValueError, IndexError):
        first = _text(file).splitlines()[0].split()  # some avg10=0.00 avg60=0.00 avg300=0.00 total=0
        return float(first[1].removeprefix("avg10=")) / 100
    return None


def _said(file: Path, name: str) -> str:
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return ""


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii")
