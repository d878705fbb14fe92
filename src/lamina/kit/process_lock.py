"""A lock between processes that names its holder and dies with it (flock: a stale one needs no cleaning up)."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamina.kit.disk import make_folder, storage
from lamina.kit.errors import BusyError


@contextmanager
def hold(path: Path, what: str) -> Iterator[int]:
    """Hold the lock file ``path`` for ``what``; yields its descriptor. A child that inherits it holds the lock too.

    Raises ``BusyError`` naming pid, host and start of the process that holds it.
    """
    with storage("lock", path):
        make_folder(path.parent)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"{what} runs already: {describe(holder(path))}",
                where=str(path),
                hint="wait for it, or end that process; what it finished is kept",
            ) from error
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "host": socket.gethostname(), "started": now, "what": what}
        with storage("lock", path):
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(note).encode(), 0)
        yield fd
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def holder(path: Path) -> dict[str, Any]:
    """What the last holder wrote of itself: pid, host, started, what; empty where it cannot be read."""
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def describe(note: dict[str, Any]) -> str:
    """A holder in words."""
    if not note:
        return "by a process that did not say its name"
    return f"process {note.get('pid')} on {note.get('host')}, since {note.get('started')}"
