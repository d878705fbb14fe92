"""Names that follow from content (blake3), and names for what happens once (UUID version 7, RFC 9562)."""

from __future__ import annotations

import secrets
import threading
import time

from blake3 import blake3

_lock = threading.Lock()


class _Clock:
    """The last instant given out, so that two ids of one process never compare equal or out of order."""

    last = 0


def blake3_hex(*parts: str | bytes) -> str:
    """64 hexadecimal digits. One part: its plain blake3. Several: each is framed, so ("ab", "c") is not ("a", "bc")."""
    raw = [_bytes(part) for part in parts]
    if len(raw) == 1:
        return blake3(raw[0]).hexdigest()
    total = blake3(derive_key_context="lamina 2026 framed parts")
    for part in raw:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.hexdigest()


def document_id(source: str, key: str) -> str:
    """32 hexadecimal digits for the document that ``source`` knows as ``key``; the same when its text changes."""
    return blake3_hex(source, key)[:32]


def text_hash(text: str) -> str:
    """32 hexadecimal digits of the text's blake3 (UTF-8)."""
    return blake3(_bytes(text)).hexdigest(length=16)


def new_id(prefix: str) -> str:
    """A fresh id, ``<prefix>-<32 hexadecimal digits>``; later ids of this process compare greater, as strings too."""
    with _lock:
        # 48 bits of milliseconds and 12 bits of their fraction (RFC 9562, method 3), never twice the same.
        now = max((time.time_ns() << 12) // 1_000_000, _Clock.last + 1)
        _Clock.last = now
    value = (now >> 12) << 80 | 0x7 << 76 | (now & 0xFFF) << 64 | 0b10 << 62 | secrets.randbits(62)
    digits = f"{value:032x}"
    return f"{prefix}-{digits}" if prefix else digits


def _bytes(part: str | bytes) -> bytes:
    # A lone surrogate is not UTF-8; it still needs a name, so that the document can be reported.
    return part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
