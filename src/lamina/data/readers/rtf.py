"""RTF (specification 1.9.1): paragraphs and tables as text; what is no text of the document is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lamina.kit.errors import DocumentError

MAX_DEPTH = 1000
_TOKEN = re.compile(
    rb"\\([A-Za-z]{1,40})(-?\d{1,10})?[ ]?|\\'([0-9A-Fa-f]{2})|\\([^A-Za-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)|."
)
_LEFT_OUT = (
    "fonttbl colortbl stylesheet listtable listoverridetable revtbl rsidtbl generator pict object header footer headerl"
    " headerr headerf footerl footerr footerf footnotesep themedata datastore xmlnstbl filetbl fldinst annotation"
    " atnid atnauthor bkmkstart bkmkend nonshppict listtext pntext pn private info"
)
_DESTINATIONS = frozenset(_LEFT_OUT.split())
_ABOUT = {"title": "title", "author": "author", "creatim": "created"}
_BREAKS = {"par": "\n\n", "sect": "\n\n", "page": "\n\n", "line": "\n", "tab": "\t", "cell": " | ", "row": "\n"}
_SIGNS = {
    **{"emdash": "\u2014", "endash": "\u2013", "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c"},
    **{"rdblquote": "\u201d", "bullet": "\u2022", "emspace": " ", "enspace": " ", "nestcell": " | ", "nestrow": "\n"},
}
#: Windows code pages of the character sets of fonts (\fcharset).
_CHARSETS = {
    **{77: "mac-roman", 128: "cp932", 129: "cp949", 134: "gbk", 136: "big5", 161: "cp1253", 162: "cp1254"},
    **{163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250"},
}
_PAGES = frozenset((*range(1250, 1259), 437, 850, 852, 855, 857, 860, 862, 863, 866, 874, 932, 936, 949, 950))


@dataclass(frozen=True, slots=True)
class _State:
    """What holds within a group."""

    silent: bool = False
    about: str | None = None  # "title" and the like: the text is this
    skip: int = 1  # characters that stand for a \u in old readers
    encoding: str = "cp1252"
    hidden: bool = False
    fonts: bool = False  # the table of fonts


@dataclass(slots=True)
class _Reader:
    default: str = "cp1252"
    text: list[str] = field(default_factory=list)
    about: dict[str, list[str]] = field(default_factory=dict)
    encodings: dict[int, str] = field(default_factory=dict)
    font: int = 0
    skipping: int = 0
    waiting: bytearray = field(default_factory=bytearray)
    created: list[str] = field(default_factory=list)
    replaced: int = 0
    cut: bool = False


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", "title", "author", "created", "meta"}], "unread"}``.

    Headers, footers, pictures, hidden text and field codes are left out; cells stand apart by ' | '.
    """
    source = data or b""
    if not source.lstrip()[:5].lower() == b"{\\rtf":
        raise DocumentError("is no RTF file: it does not begin as one")
    reader = _Reader()
    _run(source, reader)
    text = _tidy("".join(reader.text))
    if not text:
        raise DocumentError("is cut short before its text" if reader.cut else "holds no text")
    about = {name: " ".join("".join(words).split()) or None for name, words in reader.about.items()}
    created = "-".join(reader.created[:3]) if len(reader.created) >= 3 else None
    unread = [["its end", "is missing: the file is cut short"]] if reader.cut else []
    document = {"key": "", "text": text, "title": about.get("title"), "author": about.get("author"), "created": created}
    return {"documents": [document | {"meta": {"replaced_characters": reader.replaced or None}}], "unread": unread}


def _run(source: bytes, reader: _Reader) -> None:
    stack: list[_State] = []
    state = _State()
    fresh = False  # right behind an opening brace, where a destination is named
    ignorable = False
    at = 0
    while token := _TOKEN.match(source, at):
        word, number, byte, sign, brace, plain = token.groups()
        at = token.end()
        if brace == b"{":
            _flush(reader, state)
            if len(stack) >= MAX_DEPTH:
                raise DocumentError(f"is nested over {MAX_DEPTH:,} deep")
            stack.append(state)
            fresh, ignorable, reader.skipping = True, False, 0
        elif brace == b"}":
            _flush(reader, state)
            reader.skipping = 0
            if not stack:
                return
            state = stack.pop()
        elif sign == b"*" and fresh:
            ignorable = True
        elif word:
            state = _word(reader, state, word.decode(), number, fresh, ignorable)
            if word == b"bin":  # so many bytes that are no text
                at += max(0, int(number or 0))
            fresh = ignorable = False
        elif byte or sign or plain:
            _characters(reader, state, byte, sign, plain)
            fresh = ignorable = False
    if stack:
        _flush(reader, state)
        reader.cut = True


