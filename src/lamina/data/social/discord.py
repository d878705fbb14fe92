"""Discord: the JSON of DiscordChatExporter (a channel a file), and the data package that Discord itself hands out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamina.contracts.corpus import SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.posts import Post, text_of
from lamina.data.readers.records import Bad
from lamina.data.readers.streams import decode, read_bytes
from lamina.data.readers.tables import csv_rows
from lamina.data.social.threads import Thread
from lamina.kit.errors import DocumentError

_PLACE = re.compile(r"((?:.*/)?[Mm]essages/)c?(\d+)/(?:messages\.(?:json|csv)|channel\.json)")
_SPOKEN = (None, "Default", "Reply", "ThreadStarterMessage", "ChatInputCommand", "ContextMenuCommand")
_MARK = re.compile(r"<(@!?|@&|#|a?:\w{1,40}:)(\d{1,25})>")


def is_export(value: Any) -> bool:
    """Whether a JSON value is a channel that DiscordChatExporter wrote."""
    return isinstance(value, dict) and all(name in value for name in ("guild", "channel", "messages"))


def exported(value: Mapping[str, Any], bad: Bad) -> Iterator[Thread]:
    """The channel as a stream of messages."""
    channel = value["channel"] if isinstance(value["channel"], dict) else {}
    messages = value["messages"] if isinstance(value["messages"], list) else []
    people: dict[str, str] = {}
    posts = []
    for message in messages:
        if isinstance(message, dict) and message.get("type") in _SPOKEN:
            posts.append(_post(message, people))
    private = "Direct" in str(channel.get("type"))  # its name is a person's
    title = None if private else text_of(channel.get("name"))
    facts = {"network": "discord"} | ({"channel": title} if title else {})
    if posts:
        key = str(channel.get("id") or "channel")
        yield Thread(key=key, posts=posts, title=title, known=people, facts=facts, channel=True)


def _post(message: Mapping[str, Any], people: dict[str, str]) -> Post:
    author = _person(message.get("author"), people)
    told = message.get("mentions")
    named = [person for person in told if isinstance(person, dict)] if isinstance(told, list) else []
    mentions = []
    for person in named:
        _person(person, people)
        mentions += [person[n] for n in ("nickname", "name") if isinstance(person.get(n), str) and person[n]]
    reference = message.get("reference")
    parent = reference.get("messageId") if isinstance(reference, dict) else None
    text, more = _text(message.get("content"))
    return Post(
        id=str(message["id"]) if message.get("id") is not None else None,
        parent=str(parent) if parent is not None else None,
        text=text,
        author=author,
        created=message.get("timestamp"),
        mentions=(*dict.fromkeys(mentions), *more),
    )


def _person(person: Any, people: dict[str, str]) -> str | None:
    """Who it is, by id; the names that texts may use are remembered."""
    if not isinstance(person, dict):
        return None
    names = [str(person[n]) for n in ("id", "name", "nickname") if isinstance(person.get(n), str | int)]
    for name in names:
        people.setdefault(name, names[0])
    return names[0] if names else None


def _text(content: Any) -> tuple[str | None, tuple[str, ...]]:
    """A message's text with Discord's markup made readable, and the people that it names."""
    if not isinstance(content, str):
        return None, ()
    mentions: list[str] = []

    def shown(mark: re.Match[str]) -> str:
        if mark[1] in ("@", "@!"):
            mentions.append(mark[2])
        return mark[1].removeprefix("a") if mark[1].endswith(":") else f"{mark[1][0]}{mark[2]}"

    return _MARK.sub(shown, content).strip() or None, tuple(mentions)


def claim(names: Sequence[str]) -> str | None:
    """The folder of messages of a data package among these files; None where there is none."""
    there = set(names)
    for name in names:
        match = _PLACE.fullmatch(name)
        if match and (f"{match[1]}index.json" in there or name.endswith("channel.json")):
            return match[1]
    return None


def threads(files: Mapping[str, SourceFile], root: str, bad: Bad) -> Iterator[Thread]:
    """What the package's owner wrote (it holds nothing of anybody else), a stream for each channel."""
    titles = _json(files, f"{root}index.json", dict, bad)
    for name in sorted(files):
        match = _PLACE.fullmatch(name)
        if match is None or match[1] != root or name.endswith("channel.json"):
            continue
        try:
            messages = _messages(files, name, bad)
        except DocumentError as error:
            bad(name, str(error))
            continue
        posts = []
        for message in messages:
            text, mentions = _text(message.get("Contents"))
            id = message.get("ID")
            made = message.get("Timestamp")
            posts.append(
                Post(
                    id=str(id) if isinstance(id, str | int) else None,
                    parent=None,
                    text=text,
                    author="self",
                    created=made,
                    mentions=mentions,
                )
            )
        posts.sort(key=lambda post: (len(post.id or ""), post.id or ""))  # ids are times; the package has them reversed
        title = titles.get(match[2])
        title = title if isinstance(title, str) and not title.startswith("Direct Message") else None
        if posts:
            yield Thread(key=f"c{match[2]}", posts=posts, title=title, facts={"network": "discord"}, channel=True)


def _messages(files: Mapping[str, SourceFile], name: str, bad: Bad) -> list[Mapping[str, Any]]:
    if name.endswith(".csv"):
        return [record.value for record in csv_rows(files[name].path, files[name].name, bad)]
    return [message for message in _json(files, name, list, bad) if isinstance(message, dict)]


def _json(files: Mapping[str, SourceFile], name: str, kind: type, bad: Bad) -> Any:
    """The value of a JSON file, if it is of ``kind``; an empty one where it cannot be read."""
    if name not in files:
        return kind()
    try:
        value = reading.json_value(decode(read_bytes(files[name].path, name))[0])
        if not isinstance(value, kind):
            raise DocumentError(f"holds no {'list' if kind is list else 'object'}")
    except DocumentError as error:
        bad(name, str(error))
        return kind()
    return value
