"""Writing that survives: everything under the state folder is written here, whole or not at all.

    atomic_write(path, data)          one file
    AppendLog(path).append(data)      an append-only log
    with publish(path) as staging:    a folder with a manifest of sha256; libraries may write into ``staging``
    append_lines(path, lines)         lines that a kill may cut but never garble (metrics, logs): not fsynced

An interrupted writer leaves at most hidden litter beside the target, which the next one sweeps. A failed fsync is an
error at once and never tried again on the same descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lamina.kit.append_log import AppendLog
from lamina.kit.disk import (
    canonical,
    failpoint,
    make_folder,
    remove,
    storage,
    swap_folders,
    sweep,
    sync_folder,
    temporary,
    write_all,
)
from lamina.kit.errors import CorruptError, StorageError

__all__ = [
    "MANIFEST",
    "AppendLog",
    "Stamps",
    "append_lines",
    "atomic_write",
    "canonical",
    "digest_folder",
    "failpoint",
    "is_published",
    "make_folder",
    "open_append",
    "publish",
    "read_manifest",
    "remove",
    "sha256_file",
    "stamps",
    "sweep",
    "verify",
]

Stamps = frozenset[tuple[str, int, int, int, int]]
MANIFEST = "manifest.json"
_FORMAT = 1


def atomic_write(path: Path, data: bytes | memoryview, *, mode: int = 0o600) -> None:
    """Make ``path`` hold ``data``, durably; at every moment it is wholly old or wholly new.

    A file that stands keeps its mode, a new one gets ``mode``. Raises ``StorageError``; the old content stands then.
    """
    with storage("write", path):
        make_folder(path.parent)
        sweep(path)
        temp = temporary(path, "tmp")
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode & 0o777
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                failpoint("atomic_write.write")
                write_all(fd, data)
                failpoint("atomic_write.sync")
                os.fsync(fd)
            finally:
                os.close(fd)
            failpoint("atomic_write.rename")
            os.replace(temp, path)
        except BaseException:
            remove(temp)
            raise
        failpoint("atomic_write.sync_folder")
        sync_folder(path.parent)


def open_append(path: Path) -> int:
    """A descriptor that appends to ``path``, made where it is missing; what it writes survives a kill."""
    with storage("open", path):
        make_folder(path.parent)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def append_lines(path: Path, data: bytes) -> None:
    """Append whole lines in one write; a line that a kill cut short before is ended first."""
    with storage("append", path):
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data
            write_all(fd, data)
        finally:
            os.close(fd)


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends well, make it durable, add its manifest and let it become ``path``.

    After an exception or a kill nothing is at ``path``, or what was there before. A folder that stands at ``path`` is
    exchanged in one step.
    """
    with storage("publish", path):
        make_folder(path.parent)
        sweep(path)
        staging = temporary(path, "staging")
        staging.mkdir(mode=0o700)
        held = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield staging
        with storage("publish", path):
            _seal(staging)
            failpoint("publish.rename")
            _put(staging, path)
            failpoint("publish.sync_folder")
            sync_folder(path.parent)
    finally:
        os.close(held)
        remove(staging)  # after an exchange this is the old folder


def _seal(staging: Path) -> None:
    """fsync every file, write the manifest last, fsync every folder."""
    files = {}
    for name, file in _files(staging):
        failpoint("publish.sync_file")
        files[name] = {"size": file.stat().st_size, "sha256": sha256_file(file, sync=True)}
    failpoint("publish.manifest")
    data = json.dumps({"format": _FORMAT, "files": files}, indent=1, sort_keys=True, ensure_ascii=False).encode()
    fd = os.open(staging / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    for folder, _, _ in os.walk(staging, topdown=False):
        sync_folder(Path(folder))


def _put(staging: Path, path: Path) -> None:
    try:
        os.rename(staging, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        try:
            swap_folders(staging, path)
        except OSError as failure:
            if failure.errno not in (errno.ENOSYS, errno.EINVAL):
                raise
            old = temporary(path, "old")  # a file system that cannot exchange: a moment with none at ``path``
            os.rename(path, old)
            os.rename(staging, path)
            remove(old)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The regular files of a folder as (name with slashes, path), sorted; the manifest and hidden names left out."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if name == MANIFEST or any(part.startswith(".") for part in name.split("/")):
            continue
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise StorageError("only regular files can be published", where=str(file))
        if file.is_file():
            yield name, file


def sha256_file(path: Path, *, sync: bool = False) -> str:
    """The sha256 of a file's bytes (hex); with ``sync`` they are durable when it returns."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a published folder: ``{"format": 1, "files": {name: {"size", "sha256"}}}``."""
    place = path / MANIFEST
    try:
        manifest = json.loads(place.read_bytes())
        usable = manifest["format"] == _FORMAT and all(
            isinstance(entry["size"], int) and isinstance(entry["sha256"], str) for entry in manifest["files"].values()
        )
    except FileNotFoundError as error:
        raise CorruptError("the folder has no manifest: it was never published whole", where=str(path)) from error
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror}", where=str(place)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError("the manifest is damaged", where=str(place)) from error
    if not usable:
        raise CorruptError("the manifest is damaged or of a newer Lamina", where=str(place))
    return dict(manifest)


def is_published(path: Path) -> bool:
    """Whether ``path`` holds a manifest and every file of it has the recorded size. ``verify`` reads the bytes too."""
    try:
        files = read_manifest(path)["files"]
        return all((path / name).stat().st_size == entry["size"] for name, entry in files.items())
    except (StorageError, OSError):
        return False


def verify(path: Path) -> None:
    """Read every byte of a published folder; ``CorruptError`` names the file that is not what was recorded."""
    entries = read_manifest(path)["files"]
    with storage("verify", path):
        found = dict(_files(path))
        for name, entry in entries.items():
            file = found.pop(name, None)
            if file is None:
                raise CorruptError("the file is missing", where=str(path / name))
            size = file.stat().st_size
            if size != entry["size"]:
                raise CorruptError(f"the file has {size} bytes, {entry['size']} were recorded", where=str(file))
            if sha256_file(file) != entry["sha256"]:
                raise CorruptError("the file's bytes do not have the recorded sha256", where=str(file))
    for file in found.values():
        raise CorruptError("the file was not published with the folder", where=str(file))


def stamps(path: Path) -> Stamps:
    """What the system says of everything in a folder: another value once a file was written to, replaced or renamed."""
    found = ((file.relative_to(path).as_posix(), file.lstat()) for file in path.rglob("*"))
    return frozenset((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in found)


def digest_folder(path: Path) -> str:
    """The name of a published folder's content: sha256 over its manifest's file map."""
    return hashlib.sha256(canonical(read_manifest(path)["files"])).hexdigest()
