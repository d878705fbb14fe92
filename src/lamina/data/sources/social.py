"""Social media: exported posts as JSON or JSONL. A document is a thread; authors are pseudonyms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers import records as reading
from lamina.data.sources.rows import batches, first, moment, read_bytes
from lamina.kit.errors import DocumentError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import SOURCES

#: Where well-known exports keep the parts of a post; the first path that leads somewhere is taken.
_TEXT = ("text", "content", "full_text", "body", "selftext", "message", "tweet.full_text", "record.text")
_AUTHOR = ("sender", "author", "account.acct", "user.screen_name", "username", "from", "by", "account")
_TIME = ("timestamp", "created_at", "created_utc", "createdAt", "date", "time", "published", "tweet.created_at")
_THREAD = ("in_reply_to_id", "in_reply_to_status_id", "inReplyTo", "parent_id", "parent", "reply_to")
_DELETED = {"[deleted]", "[removed]", ""}


@SOURCES("social", version=1)
def social(
    inbox: Inbox,
    *,
    records: str = "*",
    messages: str = "messages",
    fields: dict[str, str] | None = None,
    salt: str = "lamina",
    limit: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """``records``: where threads or posts lie ("*": members of the top); ``messages``: a thread's posts within it.

    ``fields``: text, author, time, parent = "path in the post", where the usual names don't fit; ``salt`` of the
    pseudonyms; ``limit``: the first so many threads.
    """
    yield from batches(inbox, first(_rows(inbox, records, messages, fields or {}, salt), limit))


def _rows(inbox: Inbox, records: str, messages: str, fields: Mapping[str, str], salt: str) -> Iterator[dict[str, Any]]:
    for file in inbox.files:
        try:
            threads = list(_threads(inbox, file, records, messages, fields))
        except (DocumentError, OSError) as error:
            inbox.report.unread(file.name, str(error))
            continue
        inbox.report.read(file.name)
        gone = 0
        for key, posts in threads:
            row = _thread(f"{file.name}#{key}", posts, fields, salt)
            gone += row is None
            if row is not None:
                yield row
        if gone:
            inbox.report.unread(f"{file.name}, {gone} threads", "hold nothing but deleted or empty posts")


def _threads(
    inbox: Inbox, file: SourceFile, records: str, messages: str, fields: Mapping[str, str]
) -> Iterator[tuple[str, list[Any]]]:
    if file.path.suffix in (".jsonl", ".ndjson", ".gz", ".zst"):

        def bad(where: str, reason: str) -> None:
            inbox.report.unread(f"{file.name}, {where}", reason)

        found = reading.json_lines(file.path, bad)
    else:
        found = reading.json_document(read_bytes(file), records)
    posts: list[tuple[str, Any]] = []
    for key, record in found:
        inner = reading.dig(record, messages)
        if isinstance(inner, list):
            yield key, _flat(inner)
        else:
            posts.append((key, record))
    yield from _joined(posts, fields)


def _flat(posts: Sequence[Any]) -> list[Any]:
    """Turns may come grouped: a list of lists of posts."""
    return [p for post in posts for p in (post if isinstance(post, list) else [post])]


def _joined(posts: Sequence[tuple[str, Any]], fields: Mapping[str, str]) -> Iterator[tuple[str, list[Any]]]:
    """Single posts as threads: a reply stands with what it replies to."""
    named = {str(_id(post) or key): (key, post) for key, post in posts}
    roots: dict[str, list[Any]] = {}
    for name, (_, post) in named.items():
        root, seen = name, {name}
        while (
            parent := str(_take(named[root][1], fields.get("parent"), _THREAD) or "")
        ) in named and parent not in seen:
            root = parent
            seen.add(root)
        roots.setdefault(root, []).append(post)
    for root, thread in roots.items():
        yield named[root][0] if not _id(named[root][1]) else root, thread


def _id(post: Any) -> Any:
    return reading.dig(post, "id") or reading.dig(post, "id_str") or reading.dig(post, "tweet.id")


def _thread(key: str, posts: Sequence[Any], fields: Mapping[str, str], salt: str) -> dict[str, Any] | None:
    turns: list[tuple[str, str]] = []
    times = []
    for post in posts:
        text = str(_take(post, fields.get("text"), _TEXT) or "").strip()
        if text in _DELETED:
            continue
        author = _take(post, fields.get("author"), _AUTHOR)
        turns.append((_pseudonym(author, salt), text))
        if when := moment(_take(post, fields.get("time"), _TIME)):
            times.append(when)
    if not turns:
        return None
    authors = list(dict.fromkeys(author for author, _ in turns))
    letters = {author: chr(65 + n) if n < 26 else f"P{n}" for n, author in enumerate(authors)}
    spoken = _merged([(letters[author], text) for author, text in turns])
    text = "\n".join(f"{who}: {said}" for who, said in spoken) if len(authors) > 1 else "\n\n".join(t for _, t in turns)
    roles = {letter: "user" if n % 2 == 0 else "assistant" for n, letter in enumerate(letters.values())}
    meta: dict[str, Any] = {"posts": len(turns), "authors": authors}
    if len(authors) == 2:
        meta["messages"] = [{"role": roles[who], "content": said} for who, said in spoken]
    return {
        "key": key,
        "text": text,
        "author": authors[0] if len(authors) == 1 else None,
        "created": min(times) if times else None,
        "group_id": key,
        "position": 0,
        "meta": meta,
    }


def _merged(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbouring posts of one author are one turn."""
    merged: list[tuple[str, str]] = list(turns[:1])
    for (before, _), (who, said) in pairwise(turns):
        if who == before:
            merged[-1] = (who, f"{merged[-1][1]}\n{said}")
        else:
            merged.append((who, said))
    return merged


def _take(post: Any, path: str | None, usual: Sequence[str]) -> Any:
    for place in (path,) if path else usual:
        value = reading.dig(post, place) if isinstance(post, dict) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return value
    return post if isinstance(post, str) and usual is _TEXT else None


def _pseudonym(author: Any, salt: str) -> str:
    return "" if author is None else f"person-{blake3_hex(salt, str(author))[:10]}"
