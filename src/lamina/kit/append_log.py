"""An append-only log whose every acknowledged payload survives a kill and a power cut.

File: the 8 bytes ``LAMLOG1\\n``, then batches. A batch is what one fdatasync made durable:

    length u32 | crc32 u32 | first sequence number u64 | count u32 | count × (length u32, payload)     little-endian

``length`` counts the bytes after the 20-byte header, the CRC covers everything but itself and the length before it.
A bad batch at the end was never acknowledged (its writer died): it is moved aside. A bad batch with a good one behind
it was acknowledged once: that is corruption, and the log is refused.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from lamina.kit.disk import failpoint, make_folder, storage, storage_error, sync_folder, write_all
from lamina.kit.errors import BusyError, CorruptError, StorageError, TooLargeError

_MAGIC = b"LAMLOG1\n"
_HEADER = struct.Struct("<IIQI")
_TAIL = struct.Struct("<QI")
_LENGTH = struct.Struct("<I")
MAX_PAYLOAD = 64 * 2**20
_MAX_BATCH = 2**31


@dataclass(slots=True)
class _Entry:
    payload: bytes
    sequence: int = -1
    error: StorageError | None = None
    done: bool = False


@dataclass(slots=True)
class _Queue:
    lock: threading.Lock = field(default_factory=threading.Lock)
    entries: list[_Entry] = field(default_factory=list)


class AppendLog:
    """A log of byte strings; one process writes it, any may read it.

    Opening raises ``BusyError`` where another process writes, ``CorruptError`` where acknowledged bytes are damaged.
    ``torn`` is the number of bytes of an unfinished batch that opening moved to ``<name>.torn-<time>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        self._queue = _Queue()
        self._turn = threading.Lock()
        self._failed = False
        with storage("open the log", path):
            make_folder(path.parent)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._open()
        except BaseException:
            os.close(self._fd)
            self._failed = True
            raise

    def _open(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BusyError("another process is writing this log", where=str(self.path)) from error
        with storage("read the log", self.path):
            head = os.pread(self._fd, 4096, 0)
            if len(head) < len(_MAGIC) or (len(head) < 4096 and not any(head)):
                self._begin(head)
                return
            with open(self.path, "rb") as file:
                good, following = _check(file, self.path)
                file.seek(good)
                rest = file.read()
            self._end, self._next = good, following
            if rest:
                _refuse_if_corrupt(rest, good, following, self.path)
                self.torn = len(rest)
                _write_aside(self.path.with_name(f"{self.path.name}.torn-{time.time_ns()}"), rest)
                os.ftruncate(self._fd, good)
                os.fsync(self._fd)

    def _begin(self, head: bytes) -> None:
        """Write the first bytes. ``head`` is nothing, or what a power cut left of them: a part, or zeros."""
        if any(head) and head != _MAGIC[: len(head)]:
            raise CorruptError("this is no log", where=str(self.path))
        os.ftruncate(self._fd, 0)
        write_all(self._fd, _MAGIC, 0)
        failpoint("append_log.create")
        os.fsync(self._fd)
        sync_folder(self.path.parent)
        self._end, self._next = len(_MAGIC), 0

    def append(self, payload: bytes) -> int:
        """Add ``payload`` and return its number; it is durable then. Threads that wait together share one fdatasync.

        Raises ``StorageError``: on a full disk the log stays usable, after a failed fsync it must be opened anew.
        """
        if len(payload) > MAX_PAYLOAD:
            raise TooLargeError(f"a payload of {len(payload)} bytes is over {MAX_PAYLOAD}", where=str(self.path))
        entry = _Entry(payload)
        with self._queue.lock:
            self._queue.entries.append(entry)
        with self._turn:
            if not entry.done:
                self._commit(self._take())
        if entry.error is not None:
            raise StorageError(entry.error.what, where=entry.error.where, hint=entry.error.hint) from entry.error
        return entry.sequence

    def _take(self) -> list[_Entry]:
        with self._queue.lock:
            batch, self._queue.entries = self._queue.entries, []
        return batch

    def _commit(self, entries: list[_Entry]) -> None:
        error: StorageError | None = StorageError("the append was interrupted", where=str(self.path))
        try:
            self._write([entry.payload for entry in entries])
            error = None
        except StorageError as failure:
            error = failure
        finally:  # an interrupt of the thread that writes must not look like success to those that wait for it
            for entry in entries:
                entry.error, entry.done = error, True
                if error is None:
                    entry.sequence, self._next = self._next, self._next + 1

    def _write(self, payloads: list[bytes]) -> None:
        if self._failed:
            raise StorageError("the log failed before or is closed", where=str(self.path), hint="open it anew")
        frame = _frame(payloads, self._next)
        try:
            failpoint("append_log.write")
            write_all(self._fd, frame, self._end)
        except BaseException as error:
            self._cut_back()
            if isinstance(error, OSError):
                raise storage_error("append to the log", self.path, error) from error
            raise
        try:
            failpoint("append_log.sync")
            os.fdatasync(self._fd)
        except OSError as error:
            # The kernel may have dropped the dirty pages: a second fsync would lie. Cut the batch off, so that what
            # is written there later is dirty again, and let the log be opened anew.
            self._failed = True
            self._cut_back()
            os.close(self._fd)
            raise storage_error("make the log durable", self.path, error) from error
        failpoint("append_log.acknowledge")
        self._end += len(frame)

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:
            self._failed = True

    def __iter__(self) -> Iterator[bytes]:
        """The payloads that are durable now, in order."""
        with open(self.path, "rb") as file:
            file.seek(len(_MAGIC))
            while file.tell() < self._end:
                batch = _read_batch(file)
                if batch is None:
                    raise CorruptError(f"damaged at byte {file.tell()}", where=str(self.path))
                yield from batch[1]

    def __len__(self) -> int:
        return self._next

    def close(self) -> None:
        """Give the log back; what was appended is durable already."""
        with self._turn:
            if not self._failed:
                self._failed = True
                os.close(self._fd)

    def __enter__(self) -> AppendLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _frame(payloads: list[bytes], first: int) -> bytes:
    body = b"".join(_LENGTH.pack(len(payload)) + payload for payload in payloads)
    if len(body) > _MAX_BATCH:
        raise StorageError("too much is appended at once")
    tail = _TAIL.pack(first, len(payloads))
    return _LENGTH.pack(len(body)) + _LENGTH.pack(zlib.crc32(body, zlib.crc32(tail))) + tail + body


def _read_batch(file: BinaryIO) -> tuple[int, list[bytes]] | None:
    """The batch at the file's place as (first number, payloads), or None (and the place unchanged) if it is bad."""
    start = file.tell()
    header = file.read(_HEADER.size)
    if len(header) == _HEADER.size:
        length, crc, first, count = _HEADER.unpack(header)
        body = file.read(length) if length <= _MAX_BATCH else b""
        if len(body) == length and zlib.crc32(body, zlib.crc32(header[8:])) == crc:
            payloads = _split(body, count)
            if payloads is not None:
                return first, payloads
    file.seek(start)
    return None


def _split(body: bytes, count: int) -> list[bytes] | None:
    payloads, at = [], 0
    while at + _LENGTH.size <= len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        payloads.append(body[at : at + length])
        at += length
    return payloads if at == len(body) and len(payloads) == count > 0 else None


def _check(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Where the last good batch ends, and the number that comes next."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise CorruptError("this is no log, or one of a newer Lamina", where=str(path))
    following = 0
    while True:
        place = file.tell()
        batch = _read_batch(file)
        if batch is None or batch[0] != following:
            return place, following
        following += len(batch[1])


def _refuse_if_corrupt(rest: bytes, offset: int, following: int, path: Path) -> None:
    """Raise where a whole batch lies behind the bad one; its place is found by the zero bytes of its number."""
    high = _LENGTH.pack(following >> 32)
    place = rest.find(high)
    while place >= 0:
        start = place - 12  # a number's upper half lies 12 bytes into its header
        if start >= 0 and len(rest) - start > _HEADER.size:
            length, crc, first, _ = _HEADER.unpack_from(rest, start)
            end = start + _HEADER.size + length
            if first >= following and end <= len(rest) and zlib.crc32(rest[start + 8 : end]) == crc:
                raise CorruptError(
                    f"the bytes from {offset} are damaged, and acknowledged entries follow at {offset + start}",
                    where=str(path),
                    hint="restore the file from a backup",
                )
        place = rest.find(high, place + 1)


def _write_aside(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(path.parent)
