"""The bytes of a file that may be gzipped in many members, unpacked, with the place on disk of what is in hand."""

from __future__ import annotations

import re
import zlib
from typing import BinaryIO

_PIECE = 256 << 10
_MAGIC = b"\x1f\x8b\x08"
_FREE, _RATIO = 64 << 20, 200  # bytes that a member may unpack to; or that many times its size
_KEPT = 256  # bytes that a pattern may begin before the end of a piece


class Members:
    """A stream over ``raw``, unpacked where it is ``packed``. ``buffer`` holds what was read and not yet dropped.

    A damaged member is left out: the next one is looked for, and ``damages`` has (offset on disk, reason).
    """

    def __init__(self, raw: BinaryIO, *, packed: bool) -> None:
        self._raw, self._packed = raw, packed
        self.buffer = bytearray()
        self.damages: list[tuple[int, str]] = []
        self._place = 0  # of the buffer's first byte in the unpacked stream
        self._read = 0  # bytes taken from the file
        self._waiting = b""  # of them, what is not unpacked yet
        self._ended = False
        self._starts: list[tuple[int, int]] = []  # place of a member in the unpacked stream, and on disk
        self._begin()

    @property
    def offset(self) -> int:
        """Where on disk that starts which the buffer begins with: its member, or the byte itself."""
        if not self._packed:
            return self._place
        while len(self._starts) > 1 and self._starts[1][0] <= self._place:
            del self._starts[0]
        return self._starts[0][1]

    @property
    def behind(self) -> int:
        """Where on disk that ends which came before the buffer: at the next member, or the byte itself."""
        if not self._packed:
            return self._place
        return next((at for place, at in self._starts if place >= self._place), self._read - len(self._waiting))

    def more(self, size: int) -> bool:
        """Read until ``size`` bytes are in hand; whether there are so many."""
        while len(self.buffer) < size and not self._ended:
            piece = self._unpacked() if self._packed else self._taken()
            self._ended = piece is None
            self.buffer += piece or b""
        return len(self.buffer) >= size

    def drop(self, size: int) -> None:
        """Go on by ``size`` bytes of the buffer."""
        del self.buffer[:size]
        self._place += size

    def skip_lines(self) -> bool:
        """Go on to what is no line end; whether there is something."""
        while self.more(1):
            rest = len(self.buffer.lstrip(b"\r\n"))
            self.drop(len(self.buffer) - rest)
            if rest:
                return True
        return False

    def seek(self, pattern: re.Pattern[bytes], *, within: int | None = None) -> None:
        """Go on behind the next match of ``pattern``, or by ``within`` bytes, or to the end."""
        while self.more(1):
            self.more(_PIECE)
            found = pattern.search(self.buffer)
            if found and (within is None or found.end() <= within):
                self.drop(found.end())
                return
            if within is not None and within <= len(self.buffer):
                self.drop(within)
                return
            passed = len(self.buffer) if self._ended else max(1, len(self.buffer) - _KEPT)
            self.drop(passed)
            within = None if within is None else within - passed

    def _taken(self) -> bytes | None:
        piece = self._raw.read(_PIECE)
        self._read += len(piece)
        return piece or None

    def _unpacked(self) -> bytes | None:
        """A piece, which may be empty; None at the end."""
        if not self._waiting:
            self._waiting = self._taken() or b""
        last = not self._waiting
        if last and not self._packed_bytes:
            return None
        before = len(self._waiting)
        try:
            piece = self._decoder.decompress(self._waiting, _PIECE)
        except zlib.error as error:
            return self._damaged(f"is damaged: {error}")
        ended = self._decoder.eof
        self._waiting = self._decoder.unused_data.lstrip(b"\0") if ended else self._decoder.unconsumed_tail
        self._packed_bytes += before - len(self._waiting)
        self._bytes += len(piece)
        if last and not piece and not ended:
            self._damaged("is cut short: the end of the gzip member is missing")
            return None
        if self._bytes > _FREE and self._bytes > _RATIO * self._packed_bytes:
            return self._damaged(f"unpacks to more than {_RATIO} times its size")
        if ended:
            self._begin(ahead=len(piece))
        return piece

    def _begin(self, *, ahead: int = 0) -> None:
        """A member begins ``ahead`` bytes behind the buffer's end."""
        self._decoder = zlib.decompressobj(31)
        self._packed_bytes = self._bytes = 0
        self._starts.append((self._place + len(self.buffer) + ahead, self._read - len(self._waiting)))

    def _damaged(self, reason: str) -> bytes:
        """Leave the member in hand out, and go to what looks like the next one."""
        place, offset = self._starts[-1]
        self.damages.append((offset, reason))
        del self.buffer[max(0, place - self._place) :]
        rest = self._waiting[1:]
        while (at := rest.find(_MAGIC)) < 0 and (fresh := self._taken()):
            rest = rest[-2:] + fresh
        self._waiting = rest[at:] if at >= 0 else b""
        self._begin()
        return b""
