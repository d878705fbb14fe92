"""Sources cut into units of reading: parts of large files, bundles of small ones.

Which units there are depends on the files and the parameters alone, never on who reads them: so any number of workers
gives the same documents, and a killed run goes on with the units that are not done. A JSONL file is cut at line ends,
a Parquet file between row groups; what is packed, or has to be seen as a whole, stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lamina.contracts.corpus import FilePart, SourceFile
from lamina.data.executors import Executor
from lamina.data.readers.streams import PACKED, kind
from lamina.data.sources.formats import LINES, TABLES, TEXT
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES

LARGEST = 32 << 20  # bytes of a unit, about
SMALLEST = 256 << 10  # less is not worth a unit of its own
SPREAD = 32  # units that a source is cut into, where they are neither too large nor too small
FILES = 1000  # of a bundle
_PIECE = 1 << 20
_COUNTED = 1 << 30  # bytes in which a worker counts lines at a time
_LIGHT = (*LINES, *TABLES, *TEXT, ".json", ".js", ".parquet", ".arrow", ".feather")
_HEAVY = 8  # the work on a byte of an Office document, a page or a book, against one of text
_UNPACKED = 4  # what a byte of a packed file, or of a Parquet file, becomes, about
#: Parameters by which a source fetches: what it does then hangs together, and is one unit.
_FETCHING = ("urls", "sitemap", "feed")
_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Files, or one part of a file, that are read together; ``size`` in bytes on disk."""

    files: tuple[SourceFile, ...]
    size: int

    def told(self) -> dict[str, Any]:
        """As JSON."""
        files = [[f.name, str(f.path), f.part and [f.part.begin, f.part.end, f.part.first]] for f in self.files]
        return {"files": files, "size": self.size}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Unit:
        """From JSON."""
        files = (
            SourceFile(name=name, path=Path(path), part=part and FilePart(begin=part[0], end=part[1], first=part[2]))
            for name, path, part in told["files"]
        )
        return cls(files=tuple(files), size=told["size"])


