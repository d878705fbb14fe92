"""Telegram Desktop's export (result.json): one chat, or all of them under ``chats.list``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lamina.data.readers.posts import Post
from lamina.data.social.threads import Thread

_PRIVATE = ("personal_chat", "bot_chat", "saved_messages", "private_group")  # named after people, or by them
_TYPES = (
    *("personal_chat", "bot_chat", "saved_messages", "private_group", "private_supergroup", "public_supergroup"),
    *("private_channel", "public_channel"),
)


def is_export(value: Any) -> bool:
    """Whether a JSON value is an export of Telegram's."""
    if not isinstance(value, dict):
        return False
    chats = value.get("chats")
    if isinstance(chats, dict) and isinstance(chats.get("list"), list):
        return True
    return value.get("type") in _TYPES and isinstance(value.get("messages"), list)


def exported(value: Mapping[str, Any]) -> Iterator[Thread]:
    """Each chat as a stream of messages; those about the chat itself (joins, calls, pins) are no messages."""
    chats = value["chats"]["list"] if "chats" in value else [value]
    left = value.get("left_chats")
    chats = [*chats, *left["list"]] if isinstance(left, dict) and isinstance(left.get("list"), list) else chats
    for number, chat in enumerate(chats):
        messages = chat.get("messages") if isinstance(chat, dict) else None
        if not isinstance(messages, list):
            continue
        people: dict[str, str] = {}
        told = [m for m in messages if isinstance(m, dict) and m.get("type", "message") == "message"]
        posts = [_post(message, people) for message in told]
        name = chat.get("name")
        title = name if isinstance(name, str) and chat.get("type") not in _PRIVATE else None
        facts = {"network": "telegram", "kind": str(chat.get("type"))}
        if posts:
            key = str(chat.get("id", number))
            yield Thread(key=key, posts=posts, title=title, known=people, facts=facts, channel=True)


def _post(message: Mapping[str, Any], people: dict[str, str]) -> Post:
    author, name, id = message.get("from_id"), message.get("from"), message.get("id")
    person = str(author) if isinstance(author, str | int) else name if isinstance(name, str) else None
    if person is not None and isinstance(name, str):
        people.setdefault(name, person)
    text, mentions = _text(message)
    parent = message.get("reply_to_message_id")
    return Post(
        id=str(id) if isinstance(id, str | int) else None,
        parent=str(parent) if isinstance(parent, str | int) else None,
        text=text,
        author=person,
        created=message.get("date_unixtime") or message.get("date"),
        mentions=mentions,
    )


def _text(message: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """A text comes whole, or in pieces of which some are objects; names of people without a handle are pieces too."""
    pieces = message.get("text_entities") or message.get("text")
    if isinstance(pieces, str):
        return pieces.strip() or None, ()
    said, mentions = [], []
    for piece in pieces if isinstance(pieces, list) else ():
        text = piece.get("text") if isinstance(piece, dict) else piece
        if not isinstance(text, str):
            continue
        kind = piece.get("type") if isinstance(piece, dict) else None
        if kind == "mention":
            mentions.append(text.removeprefix("@"))
        elif kind == "mention_name" and isinstance(piece.get("user_id"), int | str):
            text = f"@user{piece['user_id']}"
            mentions.append(text[1:])
        said.append(text)
    return "".join(said).strip() or None, tuple(mentions)
