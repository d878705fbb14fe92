"""Lists of hosts and addresses as the world keeps them, as tables that a batch of URLs is looked up in.

Read are files with an entry a line, plain or gzip: hosts files ("0.0.0.0 ads.example"), plain names, addresses with a
path, and the simplest rules of ad blockers ("||ads.example^"); and folders of such files. In a folder like that of the
University of Toulouse (`adult/domains`, `adult/urls`) a list is called by the folder that it lies in, else by its file.

An entry holds for the host and everything under it, at the borders of labels: "example.com" for "a.example.com" and not
for "badexample.com"; ".zip" and "*.zip" for all of a top-level domain, which a bare word does not. With a path it holds
for the addresses that begin with it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lamina.kit.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

#: Files of a folder that hold no names: the regular expressions and usage notes of the Toulouse lists.
_OTHERS = ("expressions", "very_restrictive_expression", "usage", "global_usage", "README", "LICENSE")
_ADDRESS = r"^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]*:[0-9a-f:.%]*)\s+"  # what a line of a hosts file begins with
_OWN = ("localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback", "0.0.0.0")
_LABEL = r"[^\s./\\:*|^$,<>()\[\]{}\"'=#@!?&;~]+"
_NAME = rf"^(?:\*?\.{_LABEL}|(?:\*?\.)?{_LABEL}(?:\.{_LABEL})+)$"
_HALF = 0.5  # of the entries must be read, or the file is no list
_MOST_BYTES = 1 << 30  # of a list, unpacked
_PIECE = 1 << 24  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class UrlTable:
    """N entries sorted by hash: hosts, or hosts with a path. ``lists`` (N,) says from which list each comes."""

    hashes: NDArray[np.uint64]
    entries: pl.Series
    lists: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, keys: pl.Series) -> NDArray[np.int64]:
        """The list of each key, -1 where there is none. Names are compared, so no hash can mislead."""
        if not len(self) or not len(keys):
            return np.full(len(keys), -1, np.int64)
        hashes = keys.hash(0).to_numpy()
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self) - 1)
        near = np.flatnonzero((self.hashes[at] == hashes) & keys.is_not_null().to_numpy())
        found = np.full(len(keys), -1, np.int64)
        for row in _with_like_hashes(near, at, self.hashes):
            same = keys.gather(row[0]).eq_missing(self.entries.gather(row[1])).to_numpy()
            found[row[0][same]] = self.lists[row[1][same]]
        return found


def _with_like_hashes(
    near: NDArray[np.int64], at: NDArray[np.int64], hashes: NDArray[np.uint64]
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows and the entries to compare them with: the first of their hash, then (hardly ever) the next ones."""
    rows, places = near, at[near]
    while len(rows):
        yield rows, places
        onward = (places + 1 < len(hashes)) & (hashes[np.minimum(places + 1, len(hashes) - 1)] == hashes[places])
        rows, places = rows[onward], places[onward] + 1


@dataclass(frozen=True, slots=True)
class UrlLists:
    """Some lists together: ``names`` of the lists, entries that are hosts, and entries with a path."""

    names: tuple[str, ...]
    hosts: UrlTable
    paths: UrlTable


def read_lists(places: Sequence[str], domains: Sequence[str] = (), own: str = "domains") -> UrlLists:
    """The lists in files and folders, and ``domains`` as a list called ``own``.

    Raises ``ConfigError`` for what cannot be read, or is no list.
    """
    files = [file for place in places for file in _files(Path(place))]
    facts = tuple((name, str(file), (s := file.stat()).st_mtime_ns, s.st_size) for name, file in files)
    return _read(facts, tuple(domains), own)


@lru_cache(maxsize=8)
def _read(files: tuple[tuple[str, str, int, int], ...], domains: tuple[str, ...], own: str) -> UrlLists:
    import polars as pl

    parts: dict[bool, list[pl.DataFrame]] = {True: [], False: []}
    names: list[str] = []
    given = [(own, own, [pl.Series(domains, dtype=pl.String)])] if domains else []
    for name, where, pieces in [*given, *((name, file, _lines(Path(file))) for name, file, *_ in files)]:
        if name not in names:
            names.append(name)
        number = pl.lit(names.index(name), dtype=pl.Int16)
        for found in _checked(pieces, where):
            for with_path in parts:
                some = found.filter(found.str.contains("/", literal=True) == with_path)
                parts[with_path].append(some.to_frame("entry").with_columns(list=number))
    return UrlLists(tuple(names), _table(parts[False]), _table(parts[True]))


def _checked(pieces: Iterable[pl.Series], where: str) -> Iterator[pl.Series]:
    """The entries of each piece of a list; it is an error where most lines are none."""
    lines, entries = 0, 0
    for piece in pieces:
        count, found = _entries(piece)
        lines, entries = lines + count, entries + len(found)
        yield found
    if lines - entries > _HALF * lines:
        what = f"{lines - entries:,} of {lines:,} entries are no hosts"
        raise ConfigError(what, where=where, hint="one host or address a line")
    if not entries:
        raise ConfigError("there is no host in this list", where=where, hint="one host or address a line")


