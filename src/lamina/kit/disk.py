"""The floor under ``kit.durable``: system calls whose failures are ``StorageError``, and points to fail at on purpose.

``LAMINA_FAILPOINT="name:kill|eio|enospc:nth"`` makes the nth passage of the named point fail, without root.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lamina.kit.errors import StorageError

_passages: Counter[str] = Counter()  # how often each failpoint was reached; counts only while one is set
_HINTS = {
    errno.ENOSPC: "free some space and run again; nothing that was acknowledged is lost",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "check the permissions of the folder",
    errno.EIO: "the disk reports an error; see the system log",
}
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100


def failpoint(name: str) -> None:
    """A named place where a test may stop the process or make the disk fail."""
    wanted = os.environ.get("LAMINA_FAILPOINT")
    if not wanted:
        return
    target, action, nth = wanted.split(":")
    if target != name:
        return
    _passages[name] += 1
    if _passages[name] != int(nth):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = {"eio": errno.EIO, "enospc": errno.ENOSPC}[action]
    raise OSError(number, os.strerror(number))


@contextmanager
def storage(action: str, path: Path | str) -> Iterator[None]:
    """Turn an ``OSError`` inside into a ``StorageError`` that says what was done to which path."""
    try:
        yield
    except OSError as error:
        raise storage_error(action, path, error) from error


def storage_error(action: str, path: Path | str, error: OSError) -> StorageError:
    """The error for a system call on ``path`` that failed."""
    return StorageError(
        f"cannot {action}: {error.strerror or error}", where=str(path), hint=_HINTS.get(error.errno or 0)
    )


def write_all(fd: int, data: bytes | memoryview, offset: int | None = None) -> None:
    """Write all of ``data``, at ``offset`` where one is given; a short write goes on."""
    view = memoryview(data)
    while view:
        done = os.write(fd, view) if offset is None else os.pwrite(fd, view, offset)
        view = view[done:]
        offset = None if offset is None else offset + done


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents, each durable in the folder that holds it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_folder(folder.parent)


def temporary(path: Path, kind: str) -> Path:
    """A name beside ``path`` that nobody else uses; ``sweep`` knows it as litter."""
    return path.parent / f".{path.name[:32]}.{secrets.token_hex(6)}.{kind}"


def sweep(path: Path, *, older_than_s: float = 60.0) -> list[Path]:
    """Remove what writers of ``path`` left behind when they were killed, and return it.

    A living writer holds a lock on its file or folder; the age spares one that has not locked yet. Who knows that
    there is no other writer may pass zero.
    """
    removed = []
    shape = re.compile(re.escape(f".{path.name[:32]}.") + r"[0-9a-f]{12}\.(tmp|staging|old)")
    with suppress(FileNotFoundError):
        for name in os.listdir(path.parent):
            if shape.fullmatch(name):
                litter = path.parent / name
                with suppress(OSError):
                    if time.time() - litter.lstat().st_mtime >= older_than_s and _unlocked(litter):
                        remove(litter)
                        removed.append(litter)
    return removed


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _unlocked(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def swap_folders(new: Path, path: Path) -> None:
    """Exchange two folders in one step, so that ``path`` is at every moment the old one or the new one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "renameat2 is not there")
    if libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(path), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def canonical(value: Any) -> bytes:
    """JSON with one spelling: sorted keys, no white space, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