def _word(reader: _Reader, state: _State, word: str, number: bytes | None, fresh: bool, ignorable: bool) -> _State:
    value = int(number) if number else None
    if word == "u" and value is not None:
        _flush(reader, state, keep_skip=True)
        _put(reader, state, chr(value % 65536))
        reader.skipping = state.skip
        return state
    _flush(reader, state)
    if word in _ABOUT and fresh:
        return replace(state, silent=False, about=_ABOUT[word])
    if word == "upr":
        return state
    if fresh and (ignorable or word in _DESTINATIONS):
        return replace(state, silent=True, about=None, fonts=word == "fonttbl")
    if word in ("yr", "mo", "dy") and state.about == "created" and value is not None:
        reader.created.append(f"{value:02d}")
        return state
    if change := _CHANGES.get(word):
        return change(reader, state, value)
    if not state.silent and not state.hidden and state.about is None:
        reader.text.append(_BREAKS.get(word) or _SIGNS.get(word, ""))
    elif word in _SIGNS:
        _put(reader, state, _SIGNS[word])
    return state


def _codepage(reader: _Reader, state: _State, value: int | None) -> _State:
    reader.default = f"cp{value}" if value in _PAGES else "cp1252"
    return replace(state, encoding=reader.default)


def _mac(reader: _Reader, state: _State, value: int | None) -> _State:
    reader.default = "mac-roman"
    return replace(state, encoding=reader.default)


def _font(reader: _Reader, state: _State, value: int | None) -> _State:
    if state.fonts:
        reader.font = value or 0
        return state
    return replace(state, encoding=reader.encodings.get(value or 0, reader.default))


def _charset(reader: _Reader, state: _State, value: int | None) -> _State:
    if value in _CHARSETS:
        reader.encodings[reader.font] = _CHARSETS[value]
    return state


def _skip(reader: _Reader, state: _State, value: int | None) -> _State:
    return replace(state, skip=min(max(value if value is not None else 1, 0), 10))


def _hide(reader: _Reader, state: _State, value: int | None) -> _State:
    return replace(state, hidden=value != 0)


def _plain(reader: _Reader, state: _State, value: int | None) -> _State:
    return replace(state, hidden=False, encoding=reader.default)


_CHANGES: dict[str, Callable[[_Reader, _State, int | None], _State]] = {
    **{"ansicpg": _codepage, "mac": _mac, "f": _font, "fcharset": _charset, "uc": _skip},
    **{"v": _hide, "deleted": _hide, "plain": _plain},
}


def _characters(reader: _Reader, state: _State, byte: bytes | None, sign: bytes | None, plain: bytes | None) -> None:
    if byte:
        if reader.skipping:
            reader.skipping -= 1
        else:
            reader.waiting.append(int(byte, 16))  # two of them may be one character
        return
    _flush(reader, state, keep_skip=True)
    if sign:
        _put(reader, state, {b"~": "\u00a0", b"_": "\u2011", b"\n": "\n\n", b"\r": "\n\n"}.get(sign, ""))
        if sign in b"\\{}":
            _put(reader, state, sign.decode())
        return
    piece = plain or b""
    gone = min(reader.skipping, len(piece))
    reader.skipping -= gone
    reader.waiting += piece[gone:]


def _flush(reader: _Reader, state: _State, *, keep_skip: bool = False) -> None:
    if not keep_skip:
        reader.skipping = 0
    if reader.waiting:
        text = reader.waiting.decode(state.encoding, "replace")
        reader.replaced += text.count("\ufffd")
        reader.waiting.clear()
        _put(reader, state, text)


def _put(reader: _Reader, state: _State, text: str) -> None:
    if state.about is not None:
        reader.about.setdefault(state.about, []).append(text)
    elif not state.silent and not state.hidden:
        reader.text.append(text)


def _tidy(text: str) -> str:
    """Surrogate pairs joined, rows without their last bar, at most one empty line between paragraphs."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    lines = [re.sub(r"(?: \|)+\s*$", "", line).strip(" ") for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
