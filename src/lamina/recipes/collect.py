"""``[[data.sources]]`` and ``[model] base``: locations made into files on this machine, with what identifies them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3

from lamina.kit import config
from lamina.kit.disk import storage
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.lock import Lock
from lamina.kit.packages import Located, fetch_location
from lamina.kit.progress import Progress
from lamina.kit.registry import SOURCES
from lamina.kit.unpack import matches
from lamina.recipes.stack import Stack

EVERYTHING = "**/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """One source, ready to be read: ``identity`` decides staleness, ``files`` say where the bytes lie."""

    name: str
    use: str
    parameters: dict[str, Any]
    origin: str
    license: str | None
    language: str | None
    files: tuple[tuple[str, Path], ...]
    identity: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """The keys that every source has beside its component's own."""

    use: str
    name: str | None = None
    match: str | tuple[str, ...] = EVERYTHING
    license: str | None = None
    language: str | None = None


def locate(
    stack: Stack,
    locations: str | Sequence[str],
    progress: Progress,
    *,
    match: Sequence[str] = (),
    hashed: bool = True,
) -> Located:
    """The first of ``locations`` (mirrors) that can be had; a relative path starts beside the stack file.

    Of a package only the files that ``match`` one of these globs are unpacked; ``hashed``: a path's content is read for
    its sha256.
    """
    given = (locations,) if isinstance(locations, str) else tuple(locations)
    places = [m if _has_scheme(m) else str((stack.folder / m).expanduser()) for m in given]
    wanted: str | list[str] = places[0] if len(places) == 1 else places
    cache, lock = cache_folder(stack), Lock(stack.lock)
    return fetch_location(wanted, cache=cache, lock=lock, progress=progress, match=match, hashed=hashed)


def cache_folder(stack: Stack) -> Path:
    """Where fetched packages lie, by content hash."""
    return stack.state / "cache"


def collect(stack: Stack, progress: Progress) -> list[Collected]:
    """Every source of the stack with its parameters checked and its files found."""
    if stack.data is None:
        raise ConfigError("has no [data] section", where=stack.file.name)
    checked = [_check(table, i, stack) for i, table in enumerate(stack.data.sources)]
    names = [common.name for _, common, _ in checked]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise ConfigError(
            f"two sources are named {', '.join(map(repr, sorted(map(str, twice))))}", where=stack.file.name
        )
    return [_collect(stack, table, common, parameters, progress) for table, common, parameters in checked]


def _check(table: Mapping[str, Any], index: int, stack: Stack) -> tuple[Mapping[str, Any], _Common, dict[str, Any]]:
    where = f"{stack.file.name}: data.sources.{index}"
    own = {k: v for k, v in table.items() if k in _Common.__dataclass_fields__}
    common = config.build(_Common, own, where=where)
    try:
        component = SOURCES.get(common.use)
    except ConfigError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from None
    rest = {k: v for k, v in table.items() if k not in own and k != "from"}
    parameters = config.bind(component.function, rest, where=where)
    name = common.name or _default_name(common.use, table.get("from"), index)
    return table, _named(common, name), parameters


def _named(common: _Common, name: str) -> _Common:
    return _Common(use=common.use, name=name, match=common.match, license=common.license, language=common.language)


def _default_name(use: str, location: object, index: int) -> str:
    if isinstance(location, str):
        stem = location.split(":", 1)[-1].rstrip("/").split("==")[0].rsplit("/", 1)[-1].split("@")[0]
        return f"{use}-{stem}" if stem else f"{use}-{index}"
    return f"{use}-{index}"


def _collect(
    stack: Stack, table: Mapping[str, Any], common: _Common, parameters: dict[str, Any], progress: Progress
) -> Collected:
    component = SOURCES.get(common.use)
    files: tuple[tuple[str, Path], ...] = ()
    origin, license = "", common.license
    if "from" in table:
        patterns = (common.match,) if isinstance(common.match, str) else common.match
        wanted = () if patterns == (EVERYTHING,) else patterns
        located = locate(stack, table["from"], progress, match=wanted, hashed=False)
        origin = located.location if _is_registry(located.location) else str(table["from"])
        license = license or located.license
        files = tuple(matching(located.path, patterns, cache_folder(stack) / "names"))
        if not files:
            raise InputError(
                f"no file of {origin} matches {', '.join(patterns)}", where=f"{stack.file.name}: source '{common.name}'"
            )
    identity = {
        "use": f"{common.use}@{component.version}",
        "name": common.name,
        "origin": origin,
        "license": license,
        "language": common.language,
        "parameters": config.resolved(parameters),
        "files": _fingerprint(files),
    }
    return Collected(
        name=str(common.name),
        use=common.use,
        parameters=parameters,
        origin=origin,
        license=license,
        language=common.language,
        files=files,
        identity=identity,
    )


def _has_scheme(location: str) -> bool:
    return _is_registry(location) or location.startswith("file:")


def _is_registry(location: str) -> bool:
    return location.split(":", 1)[0] in {"pypi", "npm", "deb", "hf"}


def matching(path: Path, patterns: Sequence[str], names: Path) -> Iterator[tuple[str, Path]]:
    """The files at ``path`` that match, by name; hidden ones are left out.

    What cannot be read comes too, for the report: pipes and the like, links to folders, folders that are locked. A file
    whose name is no UTF-8 gets a link in the folder ``names``.
    """
    if not path.is_dir():
        if path.is_file():
            yield _writable(path.name, path, names)
        return
    found: dict[str, Path] = {}

    def locked(error: OSError) -> None:
        folder = Path(os.fsdecode(error.filename))
        found[folder.relative_to(path).as_posix()] = folder

    for here, folders, files in os.walk(path, onerror=locked):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        for name in (*links, *(name for name in files if not name.startswith("."))):
            file = Path(here) / name
            within = file.relative_to(path).as_posix()
            if name in links or matches(within, patterns):
                found[within] = file
    if not any(file.is_file() for file in found.values()):
        return
    for within in sorted(found):
        yield _writable(within, found[within], names)


def _writable(name: str, file: Path, names: Path) -> tuple[str, Path]:
    """The file under a name that can be written down."""
    shown = os.fsencode(name).decode("utf-8", "replace")
    if os.fsencode(file).decode("utf-8", "replace") == str(file):
        return shown, file
    link = names / f"{blake3.blake3(os.fsencode(file)).hexdigest()[:24]}{Path(shown).suffix}"
    with storage("keep a link in", names):
        names.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(file.absolute())
    return shown, link


def _fingerprint(files: Sequence[tuple[str, Path]]) -> str:
    def one(item: tuple[str, Path]) -> bytes:
        name, path = item
        try:
            return name.encode() + (blake3.blake3().update_mmap(str(path)).digest() if path.is_file() else b"no file")
        except OSError:
            return name.encode() + b"unreadable"

    with ThreadPoolExecutor(4) as pool:
        total = blake3.blake3()
        for part in pool.map(one, files):
            total.update(part)
    return total.hexdigest()[:32]


def described(source: Collected) -> Mapping[str, Any]:
    """A source as plain values, for the stage that reads it."""
    return {
        "name": source.name,
        "use": source.use,
        "parameters": config.resolved(source.parameters),
        "origin": source.origin,
        "license": source.license,
        "language": source.language,
        "files": [[name, str(path)] for name, path in source.files],
    }
