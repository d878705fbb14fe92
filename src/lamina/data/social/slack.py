"""Slack's export: a folder for each channel, a JSON file for each day; threads are named by their first post's time."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamina.contracts.corpus import SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.posts import Post
from lamina.data.readers.records import Bad
from lamina.data.readers.streams import decode, read_bytes
from lamina.data.social.threads import Thread, ordered
from lamina.kit.errors import DocumentError
from lamina.kit.identity import blake3_hex

_DAY = re.compile(r"((?:.*/)?)([^/]+)/\d{4}-\d\d-\d\d\.json")
_LISTS = ("channels.json", "groups.json", "dms.json", "mpims.json", "users.json")
_SPOKEN = (None, "bot_message", "thread_broadcast", "me_message", "file_share", "tombstone")
_MARK = re.compile(r"<([@#!])?([^<>|]{1,2000})(?:\|([^<>]{0,2000}))?>")
_MOST = 2_000_000  # messages of one channel in memory


def claim(names: Sequence[str]) -> str | None:
    """The folder of an export among these files ("" for their own); None where there is none."""
    there = set(names)
    for name in names:
        match = _DAY.fullmatch(name)
        if match and any(f"{match[1]}{listed}" in there for listed in _LISTS):
            return match[1]
    return None


def threads(files: Mapping[str, SourceFile], root: str, bad: Bad) -> Iterator[Thread]:
    """The threads and conversations of every channel; what people are called comes from users.json, if it is there."""
    people = _people(_listed(files, f"{root}users.json", bad))
    lists = [record for listed in _LISTS[:2] for record in _listed(files, f"{root}{listed}", bad)]
    channels = {str(record.get("name")) for record in lists}
    days: dict[str, list[str]] = {}
    for name in sorted(files):
        match = _DAY.fullmatch(name)
        if match and match[1] == root:
            days.setdefault(match[2], []).append(name)
    for channel, some in days.items():
        posts: dict[str, tuple[Post, str | None]] = {}
        for name in some:
            for message in _listed(files, name, bad):
                post, thread = _post(message)
                if post is not None:
                    posts.setdefault(post.id or f"{name}#{len(posts)}", (post, thread))
            if len(posts) > _MOST:
                raise DocumentError(f"the channel {channel} holds over {_MOST:,} messages", hint="export fewer days")
        yield from _channel(channel, channel in channels, posts, people)


def _channel(
    channel: str, named: bool, posts: Mapping[str, tuple[Post, str | None]], people: Mapping[str, str]
) -> Iterator[Thread]:
    """A thread for each post with replies; the rest is one stream. Folders of private talks bear people's names."""
    key = channel if named else blake3_hex(channel)[:12]
    title = channel if named else None
    answered = dict.fromkeys(thread for _, thread in posts.values() if thread is not None and thread in posts)
    replies: dict[str, list[Post]] = {first: [] for first in answered}
    stream: list[Post] = []
    for id, (post, thread) in posts.items():
        first = thread if thread in answered else id if id in answered else None
        (stream if first is None else replies[first]).append(post)
    facts = {"network": "slack"} | ({"channel": title} if title else {})
    for first, some in replies.items():
        inside = ordered(some, posts[first][0])
        yield Thread(key=f"{key}/{first}", posts=inside, title=title, known=people, facts=facts, channel=False)
    if stream:
        yield Thread(key=key, posts=stream, title=title, known=people, facts=facts, channel=True)


def _listed(files: Mapping[str, SourceFile], name: str, bad: Bad) -> list[dict[str, Any]]:
    """The objects of a file that holds a list; a file that cannot be read costs itself alone."""
    file = files.get(name)
    if file is None:
        return []
    try:
        value = reading.json_value(decode(read_bytes(file.path, file.name))[0])
        if not isinstance(value, list):
            raise DocumentError("holds no list")
    except DocumentError as error:
        bad(name, str(error))
        return []
    return [record for record in value if isinstance(record, dict)]


def _people(users: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    known: dict[str, str] = {}
    for user in users:
        profile = user.get("profile")
        told = profile if isinstance(profile, dict) else {}
        id = user.get("id")
        if isinstance(id, str):
            names = (id, user.get("name"), told.get("display_name"), told.get("real_name"))
            known |= {name: id for name in names if isinstance(name, str) and name}
    return known


def _post(message: Mapping[str, Any]) -> tuple[Post | None, str | None]:
    """A message and the thread it replies in; None for joins, topics and the like."""
    if message.get("subtype") not in _SPOKEN or not isinstance(message.get("ts"), str | int | float):
        return None, None
    ts, thread = str(message["ts"]), message.get("thread_ts")
    author = next((message[n] for n in ("user", "bot_id", "username") if isinstance(message.get(n), str)), None)
    said = message.get("text")
    gone = message.get("subtype") == "tombstone" or not isinstance(said, str)
    mentions: list[str] = []
    text = None if gone else html.unescape(_MARK.sub(lambda mark: _shown(mark, mentions), str(said))).strip()
    parent = str(thread) if isinstance(thread, str | int | float) and str(thread) != ts else None
    post = Post(
        id=ts, parent=parent, text=text or None, author=author, created=ts, mentions=tuple(mentions), root=parent or ts
    )
    return post, parent


def _shown(mark: re.Match[str], mentions: list[str]) -> str:
    """Slack's markup: people and channels by their ids, groups, addresses with a label."""
    sign, target, label = mark.groups()
    if sign == "@":
        mentions.append(target)
        return f"@{target}"
    if sign == "#":
        return f"#{label or target}"
    if sign == "!":
        name = label or target.partition("^")[0]
        return name if name.startswith("@") else f"@{name}"
    address = target.removeprefix("mailto:")
    return address if not label or label in (address, target) else f"{label} ({address})"
