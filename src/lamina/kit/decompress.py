"""HTTP content encodings, undone in bounded pieces, so that a bomb is noticed before it goes off (RFC 9110, 8.4.1)."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import zstandard

from lamina.kit.errors import FetchError

_PIECE = 64 * 1024
_FREE = 1024 * 1024  # a body may always grow to this, whatever its ratio
_RATIO = 200.0


class Counted:
    """An iterator of byte strings that knows how many bytes went through it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.bytes += len(chunk)
        return chunk


def accepted() -> str:
    """The value of Accept-Encoding."""
    return ", ".join(["gzip", "deflate", *(["br"] if _brotli() else []), "zstd"])


def body_of(chunks: Iterable[bytes], encoding: str, *, limit: int, truncate: bool = False) -> bytes:
    """The decoded body. ``FetchError`` past ``limit`` (bytes), past the ratio, or where the coding is damaged.

    With ``truncate`` the first ``limit`` bytes are enough.
    """
    raw = Counted(chunks)
    names = [n for n in (part.strip().lower() for part in encoding.split(",")) if n not in ("", "identity")]
    if len(names) > 1:
        raise FetchError(f"the body is encoded more than once: {encoding[:80]}")
    decode = _DECODERS.get(names[0]) if names else _identity
    if decode is None:
        raise FetchError(f"the body has the unknown encoding '{names[0][:40]}'")
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in decode(raw):
            size += len(piece)
            if truncate and size >= limit:
                return (b"".join(pieces) + piece)[:limit]
            if size > limit:
                raise FetchError(f"the body is larger than {limit} bytes")
            if names and size > _FREE and size > _RATIO * raw.bytes:
                raise FetchError(f"the body unpacks to more than {_RATIO:g} times its size")
            pieces.append(piece)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise FetchError(f"the {names[0]} body is damaged or cut short: {error}") from error
    return b"".join(pieces)


def _identity(chunks: Iterable[bytes]) -> Iterator[bytes]:
    yield from chunks


def _zlib(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """gzip (several members) and deflate, the latter with or without its header."""
    decoder, fresh = zlib.decompressobj(47), True
    for chunk in chunks:
        while chunk:
            try:
                piece = decoder.decompress(chunk, _PIECE)
            except zlib.error:
                if not fresh or chunk[:2] == b"\x1f\x8b":
                    raise
                decoder = zlib.decompressobj(-15)
                piece = decoder.decompress(chunk, _PIECE)
            fresh = False
            if piece:
                yield piece
            chunk = decoder.unconsumed_tail
            if decoder.eof:
                chunk = decoder.unused_data.lstrip(b"\0")
                if chunk[:2] != b"\x1f\x8b":
                    return  # what follows the data is no member
                decoder = zlib.decompressobj(47)
    while piece := decoder.decompress(decoder.unconsumed_tail, _PIECE):
        yield piece
    if not decoder.eof and not fresh:
        raise EOFError("the end is missing")


def _zstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One frame or several. A slice of 256 bytes holds at most 64 blocks, and so unpacks to 8 MiB at most."""
    frames = zstandard.ZstdDecompressor(max_window_size=2**23)
    decoder, fresh = frames.decompressobj(), True
    for chunk in chunks:
        waiting = [chunk[i : i + 256] for i in range(0, len(chunk), 256)][::-1]
        while waiting:
            piece = decoder.decompress(waiting.pop())
            fresh = False
            if piece:
                yield piece
            if decoder.eof:
                if decoder.unused_data:
                    waiting.append(decoder.unused_data)
                decoder, fresh = frames.decompressobj(), True
    if not fresh:
        raise EOFError("the end is missing")


def _br(chunks: Iterable[bytes]) -> Iterator[bytes]:
    module = _brotli()
    decoder, fresh = module.Decompressor(), True
    try:
        for chunk in chunks:
            fresh = False
            piece = decoder.process(chunk, output_buffer_limit=_PIECE)
            while piece:
                yield piece
                piece = b"" if decoder.is_finished() else decoder.process(b"", output_buffer_limit=_PIECE)
            if decoder.is_finished():
                return
    except module.error as error:
        raise EOFError(str(error)) from error
    if not fresh:
        raise EOFError("the end is missing")


def _brotli() -> Any:
    """The optional package, where it is installed and can bound its output; else None."""
    try:
        module = importlib.import_module("brotli")
    except ImportError:
        return None
    return module if hasattr(module.Decompressor, "can_accept_more_data") else None


_DECODERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    "gzip": _zlib,
    "x-gzip": _zlib,
    "deflate": _zlib,
    "zstd": _zstd,
    **({"br": _br} if _brotli() else {}),
}
