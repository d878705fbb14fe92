"""How each kind of file becomes documents: the rows of one file, by the suffix of its name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lamina.contracts.corpus import SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers import wiki
from lamina.data.readers.archive import members
from lamina.data.readers.beside import carded, described
from lamina.data.readers.columnar import arrow_rows, parquet_rows
from lamina.data.readers.conversation import conversation
from lamina.data.readers.encodings import legible
from lamina.data.readers.prose import prose
from lamina.data.readers.streams import kind, open_bytes, read_bytes
from lamina.data.readers.tables import csv_rows
from lamina.data.rows import Notes, in_turn
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail

TEXT = (".txt", ".text", ".md", ".markdown", ".mdx", ".rst", ".adoc", ".org", ".wiki", ".log", "")
LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv")
COLUMNS = (".parquet", ".arrow", ".feather")
OFFICE = (
    *(".docx", ".docm", ".dotx", ".dotm", ".pptx", ".pptm", ".ppsx", ".potx", ".xlsx", ".xlsm", ".xltx", ".xlsb"),
    *(".odt", ".ott", ".odp", ".ods", ".fodt", ".fodp", ".fods", ".rtf", ".doc", ".xls", ".ppt"),
)
WHOLE = (*OFFICE, ".ipynb", ".tex", ".srt", ".vtt", ".xml")
#: What other sources read.
ELSEWHERE = {
    **dict.fromkeys((".epub", ".pdf"), "books"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "web"),
    **dict.fromkeys((".eml", ".emlx", ".mbox", ".mbx", ".msg", ".pst"), "mail"),
}
_MARKDOWN = (".md", ".markdown", ".mdx")
_PAGES = (".html", ".htm", ".xhtml")
#: Files that data sets are written with, and what in them tells them from documents.
_ABOUT_DATA = {
    **{"dataset_info.json": "features", "dataset_infos.json": "", "dataset_dict.json": "splits"},
    **{"state.json": "_data_files", "facts.json": "sft_train"},
}
_TOGETHER = 64  # pages that a parser gets at a time
_BYTES = 2 << 20
Row = dict[str, Any]
_Page = tuple[int, bytes | None]  # place, XML


@dataclass(frozen=True, slots=True)
class Formats:
    """What reading takes: the jail, and where the records of structured files and their columns lie."""

    jail: Jail
    records: str
    fields: Mapping[str, str]
    encoding: str | None = None  # of files that are not UTF-8

    def rows(self, file: SourceFile, notes: Notes, depth: int = 0) -> Iterator[Row]:
        """The documents of ``file``, with ``key``; ``notes`` takes what of it cannot be read.

        Raises ``DocumentError`` where the file itself cannot be.
        """
        suffix = kind(file.name)
        if suffix in TEXT:
            data = read_bytes(file.path, file.name)
            yield prose(data, file.name, markdown=suffix in _MARKDOWN, encoding=self.encoding)
        elif suffix in LINES:
            first, start = (file.part.first, file.part.begin) if file.part else (0, 0)
            with open_bytes(file.path, file.name, part=file.part) as stream:
                found = reading.json_lines(
                    stream, self.records, notes, first=first, start=start, encoding=self.encoding
                )
                yield from self._records(file, found, notes)
        elif suffix in (".json", ".js"):
            yield from self._records(file, self._json(file, suffix), notes)
        elif suffix in COLUMNS:
            yield from self._columns(file, suffix, notes)
        elif suffix in TABLES:
            yield from self._records(file, csv_rows(file.path, file.name, notes, self.encoding), notes)
        elif suffix == ".xml" and _is_dump(file):
            yield from self._dump(file, notes)
        elif suffix in WHOLE or (depth and suffix in _PAGES):
            yield from self._whole(file, suffix, notes)
        else:
            _refuse(file, suffix)

    def _json(self, file: SourceFile, suffix: str) -> Iterator[reading.Record]:
        text, replaced = legible(read_bytes(file.path, file.name), self.encoding)
        value = reading.json_value(reading.data_of_script(text) if suffix == ".js" else text)
        sign = _ABOUT_DATA.get(file.name.rpartition("/")[2])
        if sign is not None and isinstance(value, Mapping) and (sign in value or not sign):
            raise DocumentError("describes the data set that it lies beside, and is no document")
        for record in reading.records_of(value, self.records):
            yield record._replace(replaced=replaced)

    def _columns(self, file: SourceFile, suffix: str, notes: Notes) -> Iterator[Row]:
        if suffix == ".parquet":
            yield from self._records(file, parquet_rows(file.path, self.jail, notes, file.part), notes)
            return
        about = described(file)
        used = about.get("_data_files")
        if isinstance(used, list) and file.path.name not in {f.get("filename") for f in used if isinstance(f, dict)}:
            raise DocumentError("is a cache beside the data set, and no part of it")
        for row in self._records(file, arrow_rows(file.path, self.jail), notes):
            yield row if row.get("license") else row | {"license": about.get("license") or None}

    def _records(self, file: SourceFile, found: Iterator[reading.Record], notes: Notes) -> Iterator[Row]:
        """The documents of records, with what the card of their data set says of all of them."""
        card = carded(file)
        for row in self._mapped(file, found, notes):
            yield row | {name: value for name, value in card.items() if not row.get(name)} if card else row

    def _mapped(self, file: SourceFile, found: Iterator[reading.Record], notes: Notes) -> Iterator[Row]:
        wanted = self.fields.get("text", "text")
        for record in found:
            try:
                talk = None if self.fields else conversation(record.value)
            except DocumentError as error:
                notes(f"record {record.key}", error.what, listed=1)
                continue
            row = talk or reading.mapped(record.value, self.fields)
            if row["text"] is None:
                reason = f"has no text at '{wanted}'"
                notes(f"record {record.key}", f"{reason}; it has: {_shown(record.value)}", sort=reason, listed=1)
                continue
            if record.replaced:
                row["meta"]["replaced_characters"] = record.replaced
            if talk and "id" in talk:
                yield row | {"key": talk["id"]}
                continue
            name = row.get("id") if "id" in self.fields else row["meta"].get("id")
            yield row | {"key": f"{file.name}#{name if isinstance(name, str | int) else record.key}"}

    def _whole(self, file: SourceFile, suffix: str, notes: Notes) -> Iterator[Row]:
        data = read_bytes(file.path, file.name)
        found = self.jail.call("lamina.data.readers.whole:read", {"suffix": suffix, "encoding": self.encoding}, data)
        for where, reason in found["unread"]:
            notes(where, reason)
        several = len(found["documents"]) > 1 or bool(found["unread"])
        for document in found["documents"]:
            key = document.pop("key")
            meta = {name: value for name, value in (document.get("meta") or {}).items() if value is not None}
            group = document.get("group_id") or (file.name if several else None)
            yield document | {"key": f"{file.name}#{key}" if key else file.name, "meta": meta, "group_id": group}

    def _dump(self, file: SourceFile, notes: Notes) -> Iterator[Row]:
        """The articles of a wiki's dump; redirects and pages of other namespaces are counted."""
        with open_bytes(file.path, file.name) as stream:
            pieces = wiki.cut(stream)
            _, head = next(pieces)
            about = self.jail.call("lamina.data.readers.wiki:site", {}, head or b"")
            read = partial(_pages, jail=self.jail, about=about)
            with closing(in_turn(read, _bundles(pieces), workers=1)) as answers:
                for answer in answers:
                    if not isinstance(answer, list):
                        raise answer
                    for place, page in answer:
                        if reason := page.get("error"):
                            notes(f"page at byte {place:,}", reason)
                        elif reason := page.get("skipped"):
                            notes(f"page at byte {place:,}", reason, listed=1)
                        else:
                            yield page | {"key": f"{file.name}#{page['key']}"}


