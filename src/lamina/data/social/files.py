"""Single files of posts: JSON, JSONL (also packed), JavaScript, CSV, text and CAR, told apart by what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lamina.contracts.corpus import SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.posts import Post, post_of, text_of
from lamina.data.readers.records import Bad
from lamina.data.readers.streams import decode, kind, open_bytes, read_bytes
from lamina.data.readers.tables import csv_rows
from lamina.data.social import bluesky, discord, hackernews, reddit, telegram, whatsapp
from lamina.data.social.gathering import Gathering
from lamina.data.social.threads import Thread, known_as
from lamina.kit.errors import DocumentError
from lamina.kit.jail import Jail

LINES = (".jsonl", ".ndjson")
KINDS = (*LINES, ".json", ".js", ".csv", ".txt", ".car")
_THREADS = ("messages", "conversations", "turns")
_POSTS = ("orderedItems", "feed", "statuses", "data")  # where exports keep a list of posts
_TITLES = ("title", "prompt", "topic", "name", "subject")
_PUBLIC = ("https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public")
_COMMENTED = re.compile(r"/comments/(\w{1,12})/")
_WINDOW = 1 << 31  # dumps of Reddit are packed with the longest that zstd has


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReader:
    """Files to threads. ``records``, ``messages``, ``fields``: see the source; ``work``: where many posts may lie."""

    records: str | None = None
    messages: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    work: Path | None = None

    def threads(self, files: Sequence[SourceFile], bad: Bad, *, author: str | None = None) -> Iterator[Thread]:
        """Threads that hold their posts as they come, then those that replies make of the single posts of all files.

        ``author``: who wrote the posts that name nobody.
        """
        loose = Gathering(self.work)
        try:
            faults: list[tuple[str, DocumentError]] = []
            for file in files:
                try:
                    yield from self._whole(file, f"{file.name}/" if len(files) > 1 else "", author, loose, bad)
                except DocumentError as error:  # what was read before it is good
                    faults.append((file.name, error))
            yield from loose.threads()
            if len(files) == len(faults) == 1:
                raise faults[0][1]
            for name, fault in faults:
                bad(f"file {name}", str(fault))
        finally:
            loose.close()

    def _whole(self, file: SourceFile, prefix: str, author: str | None, loose: Gathering, bad: Bad) -> Iterator[Thread]:
        """The threads that hold their posts; single posts go to ``loose``, their keys behind ``prefix``."""
        for found in self._file(file, bad):
            if isinstance(found, Thread):
                yield found
            else:
                key, post = found
                loose.add(f"{prefix}{key}", post if post.author or author is None else replace(post, author=author))

    def _file(self, file: SourceFile, bad: Bad) -> Iterator[Thread | tuple[str, Post]]:
        suffix = kind(file.name)
        if suffix in LINES or (suffix not in KINDS and file.name.lower().endswith((".zst", ".gz"))):
            with open_bytes(file.path, file.name, window=_WINDOW) as stream:
                for record in reading.json_lines(stream, self.records or "", bad):
                    yield self._record(record)
        elif suffix == ".csv":
            for record in csv_rows(file.path, file.name, bad):
                yield record.key, self._post(record.value)
        elif suffix == ".car":
            with Jail(workers=1) as jail:
                for post in jail.call("lamina.data.social.car:read", {}, read_bytes(file.path, file.name)):
                    yield post["uri"], self._post(post)
        elif suffix in (".json", ".js"):
            text, _ = decode(read_bytes(file.path, file.name))
            yield from self._json(reading.json_value(reading.data_of_script(text) if suffix == ".js" else text), bad)
        elif suffix == ".txt":
            text, _ = decode(read_bytes(file.path, file.name))
            if not whatsapp.is_export(text):
                raise DocumentError("is a text, but no export of a chat", hint='the source "files" reads texts')
            yield from whatsapp.exported(text)
        else:
            hint = ", ".join(known[1:] for known in KINDS) + ", zip, tar"
            raise DocumentError(f"files of the kind '{suffix}' are no exports that this source reads", hint=hint)

    def _json(self, value: Any, bad: Bad) -> Iterator[Thread | tuple[str, Post]]:
        if self.records is None and self.messages is None:
            if discord.is_export(value):
                yield from discord.exported(value, bad)
                return
            if telegram.is_export(value):
                yield from telegram.exported(value)
                return
        for record in reading.records_of(value, self._place(value) if self.records is None else self.records):
            yield self._record(record)

    def _record(self, record: reading.Record) -> Thread | tuple[str, Post]:
        """A thread where the record holds its posts, else the post that it is."""
        inner = self._inner(record.value)
        if inner is None:
            return record.key, self._post(record.value)
        posts = [post_of(item, self.fields) for item in _flat(inner)]
        facts = {k: v for k, v in record.value.items() if v is not None and not isinstance(v, list)}
        title = next((facts.pop(n) for n in _TITLES if isinstance(facts.get(n), str)), None)
        return Thread(key=record.key, posts=posts, title=title, known=known_as(p.author for p in posts), facts=facts)

    def _post(self, record: Any) -> Post:
        if self.fields or not isinstance(record, dict):
            return post_of(record, self.fields)
        if reddit.is_reddit(record):
            return reddit.post_of_reddit(record)
        if hackernews.is_item(record):
            return hackernews.post_of_item(record)
        view = record.get("post", record)
        if bluesky.is_view(view):
            return bluesky.post_of_view(view)
        if "permalink" in record and "subreddit" in record and "created_utc" not in record:
            return _own_reddit(record)
        tweet = record.get("tweet", record)
        if isinstance(tweet, dict) and "full_text" in tweet:
            return _tweet(tweet)
        return _of_activity(record)

    def _place(self, value: Any) -> str:
        """Where the threads or posts of a JSON file seem to lie."""
        if not isinstance(value, Mapping) or self._inner(value) is not None:
            return ""
        named = next((name for name in _POSTS if isinstance(value.get(name), list)), None)
        return named or reading.suggest(value) or ""

    def _inner(self, record: Any) -> list[Any] | None:
        """The posts of a thread; None where the record is a post itself."""
        for path in (self.messages,) if self.messages else _THREADS:
            found = reading.dig(record, path) if isinstance(record, Mapping) else None
            if isinstance(found, list):
                return found
        return None


def _flat(posts: Sequence[Any]) -> Iterator[Any]:
    """Turns may come grouped: a list of lists of posts."""
    for post in posts:
        yield from post if isinstance(post, list) else [post]


def _of_activity(record: Mapping[str, Any]) -> Post:
    """A post of any kind; in an ActivityPub outbox, what went to some people only is none, and mentions are tags."""
    post = post_of(record, {})
    wrapped = record.get("object")
    inner = wrapped if isinstance(wrapped, dict) else record
    told = [name for side in ("to", "cc") for name in _listed(inner.get(side))]
    if isinstance(inner.get("to"), list) and inner.get("attributedTo") and not any(name in _PUBLIC for name in told):
        return replace(post, text=None)
    tags = [
        tag.get("name") for tag in _listed(inner.get("tag")) if isinstance(tag, dict) and tag.get("type") == "Mention"
    ]
    people = [person.get("acct") for person in _listed(inner.get("mentions")) if isinstance(person, dict)]
    names = tuple(name.removeprefix("@") for name in (*tags, *people) if isinstance(name, str))
    return replace(post, mentions=names) if names else post


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _tweet(tweet: Mapping[str, Any]) -> Post:
    """A post of X's archive: short links written out; a repost is somebody else's and stands without text."""
    post = post_of(tweet, {})
    told = tweet.get("entities")
    entities = told if isinstance(told, dict) else {}
    text = post.text or ""
    for link in _listed(entities.get("urls"))[:50]:
        short, long = (link.get("url"), link.get("expanded_url")) if isinstance(link, dict) else (None, None)
        if isinstance(short, str) and short and isinstance(long, str):
            text = text.replace(short, long)
    people = [person for person in _listed(entities.get("user_mentions")) if isinstance(person, dict)]
    names = tuple(str(person["screen_name"]) for person in people if isinstance(person.get("screen_name"), str))
    gone = text.startswith("RT @")
    return replace(post, text=None if gone else text or None, mentions=names)


def _own_reddit(record: Mapping[str, Any]) -> Post:
    """A row of what Reddit hands out to a person: own submissions (``title``) and comments (``parent``)."""
    id, parent, date = record.get("id"), record.get("parent"), str(record.get("date") or "")
    title, link = text_of(record.get("title")), _COMMENTED.search(str(record.get("permalink") or ""))
    comment = "title" not in record
    above = f"t1_{parent}" if parent else f"t3_{link[1]}" if link else None
    return Post(
        id=f"t{1 if comment else 3}_{id}",
        parent=above if comment else None,
        text=text_of(record.get("body")) or title,
        title=title,
        created=date.replace(" UTC", "+00:00"),
        root=(f"t3_{link[1]}" if link else f"t1_{id}") if comment else f"t3_{id}",
    )
