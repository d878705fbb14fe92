"""Social media: posts exported as JSON, JSONL or JavaScript. A document is a thread; authors are pseudonyms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers import records as reading
from lamina.data.readers.posts import USUAL, Post, post_of
from lamina.data.readers.streams import decode, kind, open_bytes, read_bytes
from lamina.data.sources.rows import Notes, batches, followed, moment, unforeseen
from lamina.kit.errors import ConfigError, DocumentError, LaminaError
from lamina.kit.identity import blake3_hex
from lamina.kit.registry import SOURCES

_THREADS = ("messages", "conversations", "turns")
_POSTS = ("orderedItems", "feed", "statuses", "data")  # where exports keep a list of posts
_TITLES = ("title", "prompt", "topic", "name", "subject")
_POST_BYTES = 500  # of a post in memory beside its text
_MAX_LOOSE = 512 << 20  # bytes in memory of the single posts of one file
_MENTION = re.compile(r"(?<![\w@/])@([\w.-]+(?:@[\w-]+\.[\w.-]+)?)")


@SOURCES("social", version=2)
def social(
    inbox: Inbox,
    *,
    records: str | None = None,
    messages: str | None = None,
    fields: dict[str, str] | None = None,
    salt: str = "lamina",
    min_posts: int = 1,
    gap_minutes: float | None = None,
    limit: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Exports of chats and networks: threads with their posts within, or posts that name what they reply to.

    ``records``: where threads or posts lie in the file ("*": all members; left out: looked for); ``messages``: where a
    thread has its posts; ``fields``: text, title, author, created, id, parent, url, language = "path in the post" where
    the usual names don't fit; ``salt`` of the pseudonyms (keep it to yourself: who knows it can test names);
    ``min_posts``: shorter threads are left out; ``gap_minutes``: a pause that ends a conversation, for channels;
    ``limit``: the first so many documents, in the order of the files.
    """
    wanted = dict(fields or {})
    for part in wanted:
        if part not in USUAL:
            raise ConfigError(f"a post has no part '{part}'", where="fields", hint="known: " + ", ".join(USUAL))
    reader = _Reader(records, messages, wanted)
    inbox = followed(inbox)
    rows = _rows(inbox, reader, _Writer(salt), min_posts, gap_minutes)
    yield from batches(inbox, rows, limit)


@dataclass(frozen=True, slots=True)
class _Thread:
    key: str
    posts: Sequence[Post]
    title: str | None = None
    known: frozenset[str] = frozenset()  # authors whose names are replaced where posts mention them
    facts: Mapping[str, Any] = field(default_factory=dict)


def _rows(
    inbox: Inbox, reader: _Reader, writer: _Writer, min_posts: int, gap_minutes: float | None
) -> Iterator[dict[str, Any]]:
    for file in inbox.files:
        notes = Notes(inbox, file.name)
        inbox.report.read(file.name)
        gone = short = 0
        try:
            for thread in reader.threads(file, notes):
                living = [post for post in thread.posts if post.text]
                gone += len(thread.posts) - len(living)
                parts = _parted(living, gap_minutes)
                for place, posts in enumerate(parts):
                    if len(posts) < min_posts:
                        short += 1
                        continue
                    key = f"{file.name}#{thread.key}"
                    named = f"{key}/{place}" if len(parts) > 1 else key
                    row = writer.row(replace(thread, posts=posts))
                    yield row | {"key": named, "group_id": key, "position": place}
        except (DocumentError, OSError) as error:
            inbox.report.unread(file.name, str(error))
        except LaminaError:  # not this file's fault
            raise
        except Exception as error:
            inbox.report.unread(file.name, str(unforeseen(error)))
        finally:
            notes.close()
            if gone:
                inbox.report.unread(f"{file.name}, {gone:,} posts", "are deleted, or hold no text")
            if short:
                inbox.report.unread(f"{file.name}, {short:,} threads", f"have fewer than {min_posts} posts")


