"""Archives from elsewhere, unpacked with suspicion: zip (wheels), tar (gzip, bzip2, xz, zstd) and Debian packages.

Only regular files come out, under names that stay inside the folder; caps on entries, bytes and expansion are checked
while the bytes flow, overlapping zip entries (Fifield 2019, "A better zip bomb") before.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal, Self

import zstandard

from lamina.kit.disk import storage_error
from lamina.kit.errors import DocumentError, TooLargeError

_CHUNK = 1024 * 1024
_FREE = 64 * 1024 * 1024  # an archive may always grow to this, whatever its ratio
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE}
#: What the libraries raise over a damaged archive.
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, zstandard.ZstdError, struct.error),
    *(EOFError, OSError, ValueError, RuntimeError, OverflowError),  # NotImplementedError: an unknown compression
)
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps of one archive: entries, bytes unpacked, and bytes unpacked for each packed byte."""

    entries: int = 200_000
    size: int = 16 * 1024**3
    ratio: float = 200.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file of an archive, to be read before the next is asked for."""

    name: str
    size: int  # as declared
    open: Callable[[], IO[bytes]]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a glob covers the whole ``name``; ``**/`` also stands for no folder at all. No pattern: all match."""
    return not patterns or any(
        fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(name, p.replace("**/", "")) for p in patterns
    )


def unpack(archive: Path, folder: Path, *, match: Sequence[str] = (), limits: Limits | None = None) -> list[str]:
    """Write the regular files of ``archive`` that ``match`` into ``folder``; their names, sorted.

    Links, devices and the like are left out. Raises ``DocumentError`` for a damaged or hostile archive and
    ``TooLargeError`` over the limits, both naming the entry; what was written so far is the caller's to remove.
    """
    limits = limits or Limits()
    budget = min(limits.size, max(_FREE, int(limits.ratio * archive.stat().st_size)))
    written: set[str] = set()
    try:
        with ExitStack() as stack:
            for count, entry in enumerate(entries(archive, stack)):
                if count >= limits.entries:
                    raise TooLargeError(f"more than {limits.entries} entries", where=archive.name)
                name = _safe(entry.name, archive.name)
                if not matches(name, match):
                    continue
                if name in written:
                    raise DocumentError(f"two entries are named {name!r}", where=archive.name)
                written.add(name)
                budget -= write_entry(entry, folder / name, budget, archive.name)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise storage_error("unpack into", folder, error) from error
        raise DocumentError(f"cannot be unpacked: {error}", where=archive.name) from error
    return sorted(written)


def read_member(archive: Path, wanted: Callable[[str], bool], *, limit: int = 1024 * 1024) -> bytes | None:
    """The first ``limit`` bytes of the first regular file whose name is ``wanted``; None where there is none."""
    try:
        with ExitStack() as stack:
            for entry in entries(archive, stack):
                if wanted(entry.name):
                    with entry.open() as source:
                        return source.read(limit)
    except BROKEN as error:
        raise DocumentError(f"cannot be unpacked: {error}", where=archive.name) from error
    return None


def _safe(name: str, where: str) -> str:
    """The name without a leading ``./``, or an error where it could lead out of the folder."""
    clean = name.removeprefix("./")
    parts = clean.split("/")
    bad = (
        not clean
        or len(clean.encode("utf-8", "replace")) > 1024
        or any(part in ("", ".", "..") or len(part.encode("utf-8", "replace")) > 255 for part in parts)
        or any(c < " " or c in "\\\x7f" or "\ud800" <= c <= "\udfff" for c in clean)
        or clean[1:2] == ":"
    )
    if bad:
        raise DocumentError(
            f"an entry has the unsafe name {name[:200]!r}", where=where, hint="nothing was unpacked from it"
        )
    return clean


def write_entry(entry: Entry, path: Path, budget: int, where: str) -> int:
    """Copy one entry to a file that does not exist yet; the bytes written."""
    if entry.size > budget:
        raise TooLargeError(f"{entry.name!r} unpacks past the cap", where=where)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    size = 0
    with os.fdopen(fd, "wb") as target, entry.open() as source:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > budget:
                raise TooLargeError(f"{entry.name!r} unpacks past the cap", where=where)
            target.write(chunk)
    return size


