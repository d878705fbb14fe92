"""The header of a GGUF file, read within bounds: every length is checked against the file before it is believed.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.kit.errors import ModelFileError, NotFoundError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's place: ``shape`` outermost dimension first, ``kind`` the number of its type, ``start`` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata by key, and where the tensors lie."""

    fields: dict[str, Any]
    tensors: tuple[TensorInfo, ...]


class _Cursor:
    """A place in the file that refuses to run past its end."""

    def __init__(self, data: mmap.mmap, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def refuse(self, why: str) -> ModelFileError:
        return ModelFileError(f"{why} at byte {self.at}", where=self.where, hint="the file is truncated or malformed")

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise self.refuse(f"the file ends inside a value of {size} bytes")
        piece = self.data[self.at : self.at + size]
        self.at += size
        return piece

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY or depth > 1:
            raise self.refuse(f"a value of unknown type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner in _SCALARS:
            code = f"{count}{_SCALARS[inner]}"
            if count > len(self.data):
                raise self.refuse(f"an array of {count} values")
            return list(struct.unpack("<" + code, self.take(struct.calcsize("<" + code))))
        return self.repeat(count, lambda: self.value(inner, depth + 1))

    def repeat(self, count: int, read: Callable[[], Any]) -> list[Any]:
        if count > len(self.data) - self.at:  # each takes a byte at the least
            raise self.refuse(f"a count of {count}")
        return [read() for _ in range(count)]


def read_header(path: Path) -> Header:
    """Metadata and tensor places of a GGUF file (versions 2 and 3, little-endian).

    Raises ``ModelFileError`` naming the byte where the file stops making sense.
    """
    if not path.is_file():
        raise NotFoundError("there is no such file", where=str(path))
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelFileError("not a GGUF file", where=str(path))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(_Cursor(data, str(path)), len(data))


def _parse(cursor: _Cursor, size: int) -> Header:
    cursor.take(4)
    version = cursor.number("I")
    if version not in (2, 3):
        raise cursor.refuse(f"GGUF version {version}, not 2 or 3,")
    tensor_count, field_count = cursor.number("Q"), cursor.number("Q")
    fields = dict(cursor.repeat(field_count, lambda: (cursor.string(), cursor.value(cursor.number("I")))))
    infos = cursor.repeat(tensor_count, lambda: _tensor(cursor))
    alignment = fields.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= size or alignment & (alignment - 1):
        raise ModelFileError(f"an alignment of {alignment!r} cannot be", where=cursor.where)
    start = -(-cursor.at // alignment) * alignment
    tensors = tuple(TensorInfo(t.name, t.shape, t.kind, start + t.start) for t in infos)
    seen: set[str] = set()
    for tensor in tensors:
        if tensor.name in seen:
            raise ModelFileError(f"two tensors are called '{tensor.name}'", where=cursor.where)
        seen.add(tensor.name)
    return Header(fields, tensors)


def _tensor(cursor: _Cursor) -> TensorInfo:
    name, dimensions = cursor.string(), cursor.number("I")
    if not 0 < dimensions <= _MAX_DIMENSIONS:
        raise cursor.refuse(f"the tensor '{name}' with {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    return TensorInfo(name, shape, cursor.number("I"), cursor.number("Q"))
