"""Archives from outside: opened under limits, an entry at a time, nothing unpacked to a path that they name.

Two uses: a zip file that is a document (EPUB, Office), held in memory; and an archive that stands for a folder of files
(zip, or tar however packed), each of which is put on disk under a name of ours.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from lamina.contracts.corpus import SourceFile
from lamina.data.readers.streams import recognised
from lamina.kit.errors import DocumentError, TooLargeError
from lamina.kit.unpack import BROKEN, Entry, entries, write_entry

MAX_ENTRIES = 10_000
MAX_TOTAL = 256 << 20  # bytes of all entries, unpacked
MAX_RATIO = 200
#: What ends the name of an archive that stands for a folder.
FOLDERS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_FILES, _SIZE = 200_000, 64 << 30
_FREE = 256 << 20  # an archive may always unpack to this, whatever its ratio
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_OTHERS = ("__MACOSX/", "._")  # what macOS adds to archives


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


def is_folder(name: str) -> bool:
    """Whether a file of this name is an archive that stands for a folder of files."""
    return name.lower().endswith(FOLDERS)


def members(file: SourceFile, folder: Path, bad: Callable[[str, str], None]) -> Iterator[SourceFile]:
    """The files in an archive, each put into ``folder`` under a number, its name behind that of the archive.

    What is no file of the archive's own (links, devices, paths that lead out of it), damaged or there before goes to
    ``bad``. Raises ``DocumentError`` where the archive cannot be read on: the files before that are good.
    """
    budget = min(_SIZE, max(_FREE, MAX_RATIO * file.path.stat().st_size))
    names: set[str] = set()
    with ExitStack() as stack:
        found = _counted(entries(file.path, stack, left=lambda name: bad(_shown(name), "is a link or a device")))
        for entry in found:
            name = _shown(entry.name.removeprefix("./"))
            if outside([name]):
                bad(name, "leads outside of the archive")
            elif name in names:
                bad(name, "stands in the archive before")
            elif not name.startswith(_OTHERS) and not name.endswith(".DS_Store"):
                place = folder / str(len(names))
                names.add(name)
                try:
                    budget -= write_entry(entry, place, budget, file.name)
                except TooLargeError:
                    raise DocumentError(f"unpacks to more than the limit, at {name}") from None
                except BROKEN as error:
                    bad(name, f"is damaged: {' '.join(str(error).split())[:200]}")
                else:
                    yield SourceFile(name=f"{file.name}/{name}", path=place)


def _counted(found: Iterator[Entry]) -> Iterator[Entry]:
    """The entries, with what the libraries raise as an error of ours."""
    count = 0
    while True:
        try:
            entry = next(found, None)
        except DocumentError as error:
            raise DocumentError(error.what) from error
        except BROKEN as error:
            raise DocumentError(f"is damaged, or no archive: {' '.join(str(error).split())[:200]}") from error
        if entry is None:
            return
        count += 1
        if count > _FILES:
            raise DocumentError(f"holds more than {_FILES:,} files")
        yield entry


def _shown(name: str) -> str:
    """A name that can be written down: control characters and bytes that are no UTF-8 are replaced."""
    return _UNWRITABLE.sub("\ufffd", name).replace("\\", "/")