def archived(file: SourceFile, notes: Notes) -> Iterator[SourceFile]:
    """The files in an archive, each in turn on disk; they are gone when the next one is asked for."""
    with tempfile.TemporaryDirectory(prefix="lamina-") as folder:
        for inner in members(file, Path(folder), notes):
            yield inner
            inner.path.unlink(missing_ok=True)


def _refuse(file: SourceFile, suffix: str) -> None:
    other = ELSEWHERE.get(suffix)
    known = f"known: {', '.join(TEXT[:-1])}, json, jsonl, csv, tsv, parquet, docx, pptx, xlsx, odt, rtf, zip, tar"
    hint = f'the source "{other}" reads it' if other else known
    raise DocumentError(f"files of the kind '{suffix}' are not read by this source", hint=hint)


def _is_dump(file: SourceFile) -> bool:
    with open_bytes(file.path, file.name) as stream:
        return wiki.is_dump(stream.read(4096))


def _bundles(pieces: Iterator[_Page]) -> Iterator[list[_Page] | DocumentError]:
    """Pages in bundles; an error of the dump comes as the last of them, behind what was before it."""
    waiting: list[_Page] = []
    size = 0
    try:
        for place, page in pieces:
            waiting.append((place, page))
            size += len(page or b"")
            if len(waiting) >= _TOGETHER or size >= _BYTES:
                yield waiting
                waiting, size = [], 0
        yield waiting
    except DocumentError as error:
        yield waiting
        yield error


def _pages(bundle: list[_Page] | DocumentError, *, jail: Jail, about: Row) -> list[tuple[int, Row]]:
    """Each page with what the parser says of it; one that kills the parser costs itself alone."""
    if isinstance(bundle, DocumentError):
        raise bundle
    given = [page for _, page in bundle if page is not None]
    told = {"sizes": [len(page) for page in given], "site": about}
    try:
        found = iter(jail.call("lamina.data.readers.wiki:pages", told, b"".join(given)))
    except DocumentError as error:
        if len(bundle) == 1:
            return [(bundle[0][0], {"error": str(error)})]
        return [pair for one in bundle for pair in _pages([one], jail=jail, about=about)]
    large = {"error": f"is over {wiki.MAX_PAGE >> 20} MiB"}
    return [(place, next(found) if page is not None else large) for place, page in bundle]


def _shown(record: Any) -> str:
    """What a record without text has instead, and what may help."""
    if not isinstance(record, Mapping):
        return f"no fields, it is a {type(record).__name__}"
    shown = ", ".join(map(str, record))[:200] or "nothing"
    if isinstance(record.get("messages"), list) or isinstance(record.get("conversations"), list):
        return f'{shown} (the source "social" reads conversations)'
    place = reading.suggest(record)
    return f'{shown} (records = "{place}"?)' if place else f'{shown} (fields = {{ text = "…" }} names it)'
