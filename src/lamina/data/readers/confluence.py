"""Confluence's space exports as XML (entities.xml): the current pages and blog posts as text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from lamina.data.readers.markup import parse_page, refuse_entities, text_of
from lamina.data.readers.ooxml import child, tag
from lamina.kit.errors import DocumentError

_KINDS = ("Page", "BlogPost")
_CODE = re.compile(r"<ac:plain-text-body>\s*<!\[CDATA\[(.*?)\]\]>\s*</ac:plain-text-body>", re.DOTALL)
_PARAMETER = re.compile(r"<ac:parameter\b[^<>]*>[^<]*</ac:parameter>")
_LINK = re.compile(r"<ri:page\b[^<>]*ri:content-title=\"([^\"<>]*)\"[^<>]*/>(?=\s*</ac:link>)")


def is_export(head: bytes) -> bool:
    """Whether a file that begins so is such an export."""
    return b"<hibernate-generic" in head[:4096]


def read(payload: dict[str, Any], data: bytes | None) -> dict[str, Any]:
    """``{"documents": [{"key", "text", "title", "created", "group_id", "meta"}], "unread": [[where, reason]]}``.

    Old versions, drafts and comments are left out; authors are numbers in the export and are not kept.
    """
    pages: dict[str, dict[str, Any]] = {}
    bodies: dict[str, str] = {}
    spaces: dict[str, str] = {}
    for element in _objects(data or b""):
        facts = {e.get("name") or "": e for e in element if tag(e) in ("property", "collection")}
        name, kind = _id(element), element.get("class") or ""
        if kind == "Space":
            spaces[name] = _value(facts, "name") or _value(facts, "key") or name
        elif kind == "BodyContent":
            bodies[_reference(facts, "content")] = _value(facts, "body") or ""
        elif kind in _KINDS and _value(facts, "contentStatus") == "current" and "originalVersion" not in facts:
            created = (_value(facts, "creationDate") or "").replace(" ", "T")
            space = _reference(facts, "space")
            pages[name] = {"title": _value(facts, "title"), "created": created or None, "space": space}
    documents, unread = [], []
    for name, page in pages.items():
        group = spaces.get(page.pop("space"))
        try:
            text = storage_text(bodies.get(name, ""), name)
        except DocumentError as error:
            unread.append([f"page {name}", error.what])
            continue
        if text.strip():
            documents.append({"key": name, "text": text, "group_id": group, **page})
        else:
            unread.append([f"page {name}", "holds no text"])
    if not documents:
        raise DocumentError("holds no current page with text")
    return {"documents": documents, "unread": unread}


def storage_text(body: str, name: str) -> str:
    """The text of a page in Confluence's storage format; code is kept as it stands."""
    if not body.strip():
        return ""
    body = _CODE.sub(lambda m: f"<pre>{_escaped(m[1])}</pre>", body)
    body = _LINK.sub(lambda m: m[1], _PARAMETER.sub("", body))
    spaces = 'xmlns:ac="http://atlassian.com/content" xmlns:ri="http://atlassian.com/resource/identifier"'
    return text_of(parse_page(f"<html {spaces}><body>{body}</body></html>".encode(), f"page {name}"))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _objects(data: bytes) -> Iterator[Any]:
    from lxml import etree

    refuse_entities(data, "the export")
    try:
        for _, element in etree.iterparse(
            io.BytesIO(data), events=("end",), tag="object", resolve_entities=False, no_network=True, load_dtd=False
        ):
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise DocumentError(f"is malformed: {str(error)[:200]}") from error


def _id(element: Any) -> str:
    found = child(element, "id")
    return (found.text or "").strip() if found is not None else ""


def _value(facts: dict[str, Any], name: str) -> str | None:
    element = facts.get(name)
    return (element.text or None) if element is not None else None


def _reference(facts: dict[str, Any], name: str) -> str:
    element = facts.get(name)
    return _id(element) if element is not None else ""
