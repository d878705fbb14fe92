"""Jupyter notebooks (nbformat 2 to 4): text and code of the cells in their order; what they put out is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.kit.errors import DocumentError


def cells(value: Any) -> dict[str, Any]:
    """``{"text", "title", "author", "meta"}`` of a notebook, given as its JSON value; code stands between fences."""
    if not isinstance(value, Mapping):
        raise DocumentError("is no notebook: its JSON is no object")
    sheets = value.get("worksheets")
    inner = sheets[0] if isinstance(sheets, list) and sheets and isinstance(sheets[0], Mapping) else value
    listed = inner.get("cells")
    if not isinstance(listed, list):
        raise DocumentError("is no notebook: it has no cells")
    about: Any = value.get("metadata")
    about = about if isinstance(about, Mapping) else {}
    language = _language(about)
    parts = [part for cell in listed if isinstance(cell, Mapping) and (part := _cell(cell, language))]
    if not parts:
        raise DocumentError("holds no text: its cells are empty")
    authors = about.get("authors")
    return {
        "text": "\n\n".join(parts),
        "title": about.get("title") if isinstance(about.get("title"), str) else None,
        "author": authors if isinstance(authors, list | str) else None,
        "meta": {"programming_language": language} if language else {},
    }


def _language(about: Mapping[str, Any]) -> str:
    for place in ("language_info", "kernelspec"):
        found = about.get(place)
        name = found.get("name" if place == "language_info" else "language") if isinstance(found, Mapping) else None
        if isinstance(name, str) and name.isascii() and len(name) < 30:
            return name.lower()
    return ""


def _cell(cell: Mapping[str, Any], language: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(piece for piece in source if isinstance(piece, str))
    if not isinstance(source, str) or not source.strip():
        return ""
    kind = cell.get("cell_type")
    if kind == "heading" and isinstance(cell.get("level"), int):
        return f"{'#' * min(max(cell['level'], 1), 6)} {source.strip()}"
    if kind != "code":
        return source.strip("\n")
    fence = "````" if "```" in source else "```"
    return f"{fence}{language}\n{source.strip(chr(10))}\n{fence}"
