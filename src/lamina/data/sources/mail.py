"""Mail: messages saved as .eml, mailboxes (mbox) and Maildir folders. A document is a message; threads are groups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers.streams import kind, open_bytes, read_bytes, recognised
from lamina.data.rows import Notes, batches, followed, in_turn, unforeseen
from lamina.data.sources.unpacked import files_of
from lamina.kit.errors import DocumentError, LaminaError
from lamina.kit.identity import blake3_hex
from lamina.kit.jail import Jail
from lamina.kit.registry import SOURCES
from lamina.kit.workers import cores

MAX_MESSAGE = 32 << 20  # bytes, attachments included
_READER = "lamina.data.readers.mail:read"
_BOXES = (".mbox", ".mbx")
_WORKERS = min(4, cores())
_TOGETHER = 64  # messages that a parser gets at a time
_BYTES = 4 << 20
_FROM = re.compile(rb"From (?:\S|[ ]).{0,300}\d")
_HEADERS = re.compile(
    rb"^(?:From|To|Date|Subject|Message-ID|Received|Return-Path|Delivered-To):[ \t]", re.IGNORECASE | re.MULTILINE
)
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
_INDEX = re.compile(r"(?:dovecot|maildirfolder|subscriptions|courier|\.).*|.*\.(?:msf|dat|lock|index|cache)$")


class _Mail(NamedTuple):
    """A message as its bytes; ``data`` is None where it cannot be had, for ``error``."""

    file: str
    number: int | None  # within a mailbox, from 1
    place: int  # byte
    data: bytes | None
    error: str = ""


@SOURCES("mail", version=2)
def mail(
    inbox: Inbox,
    *,
    trim: bool = True,
    pseudonyms: bool = True,
    salt: str = "lamina",
    limit: int | None = None,
    memory_mb: int = 1024,
    seconds: float = 60.0,
) -> Iterator[pa.RecordBatch]:
    """Messages as .eml, in mailboxes (.mbox, .mbx, or a file that begins as one), Maildir folders, archives of these.

    Plain text goes before HTML; attachments are named in the meta, not read. ``trim``: without quoted replies,
    signatures and footers of lists; ``pseudonyms``: authors, and their addresses and full names in the text of a
    message, are replaced, by ``salt`` (keep it to yourself: who knows it can test names); ``group_id`` is the thread,
    ``position`` the place in it by order of arrival; ``limit``: the first so many messages; the parser of a bundle of
    messages gets ``memory_mb`` MiB and ``seconds``.
    """
    inbox = followed(inbox)
    with ExitStack() as stack:
        jail = stack.enter_context(Jail(workers=_WORKERS, memory_mb=memory_mb, seconds=seconds))
        mails = _mails(files_of(inbox, stack))
        yield from batches(inbox, _rows(inbox, mails, jail, trim, _Names(salt, pseudonyms)), limit)


def _rows(inbox: Inbox, mails: Iterator[_Mail], jail: Jail, trim: bool, names: _Names) -> Iterator[dict[str, Any]]:
    bundles = _bundles(mails)
    notes: dict[str, Notes] = {}
    threads = _Threads()
    read: set[str] = set()
    try:
        for answer in in_turn(partial(_parsed, jail=jail, trim=trim), bundles, workers=_WORKERS):
            if not isinstance(answer, list):  # reading the files failed in a way that nobody thought of
                raise answer
            for one, found in answer:
                if one.file not in read and (one.number is not None or "error" not in found):
                    read.add(one.file)
                    inbox.report.read(one.file)
                if "error" not in found:
                    yield _row(one, found, names, threads)
                elif one.number is None:
                    inbox.report.unread(one.file, found["error"])
                else:
                    note = notes.setdefault(one.file, Notes(inbox, one.file))
                    note(f"message {one.number} (byte {one.place:,})", found["error"])
    finally:
        for note in notes.values():
            note.close()


def _parsed(bundle: list[_Mail], *, jail: Jail, trim: bool) -> list[tuple[_Mail, dict[str, Any]]]:
    """Each message with what the parser says of it; one that kills the parser costs itself alone."""
    given = [one.data for one in bundle if one.data is not None]
    try:
        found = iter(jail.call(_READER, {"sizes": [len(d) for d in given], "trim": trim}, b"".join(given)))
    except DocumentError as error:
        if len(bundle) == 1:
            return [(bundle[0], {"error": str(error)})]
        return [pair for one in bundle for pair in _parsed([one], jail=jail, trim=trim)]
    return [(one, next(found) if one.data is not None else {"error": one.error}) for one in bundle]


def _bundles(mails: Iterator[_Mail]) -> Iterator[list[_Mail]]:
    waiting: list[_Mail] = []
    size = 0
    for one in mails:
        waiting.append(one)
        size += len(one.data or b"")
        if len(waiting) >= _TOGETHER or size >= _BYTES:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def _mails(files: Iterable[SourceFile]) -> Iterator[_Mail]:
    """The messages of all files, in their order; what is none comes with the reason."""
    for file in files:
        try:
            yield from _of(file)
        except (DocumentError, OSError) as error:
            yield _Mail(file.name, None, 0, None, str(error))
        except LaminaError:  # not this file's fault
            raise
        except Exception as error:
            yield _Mail(file.name, None, 0, None, str(unforeseen(error)))


def _of(file: SourceFile) -> Iterator[_Mail]:
    suffix = kind(file.name)
    folder, _, name = file.name.rpartition("/")
    flags = name.rpartition(":2,")[2] if ":2," in name else ""
    if folder.rpartition("/")[2] == "tmp" or _INDEX.fullmatch(name):
        raise DocumentError("is no message: mail programs keep it for themselves")
    if "T" in flags:
        raise DocumentError("is a message in the trash")
    if suffix in (".msg", ".pst", ".ost"):
        raise DocumentError("is a file of Outlook, which is not read", hint="export it as .eml or mbox")
    single = suffix == ".eml" or folder.rpartition("/")[2] in ("cur", "new")
    if not single and suffix not in _BOXES:
        with open_bytes(file.path, file.name) as stream:
            head = stream.read(4096)
        bare = len(_HEADERS.findall(head.partition(b"\n\n")[0])) > 1  # a message without an envelope
        if recognised(head) or (suffix and not bare and not _FROM.match(head) and suffix != ".emlx"):
            raise DocumentError(f"files of the kind '{suffix}' are no mail", hint="eml, mbox, or a Maildir folder")
        single = not _FROM.match(head)
    if single:
        data = read_bytes(file.path, file.name, MAX_MESSAGE)
        yield _Mail(file.name, None, 0, _of_apple(data) if suffix == ".emlx" else data)
        return
    with open_bytes(file.path, file.name) as stream:
        yield from _box(file.name, stream)


def _of_apple(data: bytes) -> bytes:
    """Apple's .emlx: the message's length on the first line, and a property list behind it."""
    head, _, rest = data.partition(b"\n")
    return rest[: int(head)] if head.strip().isdigit() and len(head) < 20 else data


def _box(name: str, stream: BinaryIO) -> Iterator[_Mail]:
    """The messages of an mbox file, a line at a time; one over ``MAX_MESSAGE`` comes without its bytes."""
    number = place = start = size = 0
    pieces: list[bytes] = []
    begins, blank = True, True
    while True:
        try:
            line = stream.readline(1 << 20)
        except DocumentError as error:
            yield _message(name, number, start, pieces, size)
            raise DocumentError(f"{error.what}; {number:,} messages before that were kept") from error
        opens = begins and blank and _FROM.match(line) is not None
        if opens or not line:
            if number:
                yield _message(name, number, start, pieces, size)
            elif place and not line:
                raise DocumentError("is no mailbox (mbox): no message in it begins with 'From '")
            if not line:
                break
            number, start, pieces, size = number + 1, place, [], 0
        elif number:
            size += len(line)
            if size <= MAX_MESSAGE:
                pieces.append(line)
            else:
                pieces = []
        elif line.strip():
            raise DocumentError("is no mailbox (mbox): it does not begin with 'From '")
        blank = begins and not line.strip()
        begins = line.endswith(b"\n")
        place += len(line)
    if not number:
        raise DocumentError("is empty")


def _message(name: str, number: int, start: int, pieces: list[bytes], size: int) -> _Mail:
    if size > MAX_MESSAGE:
        reason = f"is {size >> 20:,} MiB; the limit of a message is {MAX_MESSAGE >> 20} MiB"
        return _Mail(name, number, start, None, reason)
    return _Mail(name, number, start, _ESCAPED.sub(rb"\1", b"".join(pieces)))


class _Threads:
    """To which thread a message belongs, and its place there by order of arrival."""

    def __init__(self) -> None:
        self._roots: dict[bytes, bytes] = {}  # short hashes: there may be millions
        self._counts: Counter[bytes] = Counter()

    def place(self, found: dict[str, Any]) -> tuple[str, int] | None:
        """(thread, position); None for a message without a name of its own that replies to nothing."""
        own, before = found["id"], found["references"]
        if not own and not before:
            return None
        first = _short(before[0] if before else own)
        root = self._roots.get(first, first)
        for name in (*before, *([own] if own else [])):
            self._roots.setdefault(_short(name), root)
        self._counts[root] += 1
        return f"thread-{root.hex()}", self._counts[root] - 1


def _short(name: str) -> bytes:
    return bytes.fromhex(blake3_hex(name)[:16])


class _Names:
    """People's names and addresses, and what stands in their place."""

    def __init__(self, salt: str, pseudonyms: bool) -> None:
        self._salt, self._pseudonyms = salt, pseudonyms

    def author(self, person: list[str] | None) -> str | None:
        """How the author is called."""
        if person is None:
            return None
        return self._pseudonym(person) if self._pseudonyms else person[0] or person[1]

    def hidden(self, text: str, people: list[list[str]]) -> str:
        """``text`` with the addresses and the full names of ``people`` replaced."""
        if not self._pseudonyms:
            return text
        known: dict[str, str] = {}
        for person in people:
            for word in person:
                if "@" in word or " " in word.strip():
                    known.setdefault(word.strip().lower(), self._pseudonym(person))
        if not known:
            return text
        words = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
        found = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        return found.sub(lambda match: known.get(match[0].lower(), match[0]), text)

    def _pseudonym(self, person: list[str]) -> str:
        return f"person-{blake3_hex(self._salt, person[1] or person[0].lower())[:10]}"


def _row(one: _Mail, found: dict[str, Any], names: _Names, threads: _Threads) -> dict[str, Any]:
    group = threads.place(found)
    name = f"m-{blake3_hex(found['id'])[:16]}" if found["id"] else str(one.number)
    meta = {
        "list": found["list"],
        "attachments": found["attachments"] or None,
        "replaced_characters": found["replaced"] or None,
    }
    return {
        "key": one.file if one.number is None else f"{one.file}#{name}",
        "text": names.hidden(found["text"], found["people"]),
        "title": names.hidden(found["subject"] or "", found["people"]) or None,
        "author": names.author(found["from"]),
        "created": found["date"],
        "language": found["language"],
        "group_id": group[0] if group else None,
        "position": group[1] if group else None,
        "meta": {key: value for key, value in meta.items() if value is not None},
    }
