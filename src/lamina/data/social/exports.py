"""What lies in an inbox: archives of networks and chats, folders of them unpacked, dumps in pairs, single files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lamina.contracts.corpus import SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.records import Bad
from lamina.data.readers.streams import decode, kind, read_bytes
from lamina.data.social import discord, slack
from lamina.data.social.files import KINDS, FileReader
from lamina.data.social.threads import Thread
from lamina.kit.errors import DocumentError, LaminaError
from lamina.kit.unpack import Limits, unpack

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_LIMITS = Limits(entries=1_000_000, size=8 << 30)
_WANTED = tuple(f"*{suffix}{packed}" for suffix in KINDS for packed in ("", ".gz", ".zst"))
_TWEETS = re.compile(r"((?:.*/)?)data/(?:tweets?|community-tweet)(?:-part\d+)?\.js")
_OUTBOX = re.compile(r"((?:.*/)?)outbox\.json")
_RESULT = re.compile(r"((?:.*/)?)result\.json")
_OWN = re.compile(r"((?:.*/)?)(?:posts|comments)\.csv")
_DUMP = re.compile(
    r"(?P<folder>(?:.*/)?)(?:R[SC]_(?P<month>\d{4}-\d\d)|(?P<name>[^/]+)_(?:submissions|comments))"
    r"(?:\.(?:jsonl|ndjson|json))?(?:\.(?:zst|gz))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Files that are read together; ``name`` begins the names of their documents, ``label`` is what reports say."""

    name: str
    files: Sequence[SourceFile]
    threads: Callable[[Bad], Iterator[Thread]]
    label: str = ""


@dataclass(slots=True)
class Contents:
    """What some files, of an inbox or an archive, turned out to be; ``left`` are a known archive's other files."""

    exports: list[Export] = field(default_factory=list)
    left: list[SourceFile] = field(default_factory=list)


def is_archive(file: SourceFile) -> bool:
    """Whether a file is an archive, by its name or by how it begins."""
    if file.name.lower().endswith(_ARCHIVES):
        return True
    try:
        with file.path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def opened(archive: SourceFile, reader: FileReader, stack: ExitStack) -> Contents:
    """The exports in an archive, whose files lie in a folder until ``stack`` is closed.

    Raises ``DocumentError`` or ``TooLargeError`` for one that is damaged, hostile or too big; nothing is read of it.
    """
    if reader.work is not None:
        reader.work.mkdir(parents=True, exist_ok=True)
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archive-", dir=reader.work)))
    names = unpack(archive.path, place, match=_WANTED, limits=_LIMITS)
    if not names:
        raise DocumentError("holds no files that may be an export", hint=", ".join(k[1:] for k in KINDS))
    files = [SourceFile(name=name, path=place / name) for name in names]
    found = contents(files, reader, archived=True)
    exports = []
    for export in found.exports:
        alone = len(found.exports) == 1 and len(export.files) != 1
        name = archive.name if alone or not export.name else f"{archive.name}/{export.name}"
        label = f"{archive.name}/{export.label}" if export.label else ""
        exports.append(Export(name=name, files=export.files, threads=export.threads, label=label))
    return Contents(exports, found.left)


def contents(files: Sequence[SourceFile], reader: FileReader, *, archived: bool = False) -> Contents:
    """The exports among ``files``: those of several files, then each file for itself.

    What else an archive holds beside an export is left alone: likes, contacts, advertisers, letters.
    """
    found = Contents()
    rest = {file.name: file for file in files}
    claims = (_slack, _discord, _x, _mastodon, _telegram, _own_reddit) if reader.records is None else ()
    known = False
    for claim in claims:
        while claimed := claim(rest, reader):
            export, root = claimed
            found.exports.append(export)
            own = {file.name for file in export.files}
            found.left += [f for n, f in rest.items() if n.startswith(root) and n not in own] if archived else []
            rest = {n: f for n, f in rest.items() if n not in own and not (archived and n.startswith(root))}
            known = True
    if archived and known:
        found.left += rest.values()
        return found
    for name, some in _dumps(rest).items():
        label = some[0].name if len(some) == 1 else ""
        found.exports.append(Export(name=name, files=some, threads=partial(reader.threads, some), label=label))
        rest = {n: f for n, f in rest.items() if f not in some}
    for file in rest.values():
        found.exports.append(Export(name=file.name, files=[file], threads=partial(reader.threads, [file])))
    order = {file.name: place for place, file in enumerate(files)}
    found.exports.sort(key=lambda export: order[export.files[0].name])
    return found


Files = dict[str, SourceFile]


def _slack(files: Files, reader: FileReader) -> tuple[Export, str] | None:
    root = slack.claim(list(files))
    if root is None:
        return None
    own = {name: file for name, file in files.items() if name.startswith(root)}
    return Export(name=root.rstrip("/"), files=list(own.values()), threads=partial(slack.threads, own, root)), root


def _discord(files: Files, reader: FileReader) -> tuple[Export, str] | None:
    root = discord.claim(list(files))
    if root is None:
        return None
    own = {name: file for name, file in files.items() if name.startswith(root)}
    outer = root.rstrip("/").rpartition("/")[0]
    threads = partial(discord.threads, own, root)
    return Export(name=outer, files=list(own.values()), threads=threads), f"{outer}/" if outer else ""


def _x(files: Files, reader: FileReader) -> tuple[Export, str] | None:
    return _matched(files, _TWEETS, lambda own, root: partial(reader.threads, own, author=_account(files, root)))


def _mastodon(files: Files, reader: FileReader) -> tuple[Export, str] | None:
    return _matched(files, _OUTBOX, lambda own, root: partial(reader.threads, own))


def _telegram(files: Files, reader: FileReader) -> tuple[Export, str] | None:
    return _matched(files, _RESULT, lambda own, root: partial(reader.threads, own))


def _own_reddit(files: Files, reader: FileReader) -> tuple[Export, str] | None:
    return _matched(files, _OWN, lambda own, root: partial(reader.threads, own, author="self"))


def _matched(
    files: Files,
    pattern: re.Pattern[str],
    threads: Callable[[list[SourceFile], str], Callable[[Bad], Iterator[Thread]]],
) -> tuple[Export, str] | None:
    """The files that match beside the first that does."""
    first = next((match for match in map(pattern.fullmatch, files) if match), None)
    if first is None:
        return None
    root = first[1]
    own = [file for name, file in files.items() if (m := pattern.fullmatch(name)) and m[1] == root]
    name = own[0].name if len(own) == 1 else root.rstrip("/")
    return Export(name=name, files=own, threads=threads(own, root)), root


def _account(files: Files, root: str) -> str:
    """Whose archive it is, from X's account.js."""
    file = files.get(f"{root}data/account.js")
    try:
        if file is not None:
            text = reading.data_of_script(decode(read_bytes(file.path, file.name))[0])
            id = reading.dig(reading.json_value(text), "0.account.accountId")
            return id if isinstance(id, str) else "self"
    except LaminaError:
        pass
    return "self"


def _dumps(files: Files) -> dict[str, list[SourceFile]]:
    """Submissions and comments of Reddit that belong together, by what they are called."""
    found: dict[str, list[SourceFile]] = {}
    for name, file in files.items():
        match = _DUMP.fullmatch(name)
        if match and (kind(name) in ("", ".jsonl", ".ndjson") or name.endswith((".zst", ".gz"))):
            found.setdefault(f"{match['folder']}{match['month'] or match['name']}", []).append(file)
    return found
