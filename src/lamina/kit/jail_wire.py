"""Frames between a jail and its workers: one JSON object, and the bytes that belong to it, with a deadline.

Frame: JSON length u32 | data length u64 | JSON | data (little-endian). No pickle anywhere.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

_SIZES = struct.Struct("<IQ")
MAX_JSON = 512 * 2**20
MAX_DATA = 2**31
_PIECE = 2**20


class Late(Exception):
    """The deadline passed."""


class Closed(Exception):
    """The other end is gone, or talks nonsense."""


def send(fd: int, message: dict[str, Any], data: bytes = b"", *, deadline: float | None = None) -> None:
    """Write a frame; raises ``Late`` or ``Closed``. A ``deadline`` (monotonic clock) needs a non-blocking fd."""
    head = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    for piece in (_SIZES.pack(len(head), len(data)) + head, data):
        view = memoryview(piece)
        while view:
            if deadline is not None:
                _wait(fd, select.POLLOUT, deadline)
            try:
                view = view[os.write(fd, view[:_PIECE]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise Closed from error


def receive(fd: int, *, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Read a frame. Raises ``Late`` or ``Closed`` (also for a frame over the size limits)."""
    head, size = _SIZES.unpack(_exactly(fd, _SIZES.size, deadline))
    if head > MAX_JSON or size > MAX_DATA:
        raise Closed
    text = _exactly(fd, head, deadline)
    data = _exactly(fd, size, deadline)
    try:
        message = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise Closed from error
    if not isinstance(message, dict):
        raise Closed
    return message, data


def _exactly(fd: int, count: int, deadline: float | None) -> bytes:
    pieces, left = [], count
    while left:
        if deadline is not None:
            _wait(fd, select.POLLIN, deadline)
        try:
            piece = os.read(fd, min(left, _PIECE))
        except BlockingIOError:
            continue
        except OSError as error:
            raise Closed from error
        if not piece:
            raise Closed
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def is_readable(fd: int, seconds: float) -> bool:
    """Whether within ``seconds`` there is something to read, or the other side has gone."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _wait(fd: int, event: int, deadline: float) -> None:
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(fd, event)
    if left <= 0 or not poll.poll(left * 1000):
        raise Late
