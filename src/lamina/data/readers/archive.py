"""Zip archives from outside: opened under limits, an entry at a time, nothing unpacked to a path that they name."""

from __future__ import annotations

import io
import stat
import zipfile
from itertools import pairwise
from typing import BinaryIO

from lamina.data.readers.streams import recognised
from lamina.kit.errors import DocumentError

MAX_ENTRIES = 10_000
MAX_TOTAL = 256 << 20  # bytes of all entries, unpacked
MAX_RATIO = 200


def open_zip(
    data: bytes | BinaryIO, what: str, *, max_entries: int = MAX_ENTRIES, max_total: int = MAX_TOTAL
) -> zipfile.ZipFile:
    """The zip file that a ``what`` is; ``DocumentError`` where it is none, a bomb, or locked with a password.

    Refused: over ``max_entries`` or ``max_total`` bytes unpacked, entries that overlap (Fifield 2019, "A better zip
    bomb"), entries over 1 MiB that unpack over 200-fold.
    """
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, OSError) as error:
        stream.seek(0)
        other = recognised(stream.read(64))
        why = f"it is {other}" if other and other != "a zip file" else str(error)
        raise DocumentError(f"is no readable {what} (a zip file): {why}") from error
    entries = sorted(archive.infolist(), key=lambda e: e.header_offset)
    total = sum(e.file_size for e in entries)
    if len(entries) > max_entries or total > max_total:
        raise DocumentError(f"unpacks to {total / 2**20:,.0f} MiB in {len(entries):,} entries, over the limit")
    for one, following in pairwise(entries):
        if one.header_offset + one.compress_size > following.header_offset:
            raise DocumentError(f"holds entries that overlap: {one.filename} and {following.filename}")
    for one in entries:
        if one.flag_bits & 1:
            raise DocumentError(f"is encrypted: {one.filename}")
        if one.file_size > 1 << 20 and one.file_size > MAX_RATIO * max(1, one.compress_size):
            raise DocumentError(f"holds an entry that unpacks over {MAX_RATIO}-fold: {one.filename}")
    return archive


def entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of an entry; ``DocumentError`` where there is none, or it is damaged or a link."""
    try:
        about = archive.getinfo(name)
        if is_link(about):
            raise DocumentError(f"holds a link in place of {name}")
        return archive.read(about)
    except KeyError:
        raise DocumentError(f"lacks the entry {name}") from None
    except DocumentError:
        raise
    except Exception as error:  # damage shows as BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError
        raise DocumentError(f"is damaged at {name}: {error}") from error


def is_link(about: zipfile.ZipInfo) -> bool:
    """Whether an entry is a symbolic link."""
    return stat.S_ISLNK(about.external_attr >> 16)


def outside(names: list[str]) -> list[str]:
    """The names that lead out of a folder which the archive would be unpacked to."""
    return [n for n in names if n.startswith(("/", "\\")) or ".." in n.replace("\\", "/").split("/") or n[1:2] == ":"]
