"""Files by their content: ``sha256/ab/abcd…`` under a root, and folders put together from them by hard links."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from lamina.kit.durable import MANIFEST, atomic_write, canonical, is_published, publish, sha256_file
from lamina.kit.errors import CorruptError, NotFoundError

#: Name in the folder (with slashes) → (size, sha256).
FileMap = dict[str, tuple[int, str]]


def file_map(folder: Path) -> FileMap:
    """The files of a folder, hashed; its manifest and hidden files are left out."""
    if not folder.is_dir():
        raise NotFoundError("there is no such folder", where=str(folder))
    found: FileMap = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST and not any(part.startswith(".") for part in name.split("/")):
            found[name] = (path.stat().st_size, sha256_file(path))
    return found


def digest_of(files: FileMap) -> str:
    """One name for a folder's content; the same as ``kit.durable.digest_folder`` gives once it is published."""
    return sha256(canonical({n: {"size": size, "sha256": digest} for n, (size, digest) in files.items()})).hexdigest()


def folder_digest(folder: Path) -> str:
    """``digest_of`` the files that lie in ``folder`` now."""
    return digest_of(file_map(folder))


_Look = tuple[int, int, int] | None  # file, bytes and time of its last change


def _look_of(file: Path) -> _Look:
    """By which it is seen whether it was written to; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class BlobStore:
    """Content-addressed files under ``root``; equal files of several versions are held once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ahead: dict[tuple[Path, int, str], Future[_Look]] = {}

    def place(self, digest: str) -> Path:
        """Where the blob of this sha256 lies."""
        return self.root / "blobs" / "sha256" / digest[:2] / digest

    def put(self, path: Path, digest: str) -> None:
        """Store a copy of ``path``, whose sha256 is ``digest``; durable on return."""
        place = self.place(digest)
        if place.is_file() and place.stat().st_size == path.stat().st_size and sha256_file(place) == digest:
            return
        if not path.stat().st_size:
            atomic_write(place, b"")
        else:
            with (
                open(path, "rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
                memoryview(data) as view,  # so that a file of gigabytes is never held in memory
            ):
                atomic_write(place, view)
        if sha256_file(place) != digest:
            raise CorruptError("the file changed while it was stored", where=str(path))

    def look_ahead(self, files: Mapping[str, tuple[int, str]]) -> None:
        """Begin to check the bytes in a thread; the next ``folder`` of these files, and none after it, waits for that
        instead of reading them itself."""

        def look(place: Path, size: int, sha: str, name: str) -> _Look:
            before = _look_of(place)
            self._check(place, size, sha, name)
            return before

        reader = ThreadPoolExecutor(1, thread_name_prefix="blobs")
        self._ahead = {
            (self.place(sha), size, sha): reader.submit(look, self.place(sha), size, sha, name)
            for name, (size, sha) in files.items()
        }
        reader.shutdown(wait=False)

    def folder(self, files: Mapping[str, tuple[int, str]], digest: str) -> Path:
        """The folder that these files make, every byte checked. ``CorruptError`` names the file that is wrong."""
        view = self.root / "versions" / digest
        ahead, self._ahead = self._ahead, {}
        for name, (size, sha) in files.items():
            place = self.place(sha)
            begun = ahead.get((place, size, sha))
            if begun is None or begun.result() != _look_of(place):
                self._check(place, size, sha, name)
        if not is_published(view):
            with publish(view) as staging:
                for name, (_, sha) in files.items():
                    (staging / name).parent.mkdir(parents=True, exist_ok=True)
                    os.link(self.place(sha), staging / name)
        for name, (size, sha) in files.items():
            file, blob = view / name, self.place(sha)
            if not (file.is_file() and file.samefile(blob)):
                self._check(file, size, sha, name)
        return view

    @staticmethod
    def _check(path: Path, size: int, digest: str, name: str) -> None:
        if not path.is_file():
            raise CorruptError(f"the file '{name}' is missing", where=str(path))
        if path.stat().st_size != size or sha256_file(path) != digest:
            raise CorruptError(f"the bytes of '{name}' are not those that were recorded", where=str(path))