def entries(archive: Path, stack: ExitStack, *, left: Callable[[str], None] | None = None) -> Iterator[Entry]:
    """The regular files of an archive, whose kind its first bytes tell; names are as they stand there.

    ``left`` gets the names of links, devices and the like, which are left out. Raises ``DocumentError`` for a hostile
    archive and what is in ``BROKEN`` for a damaged one.
    """
    with archive.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return _zip(archive, stack, left)
    raw = stack.enter_context(archive.open("rb"))
    if head.startswith(b"!<arch>\n"):
        return _tar(_debian_data(raw, archive.name), stack, left)
    if head[257:262] == b"ustar" or head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return _tar(raw, stack, left)
    raise DocumentError("not an archive that can be read (zip, tar, deb)", where=archive.name)


def _zip(archive: Path, stack: ExitStack, left: Callable[[str], None] | None) -> Iterator[Entry]:
    opened = stack.enter_context(zipfile.ZipFile(archive))
    infos = sorted(opened.infolist(), key=lambda i: i.header_offset)
    ends = [*(i.header_offset for i in infos[1:]), opened.start_dir][: len(infos)]  # none in an empty archive
    for info, end in zip(infos, ends, strict=True):
        if info.header_offset + 30 + info.compress_size > end:
            raise DocumentError(f"the entry {info.filename!r} overlaps another", where=archive.name)
        if info.flag_bits & 0x1:
            raise DocumentError(f"the entry {info.filename!r} is encrypted", where=archive.name)
        if "\x00" in info.orig_filename:
            raise DocumentError(f"an entry has the unsafe name {info.orig_filename[:200]!r}", where=archive.name)
    for info in infos:
        kind = (info.external_attr >> 16) & 0o170000
        if not info.is_dir() and kind in (0, 0o100000):
            yield Entry(info.filename, info.file_size, partial(opened.open, info))
        elif left is not None and not info.is_dir():
            left(info.filename)


class _Member(tarfile.TarInfo):
    """A tar header whose extended names are bounded: the library would read any size into memory."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """The next header. The library takes one that is damaged or cut short for the end of the archive."""
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]  # typeshed lacks them
            raise tarfile.ReadError(f"a header is damaged or cut short: {error}") from error

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG and self.size > _CHUNK:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return super()._proc_member(tarfile_)  # type: ignore[misc,no-any-return]  # typeshed has no private methods


def _tar(raw: IO[bytes], stack: ExitStack, left: Callable[[str], None] | None) -> Iterator[Entry]:
    head = raw.read(4)
    raw.seek(-len(head), io.SEEK_CUR)
    if head == b"\x28\xb5\x2f\xfd":
        raw = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw)
    mode: Literal["r|", "r|*"] = "r|" if head == b"\x28\xb5\x2f\xfd" else "r|*"
    try:
        opened = stack.enter_context(tarfile.open(fileobj=raw, mode=mode, tarinfo=_Member))  # noqa: SIM115
    except TypeError as error:  # tarfile's own, where gzip's header ends early
        raise tarfile.ReadError("the header of the compressed file is cut short") from error
    for member in opened:
        if member.isreg():
            source = opened.extractfile(member)
            if source is not None:
                yield Entry(member.name, member.size, partial(_itself, source))
        elif left is not None and not member.isdir():
            left(member.name)


def _itself(source: IO[bytes]) -> IO[bytes]:
    return source


def _debian_data(raw: IO[bytes], where: str) -> IO[bytes]:
    """Where the files of a .deb begin: an ``ar`` archive with one member ``data.tar.*`` (deb(5))."""
    raw.read(8)
    while header := raw.read(60):
        name, length = header[:16].rstrip().rstrip(b"/"), header[48:58].strip()
        if len(header) < 60 or header[58:] != b"`\n" or not length.isdigit():
            break
        if name.startswith(b"data.tar"):
            return io.BufferedReader(_Section(raw, int(length)))
        raw.seek(int(length) + int(length) % 2, io.SEEK_CUR)
    raise DocumentError("a Debian package without data", where=where)


class _Section(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, raw: IO[bytes], size: int) -> None:
        self._raw, self._start, self._size, self._at = raw, raw.tell(), size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the base takes any writable buffer
        self._raw.seek(self._start + self._at)
        data = self._raw.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
