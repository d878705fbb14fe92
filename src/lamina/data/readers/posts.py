"""Posts of social media, as their exports write them: text, author, time and place in the thread of each."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lamina.data.readers.records import dig

MAX_HTML = 1 << 20  # characters of one post; a longer one stays as it is
#: Where well-known exports keep the parts of a post; the first path that leads to something is taken.
USUAL: dict[str, tuple[str, ...]] = {
    "text": ("text", "content", "full_text", "body", "selftext", "message", "value", "record.text", "post.record.text"),
    "title": ("title", "spoiler_text", "summary"),
    "author": (
        *("sender", "author", "account.acct", "user.screen_name", "username", "from", "by", "role", "attributedTo"),
        *("user", "actor", "user_id"),
    ),
    "created": (
        *("timestamp", "created_at", "created_utc", "createdAt", "date", "time", "published", "ts", "record.createdAt"),
    ),
    "id": ("id", "id_str", "uri", "message_id", "ts"),
    "parent": (
        *("in_reply_to_id", "in_reply_to_status_id_str", "in_reply_to_status_id", "inReplyTo", "parent_id", "parent"),
        *("reply_to_message_id", "reference.messageId", "record.reply.parent.uri", "thread_ts", "reply_to"),
    ),
    "url": ("url", "permalink"),
    "language": ("language", "lang"),
}
_WRAPPED = ("tweet", "object", "data", "post")  # what stands around a post in some exports
_NAMES = ("acct", "screen_name", "handle", "username", "name", "id", "did")  # of an author that is an object
_KINDS = re.compile(r"^t[1-6]_")  # Reddit's prefix of ids
_DELETED = {"[deleted]", "[removed]", "[deleted by user]"}
_MARKED_UP = re.compile(r"<(?:p|br|a|span|div|i|b|em|strong|ul|li|blockquote|pre|code)\b[^<>]{0,2000}>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*+)[^<>]*+>")
_SHORTENED = re.compile(
    r'<a\b[^<>"]{0,200}href="(https?:[^<>"]{1,2000})"[^<>]{0,300}>[^<>]{0,500}(?:\.\.\.|…)</a>', re.I
)
_ESCAPED = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#39|#x27|#x2F);", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One post. ``text`` is None where it was deleted or holds none; ``role`` is a chat's (user, assistant, system).

    ``mentions``: people whom the text names as ``@name`` or ``u/name``; ``root``: the first post of its thread, where
    the post says it.
    """

    id: str | None
    parent: str | None
    text: str | None
    title: str | None = None
    author: str | None = None
    role: str | None = None
    created: Any = None
    url: str | None = None
    language: str | None = None
    mentions: tuple[str, ...] = ()
    root: str | None = None


def post_of(record: Any, fields: Mapping[str, str]) -> Post:
    """The post in ``record``; ``fields`` (part = "path in the record") goes before the usual places."""
    if isinstance(record, str):
        return Post(id=None, parent=None, text=record.strip() or None)
    inner = _unwrapped(record, fields)
    found = {part: _take(inner, fields.get(part), places) for part, places in USUAL.items()}
    gone = isinstance(inner, dict) and any(inner.get(sign) is True for sign in ("deleted", "dead", "removed"))
    role = dig(inner, "role") or {"human": "user", "gpt": "assistant"}.get(str(dig(inner, "from")))
    return Post(
        id=_name(found["id"]),
        parent=_name(found["parent"]),
        text=None if gone else text_of(found["text"]) or text_of(found["title"]),
        title=text_of(found["title"]),
        author=None if found["author"] is None else str(found["author"]),
        role=role if role in ("user", "assistant", "system") else None,
        created=found["created"],
        url=_web(found["url"]),
        language=found["language"] if isinstance(found["language"], str) else None,
    )


def _unwrapped(record: Any, fields: Mapping[str, str]) -> Any:
    """An export may wrap its posts: ``{"tweet": {…}}``, ActivityPub's ``{"type": "Create", "object": {…}}``."""
    if not isinstance(record, dict) or fields.get("text"):
        return record
    if not any(name in record for name in ("text", "content", "full_text", "body")):
        for name in _WRAPPED:
            if isinstance(record.get(name), Mapping):
                return record[name]
    return record


def _take(record: Any, path: str | None, usual: Sequence[str]) -> Any:
    for place in (path,) if path else usual:
        value = record.get(place) if isinstance(record, dict) else None
        if value is None and "." in place:
            value = dig(record, place)
        if value is None:
            continue
        if isinstance(value, dict):
            value = next((value[n] for n in _NAMES if isinstance(value.get(n), str | int)), None)
        if isinstance(value, list) and value:
            value = _entities(value)
        if isinstance(value, str | int | float | datetime) and not isinstance(value, bool) and value != "":
            return value
    return None


def _entities(parts: Sequence[Any]) -> str | None:
    """Text in pieces, some of them objects (a bold word, a link), as Telegram writes it."""
    pieces = [part if isinstance(part, str) else dig(part, "text") for part in parts]
    return "".join(pieces) if all(isinstance(piece, str) for piece in pieces) else None


def _name(value: Any) -> str | None:
    return None if value is None else _KINDS.sub("", str(value))


def _web(value: Any) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def text_of(value: Any) -> str | None:
    """The plain text of a post that may be written in HTML; None where it is deleted, empty or no text."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if len(text) <= MAX_HTML and _MARKED_UP.search(text):
        text = _plain(text)
    elif _ESCAPED.search(text):
        text = html.unescape(text)
    return None if text in _DELETED else text or None


def _plain(text: str) -> str:
    """The text of a post in HTML: paragraphs and line breaks, no marks. Linear in its length, whatever it holds."""
    whole = _SHORTENED.sub(lambda link: link[1], text.replace("\n", " "))
    bare = html.unescape(_TAG.sub(_break, whole))
    lines = (" ".join(line.split()) for line in bare.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _break(tag: re.Match[str]) -> str:
    """What stands in place of a tag."""
    name = tag[2].lower()
    if name == "br" or (name == "li" and not tag[1]):
        return "\n" if name == "br" else "\n- "
    return "\n\n" if name in ("p", "div", "blockquote", "pre", "ul", "ol") and not tag[1] else ""
