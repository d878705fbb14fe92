"""Bytes of files, plain or packed (gzip, bzip2, zstd), in bounded pieces; text, undecodable characters counted."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lamina.contracts.corpus import FilePart
from lamina.kit.errors import DocumentError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_FILE = 256 << 20  # bytes of a file that is read whole
MAX_REPLACED = 0.01  # share of characters that may be undecodable
_PIECE = 64 << 10
_SLICE = 512  # of zstd: 128 blocks, so 16 MiB at most come out of it
_FREE = 256 << 20  # what is packed may always unpack to this, whatever its ratio
_RATIO = 200
PACKED = (".gz", ".bz2", ".zst")
#: How files that are no text begin, whatever their names say.
_MAGIC = {
    b"%PDF-": "a PDF file",
    b"{\\rtf": "an RTF file",
    b"PK\x03\x04": "a zip file",
    b"\x1f\x8b": "a gzip file",
    b"BZh": "a bzip2 file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "a file of old Office programs (OLE)",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3\x00": "a database",
    b"\x89PNG": "a picture",
    b"GIF8": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"OggS": "sound or video",
    b"ID3": "sound",
}


def kind(name: str) -> str:
    """The suffix that says what a file holds, in lower case and without packing.

    >>> kind("posts/2024.JSONL.gz")
    '.jsonl'
    """
    base = name.rsplit("/", 1)[-1].lower()
    for packed in PACKED:
        base = base.removesuffix(packed)
    return "." + base.rsplit(".", 1)[1] if "." in base[1:] else ""


def recognised(head: bytes) -> str | None:
    """What a file that begins like this is, in words; None where its first bytes say nothing.

    >>> recognised(b"%PDF-1.7")
    'a PDF file'
    """
    return next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)


def open_bytes(path: Path, name: str, *, part: FilePart | None = None, window: int = 1 << 27) -> BinaryIO:
    """A binary stream of what ``path`` holds, unpacked where ``name`` ends in .gz, .bz2 or .zst.

    With a ``part``, of those bytes of the file; ``window``: the most bytes that zstd may look back.

    Reading raises ``DocumentError`` where the packing is damaged, cut short or a bomb (over 256 MiB and 200-fold).
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}") from error
    if part is not None:
        return io.BufferedReader(_Stretch(raw, part))
    lower = name.lower()
    if lower.endswith(".gz"):
        return io.BufferedReader(_Unpacked(raw, _pieces(gzip.GzipFile(fileobj=raw, mode="rb"))))
    if lower.endswith(".bz2"):
        return io.BufferedReader(_Unpacked(raw, _pieces(bz2.BZ2File(raw))))
    if lower.endswith(".zst"):
        return io.BufferedReader(_Unpacked(raw, _zstd(raw, window)))
    return raw


def read_bytes(path: Path, name: str, limit: int = MAX_FILE) -> bytes:
    """All of it; ``DocumentError`` where it is more than ``limit`` bytes or cannot be read."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise DocumentError(f"is {_mib(size)} MiB, more than the limit of {_mib(limit)} MiB")
        with open_bytes(path, name) as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise DocumentError(f"unpacks to more than the limit of {_mib(limit)} MiB")
    return data


def decode(data: bytes) -> tuple[str, int]:
    """Text and how many of its characters were undecodable and replaced; see ``encoding_of`` for what is accepted."""
    encoding = encoding_of(data[:4096])
    text = data.decode(encoding, errors="replace")
    # A replacement character that stands in the bytes as such was nobody's mistake here.
    replaced = text.count("\ufffd") - (0 if encoding == "utf-16" else data.count(b"\xef\xbf\xbd"))
    check_replaced(replaced, len(text))
    return text, replaced


def encoding_of(head: bytes) -> str:
    """UTF-8 (with or without a mark) or marked UTF-16; ``DocumentError`` for what is no text."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in head:
        raise DocumentError("is binary, not text")
    return "utf-8-sig"


def check_replaced(replaced: int, characters: int) -> None:
    """``DocumentError`` where more than 1 % of ``characters`` could not be decoded."""
    if replaced > MAX_REPLACED * characters:
        raise DocumentError(
            f"is not UTF-8: {replaced} of {characters} characters cannot be decoded", hint="save it as UTF-8"
        )


def text_encoding(path: Path, name: str) -> str:
    """The encoding of a text file of any size, after a look at all of it; raises as ``decode`` does."""
    with open_bytes(path, name) as stream:
        head = stream.read(_PIECE)
        encoding = encoding_of(head[:4096])
        decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        replaced = characters = 0
        piece = head
        while piece:
            text = decoder.decode(piece)
            replaced += text.count("\ufffd")
            characters += len(text)
            piece = stream.read(_PIECE)
    check_replaced(replaced, characters)
    return encoding


class _Stretch(io.RawIOBase):
    """Some bytes of a file."""

    def __init__(self, raw: BinaryIO, part: FilePart) -> None:
        self._raw, self._left = raw, part.end - part.begin
        raw.seek(part.begin)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer)
        piece = self._raw.read(min(len(room), self._left))
        self._left -= len(piece)
        room[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """The pieces that an unpacker yields as one stream."""

    def __init__(self, raw: BinaryIO, pieces: Iterator[bytes]) -> None:
        self._raw, self._pieces = raw, pieces
        self._rest = memoryview(b"")
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer)
        if not self._rest:
            self._rest = memoryview(_guarded(lambda: next(self._pieces, b""), self._bytes))
            self._bytes += len(self._rest)
            if self._bytes > _FREE and self._bytes > _RATIO * max(1, self._raw.tell()):
                raise DocumentError(f"unpacks to more than {_RATIO} times its size: past {_mib(self._bytes)} MiB")
        taken = self._rest[: len(room)]
        room[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _guarded(read: Callable[[], bytes], place: int) -> bytes:
    from zstandard import ZstdError

    try:
        return read()
    except EOFError:
        raise DocumentError(f"is cut short: its end is missing behind byte {place}") from None
    except (zlib.error, ZstdError, OSError) as error:
        raise DocumentError(f"is damaged behind byte {place}: {error}") from error


def _pieces(stream: gzip.GzipFile | bz2.BZ2File) -> Iterator[bytes]:
    with stream:
        while piece := stream.read1(_PIECE):  # what is there, so that little is lost where the file is cut short
            yield piece


def _zstd(raw: BinaryIO, window: int) -> Iterator[bytes]:
    """One frame or several; a stream that ends inside of a frame is an ``EOFError``."""
    import zstandard

    frames = zstandard.ZstdDecompressor(max_window_size=window)
    decoder, fresh = frames.decompressobj(), True
    while chunk := raw.read(_SLICE):
        while chunk:
            piece = decoder.decompress(chunk)
            fresh, chunk = False, b""
            if decoder.eof:
                chunk = decoder.unused_data
                decoder, fresh = frames.decompressobj(), True
            if piece:
                yield piece
    if not fresh:
        raise EOFError


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}" if size >= 2**20 else f"{size / 2**20:.2f}"
