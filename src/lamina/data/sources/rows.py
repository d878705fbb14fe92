"""What all collectors share: rows as record batches, and files read within limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import DOCUMENTS, Inbox, SourceFile
from lamina.kit.errors import DocumentError
from lamina.kit.identity import document_id, text_hash

BATCH = 512  # rows
MAX_FILE = 256 << 20  # bytes of a file that is read whole
MAX_REPLACED = 0.01  # share of characters that may be undecodable


def batches(inbox: Inbox, rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """``rows`` (``key`` and document columns) as record batches of ``BATCH`` documents."""
    waiting: list[dict[str, Any]] = []
    for row in rows:
        waiting.append(_document(inbox, row))
        if len(waiting) == BATCH:
            yield pa.RecordBatch.from_pylist(waiting, schema=DOCUMENTS)
            waiting = []
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema=DOCUMENTS)


def _document(inbox: Inbox, row: Mapping[str, Any]) -> dict[str, Any]:
    text = row.get("text")
    meta = row.get("meta")
    known = {name: row.get(name) for name in DOCUMENTS.names}
    key = str(row["key"])
    return known | {
        "id": document_id(inbox.source, key),
        "text_hash": None if text is None else text_hash(text),
        "source": inbox.source,
        "url": row.get("url") or (f"{inbox.origin}/{key}" if inbox.origin else key),
        "created": moment(row.get("created")),
        "collected": inbox.collected,
        "meta": json.dumps(meta, ensure_ascii=False, default=str) if meta else None,
    }


def moment(value: Any) -> datetime | None:
    """A time in UTC from ISO 8601 text or seconds since 1970; None where it is neither."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
        if isinstance(value, str) and value.strip():
            value = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def read_bytes(file: SourceFile, limit: int = MAX_FILE) -> bytes:
    """The file's bytes; ``DocumentError`` where it is too large or cannot be read."""
    try:
        size = file.path.stat().st_size
        if size > limit:
            raise DocumentError(f"is {size / 2**20:.0f} MiB, more than the limit of {limit / 2**20:.0f} MiB")
        return file.path.read_bytes()
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}") from error


def decode(data: bytes) -> str:
    """Text from UTF-8 (with or without a mark) or marked UTF-16; ``DocumentError`` where over 1 % is undecodable."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data[:4096]:
        raise DocumentError("is binary, not text")
    text = data.decode("utf-8-sig", errors="replace")
    replaced = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    if replaced > MAX_REPLACED * max(1, len(text)):
        raise DocumentError(f"is not UTF-8: {replaced} of {len(text)} characters cannot be decoded")
    return text


def first(rows: Iterable[Any], limit: int | None) -> Iterator[Any]:
    """The first ``limit`` rows (all where it is None)."""
    for number, row in enumerate(rows):
        if limit is not None and number >= limit:
            return
        yield row
