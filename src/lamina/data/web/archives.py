"""Pages that lie on this machine: saved one by one, or archived in WARC and WET files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import tee
from typing import Any

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers.streams import kind, read_bytes
from lamina.data.readers.warc import Damage, Record, payload, records
from lamina.data.rows import Notes, in_turn
from lamina.data.web.addresses import host_of
from lamina.data.web.visits import READER, described, row_of
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail

SAVED = (".html", ".htm", ".xhtml")
ARCHIVES = (".warc", ".wet")
_RIGHTS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage")
_SILENT = ("request", "metadata", "warcinfo", "revisit", "continuation")  # records that are no pages


def read_files(
    inbox: Inbox, files: Iterable[SourceFile], jail: Jail, *, extract: str, max_bytes: int, workers: int
) -> Iterator[dict[str, Any]]:
    """The documents of the files: saved pages in the order of their names, and of archives in the order of records."""
    archives: list[SourceFile] = []
    pages, again = tee(_apart(files, archives))
    results = in_turn(partial(_read, jail=jail, extract=extract, max_bytes=max_bytes), pages, workers=workers)
    for file, page in zip(again, results, strict=True):
        if not isinstance(page, dict):
            inbox.report.unread(file.name, str(page))
            continue
        inbox.report.read(file.name)
        folder = file.name.rpartition("/")[0]
        group = host_of(page.get("url") or "") or folder or inbox.origin or None
        yield row_of(page, file.name, (), {}) | {"key": file.name, "url": page.get("url"), "group_id": group}
    for file in archives:
        yield from _archived(inbox, file, jail, extract, max_bytes, workers)


def _apart(files: Iterable[SourceFile], archives: list[SourceFile]) -> Iterator[SourceFile]:
    """The saved pages; web archives are put aside."""
    for file in files:
        if kind(file.name) in ARCHIVES:
            archives.append(file)
        else:
            yield file


def _read(file: SourceFile, *, jail: Jail, extract: str, max_bytes: int) -> dict[str, Any]:
    if kind(file.name) not in SAVED:
        known = ", ".join(suffix[1:] for suffix in (*SAVED, *ARCHIVES))
        raise DocumentError(f"files of the kind '{kind(file.name)}' are not saved pages", hint=known)
    return dict(jail.call(READER, {"extract": extract}, read_bytes(file.path, file.name, max_bytes)))


def _archived(
    inbox: Inbox, file: SourceFile, jail: Jail, extract: str, max_bytes: int, workers: int
) -> Iterator[dict[str, Any]]:
    notes = Notes(inbox, file.name)
    try:
        found = records(file.path, packed=file.name.lower().endswith(".gz"), max_bytes=max_bytes)
        pages, again = tee(_pages(found, notes))
        results = in_turn(partial(_page, jail=jail, extract=extract, max_bytes=max_bytes), pages, workers=workers)
        for record, row in zip(again, results, strict=True):
            if not isinstance(row, dict):
                notes(f"record at byte {record.offset:,}", str(row))
                continue
            place = {"file": file.name, "offset": record.offset, "length": record.length}
            place |= {name: value for name in ("warc-date", "warc-record-id") if (value := record.headers.get(name))}
            key = row["key"] or f"{file.name}#{record.offset}"
            yield row | {"key": key, "meta": (row["meta"] or {}) | {"warc": place}}
        inbox.report.read(file.name)
    except OSError as error:
        inbox.report.unread(file.name, f"cannot be read: {error.strerror or error}")
    finally:
        notes.close()


def _pages(found: Iterator[Record | Damage], notes: Notes) -> Iterator[Record]:
    """Records that may be pages; of the others what there is to say."""
    for record in found:
        if isinstance(record, Damage):
            notes(f"record at byte {record.offset:,}", record.reason)
        elif record.kind in ("response", "resource", "conversion"):
            yield record
        elif record.kind not in _SILENT:
            notes(f"record at byte {record.offset:,}", f"is of the unknown kind '{record.kind[:40]}'")


def _page(record: Record, *, jail: Jail, extract: str, max_bytes: int) -> dict[str, Any]:
    url = record.url or ""
    truncated = {"truncated": record.headers["warc-truncated"]} if "warc-truncated" in record.headers else {}
    headers: dict[str, str] = {"content-type": record.headers.get("content-type", "")}
    body = record.body
    if record.kind == "response":
        status, headers, body = payload(record, max_bytes)
        if status != 200:
            raise DocumentError(f"answered {status}")
    if record.kind == "conversion":
        headers["content-type"] = "text/plain; charset=utf-8"
    if not headers.get("content-type"):
        headers["content-type"] = record.headers.get("warc-identified-payload-type", "text/html")
    about = described(url, headers)
    page = dict(jail.call(READER, about | {"extract": extract}, body))
    tongues = record.headers.get("warc-identified-content-language", "")
    hints = {"language": tongues.partition(",")[0].strip() or None}
    signals = [f"{name}: {headers[name]}" for name in _RIGHTS if name in headers]
    row = row_of(page, url, signals, hints)
    return row | {"url": url or None, "meta": (row["meta"] or {}) | truncated}
