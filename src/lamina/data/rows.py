"""What all collectors share: rows as record batches, work done in turn, and what is said of a bad file."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, Inbox, Report
from lamina.data.values import language, moment, spdx_license
from lamina.kit.errors import DocumentError, FetchError, InputError, LaminaError, RefusedError
from lamina.kit.identity import document_id, text_hash

BATCH = 512  # rows
BATCH_CHARACTERS = 16 << 20
LISTED = 20  # complaints of one sort about one file; the rest is counted
MAX_META = 256 << 10  # bytes; what a record has beside its text is no second document
_STRINGS = ("url", "title", "author", "license", "rights", "group_id")
Failure = InputError | FetchError | RefusedError
_FAILURES = (InputError, FetchError, RefusedError)
Item = TypeVar("Item")
Result = TypeVar("Result")


def batches(inbox: Inbox, rows: Iterator[Mapping[str, Any]], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The first ``limit`` of ``rows`` (all where it is None) as record batches of ``BATCH`` documents.

    A row has ``key``, its name within the source, and columns of ``DOCUMENTS``; ``meta`` is an object.
    """
    waiting: list[dict[str, Any]] = []
    size = 0
    for row in islice(rows, limit):
        waiting.append(_document(inbox, row))
        size += len(waiting[-1]["text"] or "") + len(waiting[-1]["meta"] or "")
        if len(waiting) >= BATCH or size >= BATCH_CHARACTERS:
            yield pa.RecordBatch.from_pylist(waiting, schema=DOCUMENTS)
            waiting, size = [], 0
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=DOCUMENTS)
    if isinstance(inbox.report, _Followed):
        inbox.report.finish(limit)


def followed(inbox: Inbox, *more: str) -> Inbox:
    """The inbox with a report that knows, when ``batches`` ends, which files (and ``more`` names) were never opened.

    What is no file (a pipe, a device, a link to a folder) is reported and left out: opening it could take forever.
    """
    report = _Followed(inbox.report, [*(file.name for file in inbox.files), *more])
    files = []
    for file in inbox.files:
        if (fault := _no_file(file.path)) is None:
            files.append(file)
        else:
            report.unread(file.name, fault)
    return replace(inbox, report=report, files=tuple(files))


def _no_file(path: Path) -> str | None:
    """Why there is no file to read at ``path``; None where there is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return f"is a link to what cannot be read: {error.strerror}"
        return f"cannot be read: {error.strerror}"
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        if path.is_symlink():
            return "is a link to a folder: name that folder itself"
        return "is a folder" if os.access(path, os.R_OK | os.X_OK) else "is a folder that may not be looked into"
    return "is a pipe, a socket or a device"


class _Followed:
    """A report that remembers of what nothing was said."""

    def __init__(self, report: Report, names: Iterable[str]) -> None:
        self._report = report
        self._left = dict.fromkeys(names)

    def read(self, name: str) -> None:
        self._left.pop(name, None)
        self._report.read(name)

    def unread(self, name: str, reason: str) -> None:
        self._left.pop(name, None)
        self._report.unread(name, reason)

    def finish(self, limit: int | None) -> None:
        for name in list(self._left):
            self.unread(name, f"was not opened: the limit of {limit} documents was reached before it")


def _document(inbox: Inbox, row: Mapping[str, Any]) -> dict[str, Any]:
    text, key = _clean(row.get("text")), str(row["key"])
    meta = dict(row.get("meta") or {})
    document = {name: _string(row.get(name)) for name in _STRINGS}
    document["license"] = spdx_license(document["license"]) if document["license"] else None
    created, tongue = moment(row.get("created")), language(row.get("language"))
    for name, value in (("created", created), ("language", tongue)):
        if value is None and row.get(name):
            meta.setdefault(name, row[name])  # not understood, and not lost
    position = row.get("position")
    return document | {
        "id": document_id(inbox.source, key),
        "text": text,
        "text_hash": None if text is None else text_hash(text),
        "source": inbox.source,
        "url": document["url"] or (f"{inbox.origin}/{key}" if inbox.origin else key),
        "created": created,
        "collected": inbox.collected,
        "language": tongue,
        "position": position if isinstance(position, int) and abs(position) < 1 << 63 else None,
        "meta": _json(meta),
    }


def _string(value: Any) -> str | None:
    """A name out of what a field may hold: text, a number, a list of names, an object with a name."""
    if isinstance(value, str):
        return _clean(value.strip())
    if isinstance(value, Mapping):
        return _string(value.get("name"))
    if isinstance(value, list):
        return ", ".join(part for item in value if (part := _string(item))) or None
    return None if value is None or isinstance(value, bool) else str(value)


def _clean(text: str | None) -> str | None:
    """Without the half surrogates that some libraries give and UTF-8 has no bytes for."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json(meta: Mapping[str, Any]) -> str | None:
    if not meta:
        return None
    option = orjson.OPT_NON_STR_KEYS
    try:
        text = orjson.dumps(meta, default=str, option=option)
    except TypeError:  # numbers past 64 bits, nesting past 254 levels, half surrogates
        text = orjson.dumps({str(k): repr(v)[:1000] for k, v in meta.items()}, option=option)
    if len(text) > MAX_META:
        small = {k: v for k, v in meta.items() if isinstance(v, int | float | bool) or len(str(v)) <= 1000}
        text = orjson.dumps(small | {"left_out_of_meta": sorted(set(meta) - set(small))}, default=str, option=option)
    return text.decode()


def unforeseen(error: Exception) -> DocumentError:
    """What a library raised over a file that nobody thought of: the file is listed, and the rest goes on."""
    text = " ".join(str(error).split())[:300]
    return DocumentError(f"cannot be read ({type(error).__name__}{f': {text}' if text else ''})")


class Notes:
    """What goes wrong inside one file: the first complaints of a sort are reported one by one, the others counted."""

    def __init__(self, inbox: Inbox, name: str) -> None:
        self._inbox, self._name = inbox, name
        self._sorts: Counter[str] = Counter()

    def __call__(self, where: str, reason: str, *, sort: str | None = None, listed: int = LISTED) -> None:
        """``where`` in the file is not read for ``reason``; complaints of one ``sort`` differ in their details."""
        sort = sort or reason.partition(":")[0]
        self._sorts[sort] += 1
        if self._sorts[sort] <= listed:
            self._inbox.report.unread(f"{self._name}, {where}", reason)
        else:
            self._sorts[f"\0{sort}"] += 1

    def close(self) -> None:
        """Report how many were not listed."""
        for sort, times in self._sorts.items():
            if sort.startswith("\0"):
                self._inbox.report.unread(f"{self._name}, {times:,} more", sort[1:])


def in_turn(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Generator[Result | Failure, None, None]:
    """``work(item)`` on ``workers`` threads, results in the order of ``items``; what fails for one item is a result.

    Little is done ahead of the consumer, who may stop at any time.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="collect")
    waiting: deque[Future[Result]] = deque()

    def result() -> Result | Failure:
        try:
            return waiting.popleft().result()
        except _FAILURES as error:
            return error
        except LaminaError:  # not this item's fault
            raise
        except Exception as error:
            return unforeseen(error)

    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > workers:
                yield result()
        while waiting:
            yield result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