def read_words(place: str) -> list[str]:
    """The words of a file, one a line, in small letters; comments begin with #. Raises ``ConfigError`` for none."""
    if not Path(place).is_file():
        raise ConfigError("there is no such file", where=place)
    import polars as pl

    words = pl.concat(list(_lines(Path(place)))).str.strip_chars().str.to_lowercase()
    found = words.filter((words != "") & ~words.str.starts_with("#")).unique(maintain_order=True).to_list()
    if not found:
        raise ConfigError("there is no word in this file", where=place)
    return [str(word) for word in found]


def _table(parts: Sequence[pl.DataFrame]) -> UrlTable:
    import polars as pl

    schema: Any = {"entry": pl.String, "list": pl.Int16}
    every = pl.concat([pl.DataFrame(schema=schema), *parts]).unique("entry", keep="first", maintain_order=True)
    rows = every.with_columns(hash=every["entry"].hash(0)).sort("hash", "entry")
    return UrlTable(rows["hash"].to_numpy(), rows["entry"], rows["list"].to_numpy())


def _files(place: Path) -> list[tuple[str, Path]]:
    """(name of the list, file) for a file, or every file of a folder."""
    if place.is_file():
        return [(_stem(place), place)]
    if not place.is_dir():
        raise ConfigError("there is no such file or folder", where=str(place))
    found = [
        (file.parent.name if _stem(file) in ("domains", "urls") and file.parent != place else _stem(file), file)
        for file in sorted(place.rglob("*"))
        if file.is_file() and not file.name.startswith(".") and file.name not in _OTHERS
    ]
    if not found:
        raise ConfigError("there is no list in this folder", where=str(place))
    return found


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").rsplit(".", 1)[0] or file.name


def _lines(file: Path) -> Iterator[pl.Series]:
    """The lines of a file, plain or gzip, a piece after another."""
    import polars as pl

    with file.open("rb") as opened:
        zipped = opened.read(2) == b"\x1f\x8b"
    total, rest = 0, b"\n"
    try:
        with gzip.open(file, "rb") if zipped else file.open("rb") as source:
            while data := source.read(_PIECE):
                total += len(data)
                if total > _MOST_BYTES:
                    raise ConfigError(f"has more than {_MOST_BYTES >> 30} GB", where=str(file))
                whole, _, rest = (rest + data).rpartition(b"\n")
                yield pl.Series([whole.decode("utf-8-sig", "replace")]).str.split("\n").explode()
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(file)) from error
    yield pl.Series([rest.decode("utf-8-sig", "replace")])


def _entries(lines: pl.Series) -> tuple[int, pl.Series]:
    """How many entries there are, and those that are hosts or hosts with a path, in small letters and ASCII. Comments
    and a machine's own names are left out."""
    import polars as pl

    text = lines.str.strip_chars(" \t\r\n\ufeff").str.replace(r"\s[#!].*$", "").str.to_lowercase().str.strip_chars()
    text = text.filter((text != "") & ~text.str.contains(r"^[#!;\[]"))
    machine = text.str.contains(_ADDRESS)  # a line of a hosts file may have many names
    named = text.filter(machine).str.replace(_ADDRESS, "").str.split(" ").explode().str.strip_chars()
    names = pl.concat([text.filter(~machine), named.filter(named != "")])
    names = names.filter(~names.is_in(_OWN))
    entries = (
        names.str.replace(r"^\|\|([^/^|*]+)\^(?:\$.*)?$", "$1")
        .str.replace(r"^(?:[a-z][a-z0-9+.-]*:)?//(?:[^/@]*@)?", "")
        .str.replace(r"^([^/:]+):\d+", "$1")
        .str.strip_chars_end("/.")
    )
    good = _ascii(entries.filter(entries.str.extract(r"^([^/]*)").str.contains(_NAME)))
    plain = good.str.replace(r"^\*?\.", "")
    # ".zip" stays a top-level domain
    return len(names), plain.zip_with(~good.str.contains(r"^\*?\.[^.]+$"), "." + plain)


def _ascii(names: pl.Series) -> pl.Series:
    """International names as they are in URLs (IDNA); few lines have any."""
    odd = names.filter(names.str.len_bytes() != names.str.len_chars()).unique()
    return names.replace({name: to_ascii(name) for name in odd}) if len(odd) else names


@lru_cache(maxsize=4096)
def to_ascii(name: str) -> str:
    """A host, or host and path, with its host in ASCII (IDNA); as it was where it cannot be.

    >>> to_ascii("bücher.example/buch")
    'xn--bcher-kva.example/buch'
    """
    host, slash, path = name.partition("/")
    try:
        return host.encode("idna").decode() + slash + path
    except UnicodeError:
        return name