def cut(use: str, parameters: Mapping[str, Any], files: Sequence[SourceFile], executor: Executor) -> list[Unit]:
    """The units of a source, in the order of its files. One that must be seen whole, or has a ``limit``, is one unit.

    Kinds of sources: "divisible" ones read parts of files, and any file by itself; "separable" ones any file by itself.
    """
    sizes = [_size(file.path) for file in files]
    whole = Unit(files=tuple(files), size=sum(sizes))
    sort = SOURCES.get(use).kind
    live = any(parameters.get(name) for name in _FETCHING)
    if sort not in ("divisible", "separable") or live or parameters.get("limit") is not None or not files:
        return [whole]
    weights = [size * _weight(file.name) for file, size in zip(files, sizes, strict=True)]
    target = min(max(-(-sum(weights) // SPREAD), SMALLEST), LARGEST)
    parts = _parts(files, sizes, target, executor) if sort == "divisible" else {}
    return list(_units(files, sizes, weights, parts, target))


def _units(
    files: Sequence[SourceFile],
    sizes: Sequence[int],
    weights: Sequence[int],
    parts: Mapping[int, Sequence[Unit]],
    target: int,
) -> Iterator[Unit]:
    bundle: list[SourceFile] = []
    size = weight = 0
    for place, file in enumerate(files):
        full = bundle and (weight + weights[place] > target or len(bundle) >= FILES)
        if full or (bundle and place in parts):
            yield Unit(files=tuple(bundle), size=size)
            bundle, size, weight = [], 0, 0
        if place in parts:
            yield from parts[place]
            continue
        bundle.append(file)
        size += sizes[place]
        weight += weights[place]
    if bundle:
        yield Unit(files=tuple(bundle), size=size)


def _weight(name: str) -> int:
    packed = name.lower().endswith(PACKED)
    return (1 if kind(name) in _LIGHT else _HEAVY) * (_UNPACKED if packed or kind(name) == ".parquet" else 1)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever reads it will say so
        return 0


def _parts(files: Sequence[SourceFile], sizes: Sequence[int], target: int, executor: Executor) -> dict[int, list[Unit]]:
    """The parts of each file that is cut, by its place in ``files``."""
    found: dict[int, list[Unit]] = {}
    ends: dict[int, list[int]] = {}
    with Jail(workers=1) as jail:
        for place, (file, size) in enumerate(zip(files, sizes, strict=True)):
            if file.part is not None or file.name.lower().endswith(PACKED):
                continue
            if kind(file.name) in LINES and size >= 2 * target:
                ends[place] = line_ends(file.path, size, -(-size // target))
            elif kind(file.name) == ".parquet" and size * _UNPACKED >= 2 * target:
                found[place] = _groups(file, size, size * _UNPACKED / target, jail)
    counts = _counted([(str(files[place].path), at) for place, at in ends.items()], executor)
    for place, at in ends.items():
        firsts = counts[str(files[place].path)]
        found[place] = [
            Unit(files=(_part(files[place], begin, end, first),), size=end - begin)
            for (begin, end), first in zip(pairwise(at), firsts, strict=True)
        ]
    return {place: units for place, units in found.items() if len(units) > 1}


def _part(file: SourceFile, begin: int, end: int, first: int) -> SourceFile:
    return SourceFile(name=file.name, path=file.path, part=FilePart(begin=begin, end=end, first=first))


def line_ends(path: Path, size: int, parts: int) -> list[int]:
    """Where to cut a file of lines into about ``parts`` of the same length: 0, line ends, ``size``.

    A line that is longer than a part makes one part, so that there are fewer; UTF-16, which has other line ends, is
    not cut. Reads a little at each place, and nothing twice.
    """
    found = [0]
    try:
        with path.open("rb") as file:
            if file.read(2) in _BOMS:
                return [0, size]
            for number in range(1, parts):
                wanted = size * number // parts
                if wanted <= found[-1]:
                    continue
                file.seek(wanted - 1)
                place = wanted - 1
                while piece := file.read(_PIECE):
                    if (at := piece.find(b"\n")) >= 0:
                        found.append(place + at + 1)
                        break
                    place += len(piece)
                else:
                    break
    except OSError:  # whoever reads it will say so
        return [0, size]
    return [*(end for end in found if end < size), size]


def _counted(wanted: Sequence[tuple[str, Sequence[int]]], executor: Executor) -> dict[str, list[int]]:
    """For each file the lines before each of its parts."""
    payloads: list[dict[str, Any]] = []
    for path, ends in wanted:
        begin = 0
        for place in range(1, len(ends)):
            if ends[place] - ends[begin] >= _COUNTED or place == len(ends) - 1:
                payloads.append({"path": path, "ends": list(ends[begin : place + 1])})
                begin = place
    lines: dict[tuple[str, int], int] = {}
    for path, pairs in executor.map("lamina.data.cuts:count_lines", payloads):
        lines |= {(path, begin): count for begin, count in pairs}
    found: dict[str, list[int]] = {}
    for path, ends in wanted:
        firsts = [0]
        for begin in ends[:-2]:
            firsts.append(firsts[-1] + lines[path, begin])
        found[path] = firsts
    return found


def count_lines(payload: Mapping[str, Any]) -> list[Any]:
    """``[path, [[begin, line ends from there to the next], …]]`` between the places ``ends`` of the file ``path``."""
    pairs: list[list[int]] = []
    with Path(payload["path"]).open("rb") as file:
        for begin, end in pairwise(payload["ends"]):
            file.seek(begin)
            count, left = 0, end - begin
            while left > 0 and (piece := file.read(min(_PIECE, left))):
                count += piece.count(b"\n")
                left -= len(piece)
            pairs.append([begin, count])
    return [payload["path"], pairs]


def _groups(file: SourceFile, size: int, parts: float, jail: Jail) -> list[Unit]:
    """Row groups in about so many ``parts`` of the same size, unpacked; one where the footer cannot be read."""
    try:
        groups = jail.call("lamina.data.readers.columnar:groups", {"path": str(file.path.resolve())})
    except DocumentError:  # whoever reads it will say so
        groups = []
    total = max(1, sum(unpacked for _, unpacked in groups))
    units: list[Unit] = []
    begin = first = rows = waiting = 0
    for number, (count, unpacked) in enumerate(groups):
        if waiting and waiting + unpacked > total / parts:
            units.append(Unit(files=(_part(file, begin, number, first),), size=size * waiting // total))
            begin, first, waiting = number, rows, 0
        waiting += unpacked
        rows += count
    units.append(Unit(files=(_part(file, begin, len(groups), first),), size=size * waiting // total))
    return units
