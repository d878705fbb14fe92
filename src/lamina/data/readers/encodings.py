"""Text in the encodings from before UTF-8: as the stack file or the file itself names them, never as they are guessed.

A wrong guess would be a text of wrong letters that nobody notices; so what a file looks like is only said in the hint.
"""

from __future__ import annotations

import codecs
import re

from lamina.data.readers.streams import check_replaced, decode
from lamina.kit.errors import ConfigError, DocumentError

_DECLARED = re.compile(rb"Character set encoding:[ \t]*([A-Za-z0-9._-]{1,30})", re.IGNORECASE)
_UTF = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "ascii")


def known_encoding(name: str | None) -> str | None:
    """Python's name of an encoding of text; ``ConfigError`` where there is none."""
    if name is None:
        return None
    try:
        found = codecs.lookup(name)
    except LookupError:
        raise ConfigError(
            f"'{name}' is no encoding", where="encoding", hint='for example "windows-1252", "gb18030", "koi8-r"'
        ) from None
    if not getattr(found, "_is_text_encoding", True):
        raise ConfigError(f"'{name}' is no encoding of text", where="encoding")
    return found.name


def legible(data: bytes, encoding: str | None) -> tuple[str, int]:
    """Text and how many of its characters were undecodable and replaced (at most 1 %, else ``DocumentError``).

    UTF-8 and marked UTF-16 are read as such whatever ``encoding`` says. In other files so are the lines that are UTF-8,
    which happens where files of two ages were joined.
    """
    name = encoding or _declared(data)
    other = name is not None and name not in _UTF
    try:
        text, replaced = decode(data)
        if not replaced or not other:
            return text, replaced
    except DocumentError as error:
        if error.what == "is binary, not text":
            raise
        if not other:
            raise DocumentError(error.what, hint=hint_of(data)) from error
    assert name is not None
    pieces = [_line(line, name) for line in data.splitlines(keepends=True)] if _by_lines(name) else [_as(data, name)]
    text = "".join(pieces)
    replaced = text.count("\ufffd")
    check_replaced(replaced, len(text))
    return text, replaced


def hint_of(data: bytes) -> str:
    """What to do about a file that is not UTF-8."""
    from resiliparse.parse.encoding import detect_encoding

    try:
        name = codecs.lookup(str(detect_encoding(data[: 1 << 16]))).name
    except LookupError:
        name = "utf-8"
    if name in _UTF:
        return "save it as UTF-8"
    return f'save it as UTF-8, or name its encoding (it looks like {name}): encoding = "{name}"'


def _declared(data: bytes) -> str | None:
    """The encoding that the header of a transcription names."""
    found = _DECLARED.search(data[:20_000])
    try:
        return codecs.lookup(found[1].decode()).name if found else None
    except LookupError:
        return None


def _by_lines(name: str) -> bool:
    """Whether an encoding has ASCII's line ends and no state."""
    try:
        return "\n".encode(name) == b"\n" and not name.startswith(("iso2022", "hz", "utf-7", "utf_7"))
    except UnicodeError:
        return False


def _line(line: bytes, name: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return _as(line, name)


def _as(data: bytes, name: str) -> str:
    return data.decode("cp1252" if name == "iso8859-1" else name, errors="replace")
