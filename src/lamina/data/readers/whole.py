"""Files that are parsed whole, in the jail: Office documents, notebooks, subtitles, LaTeX, exports in XML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.data.readers import confluence, docx, latex, notebook, opendocument, page, pptx, rtf, subtitles, xlsx
from lamina.data.readers.encodings import legible
from lamina.data.readers.markup import parse_xml
from lamina.data.readers.ooxml import refuse_ole, tag
from lamina.data.readers.records import json_value
from lamina.data.readers.streams import recognised
from lamina.kit.errors import DocumentError

Reader = Callable[[dict[str, Any], bytes | None], dict[str, Any]]
_OLD = (".doc", ".xls", ".ppt", ".msg")


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", …}], "unread": [[where, reason]]}`` of a file.

    ``payload``: ``{"suffix", "encoding"}``, the encoding of text that is not UTF-8, or None.
    ``key`` names a document within its file; "" where it is the whole. Other columns as in ``DOCUMENTS``, and "meta".
    """
    suffix = payload["suffix"]
    if not (data or b"").strip():
        raise DocumentError("is empty")
    refuse_ole(data or b"")
    try:
        return _READERS[suffix](payload, data)
    except RecursionError:
        raise DocumentError("is nested too deeply") from None


def _old(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """What some programs call .doc is RTF."""
    if (data or b"").lstrip()[:5] == b"{\\rtf":
        return rtf.read(payload, data)
    other = recognised((data or b"")[:64])
    what = f"is {other}" if other else f"is no {payload['suffix']} file that anything reads"
    raise DocumentError(what, hint="save it as .docx, .xlsx, .pptx or .eml")


def _text(payload: dict[str, Any], data: bytes | None) -> tuple[str, dict[str, Any]]:
    other = recognised((data or b"")[:64])
    if other:
        raise DocumentError(f"is {other}")
    text, replaced = legible(data or b"", payload.get("encoding"))
    return text, {"replaced_characters": replaced} if replaced else {}


def _one(**document: Any) -> dict[str, Any]:
    return {"documents": [{"key": "", **document}], "unread": []}


def _notebook(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    text, meta = _text(payload, data)
    found = notebook.cells(json_value(text))
    return _one(**found | {"meta": found["meta"] | meta})


def _latex(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    text, meta = _text(payload, data)
    return _one(**latex.plain(text), meta=meta)


def _subtitles(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    text, meta = _text(payload, data)
    return _one(text=subtitles.spoken(text), meta=meta)


def _page(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    found = page.read({}, data)
    replaced = found.pop("replaced", 0)
    return _one(**found, meta={"replaced_characters": replaced} if replaced else {})


def _xml(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    head = (data or b"")[:4096]
    if confluence.is_export(head):
        return confluence.read(payload, data)
    other = recognised(head)
    name = tag(parse_xml(data or b"", "the file")) if other is None else ""
    raise DocumentError(
        f"is XML of a kind that is not read: <{name}>" if other is None else f"is {other}",
        hint="dumps of MediaWiki and Confluence are",
    )


_READERS: dict[str, Reader] = {
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), docx.read),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".potx"), pptx.read),
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx", ".xlsb"), xlsx.read),
    **dict.fromkeys((".odt", ".ott", ".odp", ".ods", ".fodt", ".fodp", ".fods"), opendocument.read),
    **dict.fromkeys(_OLD, _old),
    **{".rtf": rtf.read, ".ipynb": _notebook, ".tex": _latex, ".srt": _subtitles, ".vtt": _subtitles, ".xml": _xml},
    **dict.fromkeys((".html", ".htm", ".xhtml"), _page),
}
