"""Records of JSON and JSONL files, and how their fields become the columns of a document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import orjson

from lamina.data.readers.streams import MAX_REPLACED
from lamina.kit.errors import DocumentError

MAX_LINE = 16 << 20  # bytes
MAX_OBJECTS = 1 << 30  # bytes that a JSON file may take in memory
Bad = Callable[[str, str], None]  # (where, reason)

#: Names under which a column is looked for where ``fields`` does not say it.
_USUAL = {
    "text": ("text",),
    "title": ("title",),
    "author": ("author", "authors", "byline"),
    "created": ("created", "created_at", "date", "published", "timestamp"),
    "url": ("url", "link", "source_url"),
    "language": ("language", "lang"),
    "license": ("license", "licence"),
}
_ASSIGNED = re.compile(r"(?:=|\bexport\s+default\b)\s*(?=[\[{])")


class Record(NamedTuple):
    """A record, what it is called within its file, and the characters of it that could not be decoded."""

    key: str
    value: Any
    replaced: int = 0


def dig(value: Any, path: str) -> Any:
    """What lies at the dotted ``path``; None where it leads nowhere. A key that has dots itself is found too.

    >>> dig({"a": [{"b": 3}], "c.d": 4}, "a.0.b")
    3
    """
    if isinstance(value, dict) and path in value:
        return value[path]
    for key in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def items(value: Any, path: str) -> Iterator[Record]:
    """The records at ``path``; ``*`` stands for all members of a list or object.

    >>> [record[:2] for record in items({"x": {"a": 1, "b": 2}}, "x.*")]
    [('a', 1), ('b', 2)]
    """
    head, star, rest = path.partition("*")
    found = dig(value, head.strip("."))
    if not star:
        if isinstance(found, list):
            yield from (Record(str(i), item) for i, item in enumerate(found))
        elif found is not None:
            yield Record("0", found)
        return
    members = found.items() if isinstance(found, Mapping) else enumerate(found) if isinstance(found, list) else ()
    inner = rest.strip(".")
    for key, member in members:
        if inner:
            yield from (Record(f"{key}/{r.key}", r.value) for r in items(member, inner))
        else:
            yield Record(str(key), member)


def mapped(record: Any, fields: Mapping[str, str]) -> dict[str, Any]:
    """The columns that ``fields`` (column = "path in the record") and the usual names give; the rest becomes ``meta``.

    ``text`` is None where there is none; a list of strings is a text of paragraphs.
    """
    if not isinstance(record, Mapping):
        return {"text": record if isinstance(record, str) else None, "meta": {}}
    row = {column: dig(record, path) for column, path in fields.items()}
    taken = {path if path in record else path.split(".")[0] for path in fields.values()}
    for column, names in _USUAL.items():
        name = next((n for n in names if record.get(n) is not None), None)
        if column not in row and name is not None:
            row[column] = record[name]
            taken.add(name)
    text = row.get("text")
    if isinstance(text, list) and all(isinstance(part, str) for part in text):
        text = "\n\n".join(text)
    row["text"] = text if isinstance(text, str) else None
    row["meta"] = {str(k): v for k, v in record.items() if k not in taken and v is not None and not _is_bytes(v)}
    return row


def _is_bytes(value: Any) -> bool:
    """Pictures and the like, which Parquet tables may hold."""
    return isinstance(value, bytes) or (
        isinstance(value, Mapping) and any(isinstance(v, bytes) for v in value.values())
    )


def json_lines(
    stream: BinaryIO, records: str, bad: Bad, *, first: int = 0, start: int = 0, encoding: str | None = None
) -> Iterator[Record]:
    """The records of a JSONL stream, called by line number; a line that cannot be read goes to ``bad``.

    The stream begins behind the ``first`` lines of its file, at byte ``start``. Lines end at 16 MiB; ``encoding``: of
    those that are not UTF-8. Raises ``DocumentError`` where the stream itself ends badly.
    """
    place, number = start, first
    while True:
        number += 1
        where = f"line {number} (byte {place:,})"
        try:
            line = stream.readline(MAX_LINE + 1)
            cut = len(line) > MAX_LINE and not line.endswith(b"\n")
            size = len(line) + (_rest(stream) if cut else 0)
        except DocumentError as error:
            raise DocumentError(f"{error.what}; {number - first - 1:,} whole lines were read") from error
        if not line:
            return
        place += size
        if size > MAX_LINE:
            bad(where, f"is {size / 2**20:,.0f} MiB long; the limit is {MAX_LINE >> 20} MiB")
        elif line.strip():
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise DocumentError("is UTF-16", hint="JSON lines are UTF-8: save it as UTF-8")
            try:
                value, replaced = _line(line, encoding)
            except DocumentError as error:
                ends = "" if line.endswith(b"\n") else ": the file ends in the middle of it"
                bad(where, error.what + ends)
                continue
            if not records:
                yield Record(str(number), value, replaced)
                continue
            for record in items(value, records):
                yield Record(f"{number}/{record.key}", record.value, replaced)


def _rest(stream: BinaryIO) -> int:
    """The length of what is left of a line, which is not kept."""
    size = 0
    while more := stream.readline(1 << 20):
        size += len(more)
        if more.endswith(b"\n"):
            break
    return size


def _line(line: bytes, encoding: str | None) -> tuple[Any, int]:
    line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(line), 0
    except orjson.JSONDecodeError as error:
        text = line.decode("utf-8", errors="replace")
        replaced = text.count("\ufffd") - line.count(b"\xef\xbf\xbd")
        if not replaced:
            raise DocumentError(f"is not JSON: {error.msg} (column {error.colno})") from error
        if encoding is not None:
            text = line.decode(encoding, errors="replace")
            replaced = text.count("\ufffd")
    if replaced > MAX_REPLACED * len(text):
        raise DocumentError(f"is not UTF-8: {replaced} of {len(text)} characters cannot be decoded")
    try:
        return orjson.loads(text), replaced
    except orjson.JSONDecodeError as error:
        raise DocumentError(f"is not JSON: {error.msg} (column {error.colno})") from error


def json_value(text: str) -> Any:
    """The value of a JSON text; ``DocumentError`` with line and column where it is none."""
    # a container or number of two characters takes some 64 bytes once it is a Python object
    size = len(text) + 64 * sum(text.count(sign) for sign in "[{,:")
    if size > MAX_OBJECTS:
        raise DocumentError(f"would take about {size >> 20:,} MiB of memory as a whole", hint="write it as JSON lines")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "memory" in error.msg:  # it wants some twelve times the text at once
            return _frugally(text)
        raise DocumentError(f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error


def _frugally(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"is not JSON: {str(error)[:200]}") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def records_of(value: Any, records: str) -> list[Record]:
    """The records of a JSON value; ``DocumentError`` where it holds nothing at ``records``."""
    found = list(items(value, records))
    if not found:
        hint = f'records = "{suggestion}"' if (suggestion := suggest(value)) else None
        raise DocumentError(f"holds nothing at records = '{records}'", hint=hint)
    return found


def suggest(value: Any) -> str | None:
    """Where the records of a JSON value may lie, for a hint.

    >>> suggest({"count": 2, "data": [{"text": "a"}]})
    'data'
    """
    if not isinstance(value, Mapping):
        return None
    for name, member in value.items():
        if isinstance(member, list) and member and isinstance(member[0], Mapping):
            return str(name)
    members = list(value.values())
    return "*" if len(members) > 1 and all(isinstance(member, Mapping) for member in members) else None


def data_of_script(text: str) -> str:
    """The JSON that a data file in JavaScript assigns or exports; nothing is run.

    >>> data_of_script('window.YTD.tweets.part0 = [ {"tweet": {}} ];')
    '[ {"tweet": {}} ]'
    """
    start = _ASSIGNED.search(text)
    end = max(text.rfind("]"), text.rfind("}")) + 1
    if start is None or end <= start.end():
        raise DocumentError("is a program in JavaScript, not data")
    return text[start.end() : end]