def _parted(posts: Sequence[Post], gap_minutes: float | None) -> list[Sequence[Post]]:
    """The posts cut where nobody said anything for so long."""
    if not posts or gap_minutes is None:
        return [posts] if posts else []
    parts: list[list[Post]] = [[posts[0]]]
    for before, post in pairwise(posts):
        one, other = moment(before.created), moment(post.created)
        if one and other and abs((other - one).total_seconds()) > gap_minutes * 60:
            parts.append([])
        parts[-1].append(post)
    return list(parts)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Files to threads."""

    records: str | None
    messages: str | None
    fields: Mapping[str, str]

    def threads(self, file: SourceFile, notes: Notes) -> Iterator[_Thread]:
        """Threads that hold their posts as they come, then those that replies make of single posts."""
        loose: list[tuple[str, Post]] = []
        size = 0
        for record in self._found(file, notes):
            inner = self._inner(record.value)
            if inner is None:
                post = post_of(record.value, self.fields)
                loose.append((record.key, post))
                size += _POST_BYTES + len(post.text or "")
                if size > _MAX_LOOSE:  # which replies belong together is known only when all have been seen
                    raise DocumentError(
                        f"holds over {_MAX_LOOSE >> 20:,} MiB of single posts", hint="cut it into several files"
                    )
                continue
            posts = [post_of(item, self.fields) for item in _flat(inner)]
            facts = {k: v for k, v in record.value.items() if v is not None and not isinstance(v, list)}
            title = next((facts.pop(n) for n in _TITLES if isinstance(facts.get(n), str)), None)
            yield _Thread(record.key, posts, title, frozenset(p.author for p in posts if p.author), facts)
        yield from _joined(loose)

    def _found(self, file: SourceFile, notes: Notes) -> Iterator[reading.Record]:
        suffix = kind(file.name)
        if suffix in (".jsonl", ".ndjson"):
            with open_bytes(file.path, file.name) as stream:
                yield from reading.json_lines(stream, self.records or "", notes)
            return
        if suffix not in (".json", ".js"):
            raise DocumentError(
                f"files of the kind '{suffix}' are no exports that this source reads", hint="json, jsonl"
            )
        text, _ = decode(read_bytes(file.path, file.name))
        value = reading.json_value(reading.data_of_script(text) if suffix == ".js" else text)
        yield from reading.records_of(value, self._place(value) if self.records is None else self.records)

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


def _joined(loose: Sequence[tuple[str, Post]]) -> Iterator[_Thread]:
    """Single posts as threads: a reply stands with what it replies to, in the order of time where all have one."""
    named: dict[str, Post] = {}
    for key, post in loose:
        named[post.id if post.id and post.id not in named else f"#{key}"] = post
    roots = _roots(named)
    known = frozenset(post.author for post in named.values() if post.author)
    threads: dict[str, list[Post]] = {}
    for name, root in roots.items():
        threads.setdefault(root, []).append(named[name])
    for root, posts in threads.items():
        times = [moment(post.created) for post in posts]
        later = [post is not named[root] for post in posts]  # what began it stands first, whatever the clocks say
        keys = zip(later, times, strict=True) if all(times) else zip(later, strict=True)
        posts = [post for _, post in sorted(zip(keys, posts, strict=True), key=itemgetter(0))]
        yield _Thread(root.removeprefix("#"), posts, named[root].title, known)


def _roots(named: Mapping[str, Post]) -> dict[str, str]:
    """For each post the first of its thread; a circle of replies ends where it closes."""
    roots: dict[str, str] = {}
    for name in named:
        path: dict[str, None] = {}
        here = name
        while here not in roots:
            path[here] = None
            parent = named[here].parent
            if parent is None or parent not in named or parent in path:
                roots[here] = here
                break
            here = parent
        for passed in path:
            roots[passed] = roots[here]
    return roots


@dataclass(frozen=True, slots=True)
class _Writer:
    """Threads to rows, under pseudonyms."""

    salt: str

    def row(self, thread: _Thread) -> dict[str, Any]:
        """The document columns of a thread whose posts all have text."""
        posts = thread.posts
        names = {name: self._pseudonym(name) for name in thread.known | {p.author for p in posts if p.author}}
        said = [(post.role or post.author or "", self._said(post, names)) for post in posts]
        turns = _merged(said)
        speakers = list(dict.fromkeys(who for who, _ in turns))
        authors = [names[p] for p in dict.fromkeys(post.author for post in posts if post.author and not post.role)]
        roles, letters = _cast(speakers)
        times: list[datetime] = [when for post in posts if (when := moment(post.created))]
        languages = {post.language for post in posts}
        meta: dict[str, Any] = {"posts": len(posts), "authors": authors, "thread": dict(thread.facts) or None}
        if roles:
            meta["messages"] = [{"role": roles[who], "content": said} for who, said in turns]
        alone = len(speakers) == 1
        return {
            "text": "\n\n".join(s for _, s in said) if alone else "\n".join(f"{letters[w]}: {s}" for w, s in turns),
            "title": thread.title,
            "author": authors[0] if len(authors) == 1 else None,
            "created": min(times) if times else None,
            "language": languages.pop() if len(languages) == 1 else None,
            "url": posts[0].url,
            "meta": {k: v for k, v in meta.items() if v},
        }

    def _pseudonym(self, author: str) -> str:
        return f"person-{blake3_hex(self.salt, author)[:10]}"

    def _said(self, post: Post, names: Mapping[str, str]) -> str:
        """The text of a post with the names of known authors replaced."""
        text = post.text or ""
        if "@" not in text:
            return text
        handles = {name.partition("@")[0]: pseudonym for name, pseudonym in names.items()} | dict(names)
        return _MENTION.sub(lambda m: f"@{handles[m[1]]}" if m[1] in handles else m[0], text)


def _cast(speakers: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(role of each speaker, where there are two besides the system; letter of each)."""
    people = [speaker for speaker in speakers if speaker != "system"]
    letters = {who: chr(65 + n) if n < 26 else f"P{n + 1}" for n, who in enumerate(people)} | {"system": "System"}
    if set(people) == {"user", "assistant"}:
        return {who: who for who in speakers}, letters
    if len(people) != 2 or "" in people:
        return {}, letters
    return dict(zip(people, ("user", "assistant"), strict=True)) | {"system": "system"}, letters


def _merged(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Neighbouring posts of one author are one turn."""
    return [(who, "\n".join(said for _, said in some)) for who, some in groupby(turns, key=itemgetter(0))]
