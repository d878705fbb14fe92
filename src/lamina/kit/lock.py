"""``lamina.lock``: which version, file and sha256 each registry location stood for when it was first fetched.

JSON, sorted, one location a block, made to be read and committed beside the stack file. A package whose bytes have
changed since is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lamina.kit.durable import atomic_write
from lamina.kit.errors import ConfigError, CorruptError

_FORMAT = 1
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockEntry:
    """What a location stood for: exact version, file name, sha256 of the file (hex), licence as the package says."""

    version: str
    file: str
    sha256: str
    license: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockChoice:
    """What was chosen where the stack file says "auto": the location, and why it is that one."""

    location: str
    why: str


class Lock:
    """The lock file at ``path``; a missing file is an empty lock."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def get(self, location: str) -> LockEntry | None:
        """The entry of ``location``. Raises ``ConfigError`` for a file that is no lock."""
        return self.read().get(location)

    def read(self) -> dict[str, LockEntry]:
        """All entries."""
        return self._read()[0]

    def choice(self, key: str) -> LockChoice | None:
        """What was chosen for ``key``."""
        return self._read()[1].get(key)

    def add(self, location: str, entry: LockEntry) -> None:
        """Record ``entry``, or check it against the one that stands: ``CorruptError`` where the bytes differ."""
        entries, choices = self._read()
        standing = entries.get(location)
        if standing is not None:
            check(location, standing, entry.sha256, str(self.path))
            return
        self._write(entries | {location: entry}, choices)

    def choose(self, key: str, choice: LockChoice) -> None:
        """Record what was chosen for ``key``, in the place of what was chosen before."""
        entries, choices = self._read()
        self._write(entries, choices | {key: choice})

    def _read(self) -> tuple[dict[str, LockEntry], dict[str, LockChoice]]:
        try:
            value = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}, {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot be read: {error}", where=str(self.path)) from error
        try:
            if value["format"] > _FORMAT:
                raise ConfigError("was written by a newer Lamina", where=str(self.path), hint="update Lamina")
            entries = {location: LockEntry(**entry) for location, entry in value["packages"].items()}
            if not all(_HEX.fullmatch(entry.sha256) for entry in entries.values()):
                raise ValueError("a sha256 is not 64 hexadecimal digits")
            choices = {key: LockChoice(**choice) for key, choice in value.get("choices", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"is not a lock file: {error}", where=str(self.path)) from error
        return entries, choices

    def _write(self, entries: Mapping[str, LockEntry], choices: Mapping[str, LockChoice]) -> None:
        value: dict[str, Any] = {"format": _FORMAT}
        if choices:
            value["choices"] = {key: asdict(choices[key]) for key in sorted(choices)}
        value["packages"] = {name: asdict(entries[name]) for name in sorted(entries)}
        atomic_write(self.path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), mode=0o644)


def check(location: str, entry: LockEntry, sha256: str, where: str) -> None:
    """Refuse bytes that are not the locked ones."""
    if entry.sha256 != sha256:
        raise CorruptError(
            f"{location} has sha256 {sha256[:16]}…, the lock has {entry.sha256[:16]}…: the package has changed",
            where=where,
            hint="find out why; to accept the new bytes, delete its entry from the lock",
        )
