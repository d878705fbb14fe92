"""The files that word vectors travel in: word2vec's text and binary formats, and GloVe's, which is text without a head.

    text     "V D\\n", then on each line a word and D numbers
    binary   "V D\\n", then for each word: the word, a space, D little-endian float32, and by some writers a newline

Words are UTF-8. A file that breaks off, lies about its size, holds what is no number or a word twice is refused with
the place where it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from lamina.kit.durable import atomic_write
from lamina.kit.errors import InputError, ModelFileError
from lamina.model.vectors.keyed_vectors import KeyedVectors

Format = Literal["text", "binary"]

_HEAD = re.compile(rb"([1-9][0-9]{0,9}) ([1-9][0-9]{0,4})\s*\n")
_WIDEST = 65_536  # numbers of a vector
_LONGEST = 4_096  # bytes of a word
_BLANK = re.compile(r"\s")


def write_vectors(vectors: KeyedVectors, path: Path, *, form: Format = "binary") -> None:
    """Write all words and their vectors, whole or not at all; n-grams stay behind.

    Raises ``InputError`` for a word that the formats cannot hold: empty, or with blanks.
    """
    for word in vectors.words:
        if not word or len(word.encode()) > _LONGEST or _BLANK.search(word):
            raise InputError(f"the formats of word2vec cannot hold the word {word!r}", where=str(path))
    parts = [f"{len(vectors)} {vectors.width}\n".encode()]
    rows = np.ascontiguousarray(vectors.vectors, "<f4")
    for word, row in zip(vectors.words, rows, strict=True):
        if form == "binary":
            parts.append(word.encode() + b" " + row.tobytes() + b"\n")
        else:
            parts.append(f"{word} {' '.join(map(str, row))}\n".encode())
    atomic_write(path, b"".join(parts), mode=0o644)


def read_vectors(path: Path, *, form: Format | None = None, limit: int | None = None) -> KeyedVectors:
    """The words and vectors of a file, the first ``limit`` of them; the format is found out where it isn't given.

    Raises ``ModelFileError`` naming the word or line that is wrong.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except OSError as error:
        raise ModelFileError(f"cannot be read: {error.strerror}", where=str(path)) from error
    head = _HEAD.match(start)
    form = form or _guess(start, head)
    if form == "binary":
        if head is None:
            raise ModelFileError("the first line is not the numbers of words and dimensions", where=f"{path}:1")
        words, table = _read_binary(path, int(head[1]), int(head[2]), head.end(), limit)
    else:
        words, table = _read_text(path, (int(head[1]), int(head[2])) if head else None, limit)
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise ModelFileError(f"the vector of {words[row]!r} has a number that is not finite", where=str(path))
    try:
        return KeyedVectors(words, table)
    except InputError as error:
        raise ModelFileError(error.what, where=str(path)) from error


def _guess(start: bytes, head: re.Match[bytes] | None) -> Format:
    """Text where the first vector's line is a word and as many numbers as the head says."""
    line = start[head.end() if head else 0 :].split(b"\n", 1)[0]
    fields = line.split()[1:]
    try:
        [float(field) for field in fields]
    except ValueError:
        return "binary"
    return "text" if head is None or len(fields) == int(head[2]) or len(start) == 1 << 16 else "binary"


def _read_binary(
    path: Path, size: int, width: int, begin: int, limit: int | None
) -> tuple[list[str], NDArray[np.float32]]:
    vector = 4 * width
    if width > _WIDEST or path.stat().st_size - begin < size * (vector + 2):
        raise ModelFileError(f"too short for {size:,} vectors of {width:,} numbers", where=str(path))
    whole = np.memmap(path, np.uint8, "r").data
    count = size if limit is None else min(size, limit)
    words, table = [], np.empty((count, width), np.float32)
    at = begin
    for i in range(count):
        piece = bytes(whole[at : at + _LONGEST + 2])
        space = piece.find(b" ")
        end = at + space + 1 + vector
        if space < 0 or end > len(whole):
            raise ModelFileError(f"word {i + 1:,} of {size:,} breaks off or is too long", where=f"{path}: byte {at:,}")
        words.append(_word(piece[:space].removeprefix(b"\n"), f"{path}: byte {at:,}"))
        table[i] = np.frombuffer(whole[at + space + 1 : end], "<f4")
        at = end
    if count == size and bytes(whole[at : at + 2]).strip():
        raise ModelFileError(f"goes on after its {size:,} words", where=f"{path}: byte {at:,}")
    return words, table


def _read_text(path: Path, head: tuple[int, int] | None, limit: int | None) -> tuple[list[str], NDArray[np.float32]]:
    words: list[str] = []
    rows: list[NDArray[np.float32]] = []
    width = head[1] if head else None
    for number, line in _lines(path, skip=head is not None):
        if limit is not None and len(words) == limit:
            break
        where = f"{path}:{number}"
        fields = line.split(b" ")
        if width is None:
            width = len(fields) - 1
        if len(fields) - 1 != width or not 0 < width <= _WIDEST:
            raise ModelFileError(f"a word and {width} numbers are expected, not {len(fields)} fields", where=where)
        words.append(_word(fields[0], where))
        try:
            rows.append(np.array(fields[1:], np.bytes_).astype(np.float32))
        except ValueError as error:
            raise ModelFileError("a number cannot be read", where=where) from error
    if not words or (head and limit is None and len(words) != head[0]):
        _short(path, head, len(words))
    return words, np.stack(rows)


def _lines(path: Path, *, skip: bool) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, none of them longer than the widest vector can be."""
    longest = _LONGEST + _WIDEST * 40
    with path.open("rb") as file:
        number = 0
        while line := file.readline(longest):
            number += 1
            if len(line) == longest:
                raise ModelFileError("the line is too long", where=f"{path}:{number}")
            if not (skip and number == 1) and line.strip():
                yield number, line.rstrip(b" \r\n")


def _short(path: Path, head: tuple[int, int] | None, count: int) -> NoReturn:
    said = f"{count:,} words, where the first line says {head[0]:,}" if head else "no vectors"
    raise ModelFileError(f"holds {said}", where=str(path))


def _word(data: bytes, where: str) -> str:
    try:
        word = data.decode()
    except UnicodeDecodeError as error:
        raise ModelFileError("a word is not UTF-8", where=where) from error
    if not word:
        raise ModelFileError("a word is empty", where=where)
    return word
