"""Threads of posts, and the documents that they become: kept together, in order, under pseudonyms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from lamina.data.readers.posts import Post
from lamina.data.values import moment
from lamina.kit.identity import blake3_hex

PAUSE_MINUTES = 240.0  # without a message end a conversation in a channel
_MENTION = re.compile(r"(?<![\w@/])(@|/?u/)([\w.-]+(?:@[\w-]+\.[\w.-]+)?)")
_NAMES = 500_000  # pseudonyms kept in memory
_MENTIONS = 200  # names of one post that are replaced one by one because they hold spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Posts that belong together, the first of them first.

    ``known``: what people are called in texts = the author it is. ``channel``: True for a stream of messages, cut at
    long pauses; False for replies to one post, never cut; None where nobody can tell, cut where it is asked for.
    ``left``: posts of the thread that were not fetched.
    """

    key: str
    posts: Sequence[Post]
    title: str | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    rights: str | None = None
    channel: bool | None = None
    left: int = 0


@dataclass(slots=True)
class Tally:
    """What was left out, to be told once."""

    gone: int = 0
    short: int = 0
    left: int = 0

    def told(self, min_posts: int) -> Iterator[tuple[str, str]]:
        """(how many of what, why) for each sort."""
        if self.gone:
            yield f"{self.gone:,} posts", "are deleted, or hold no text"
        if self.short:
            yield f"{self.short:,} threads", f"have fewer than {min_posts} posts"
        if self.left:
            yield f"{self.left:,} posts", "were not fetched: their threads are longer than max_posts"


def known_as(authors: Iterable[str | None]) -> dict[str, str]:
    """What people may be called in texts: by their whole name, and by the part before the host."""
    names = dict.fromkeys(author for author in authors if author)
    return {name.partition("@")[0]: name for name in names} | {name: name for name in names}


def joined(loose: Sequence[tuple[str, Post]], known: Mapping[str, str] | None = None) -> Iterator[Thread]:
    """Single posts as threads: a reply stands with what it replies to, in the order of time where all have one."""
    named: dict[str, Post] = {}
    for key, post in loose:
        named[post.id if post.id and post.id not in named else f"#{key}"] = post
    threads: dict[str, list[Post]] = {}
    for name, root in roots(named).items():
        threads.setdefault(root, []).append(named[name])
    people = known_as(post.author for post in named.values()) if known is None else known
    for root, posts in threads.items():
        first = named[root]
        yield Thread(
            key=root.removeprefix("#"), posts=ordered(posts, first), title=first.title, known=people, channel=False
        )


def ordered(posts: Sequence[Post], first: Post) -> list[Post]:
    """What began the thread stands first, whatever the clocks say; the rest by time where every post has one.

    What is deleted comes last: it has no time, and nobody reads it.
    """
    living = [post for post in posts if post.text or post is first]
    times = [moment(post.created) for post in living]
    later = [post is not first for post in living]
    keys = zip(later, times, strict=True) if all(times) else zip(later, strict=True)
    gone = [post for post in posts if not post.text and post is not first]
    return [post for _, post in sorted(zip(keys, living, strict=True), key=itemgetter(0))] + gone


def roots(named: Mapping[str, Post]) -> dict[str, str]:
    """For each post the first of its thread; a circle of replies ends where it closes."""
    found: dict[str, str] = {}
    for name in named:
        path: dict[str, None] = {}
        here = name
        while here not in found:
            path[here] = None
            parent = named[here].parent
            if parent is None or parent not in named or parent in path:
                found[here] = here
                break
            here = parent
        for passed in path:
            found[passed] = found[here]
    return found


def parted(posts: Sequence[Post], gap_minutes: float | None) -> list[list[Post]]:
    """The posts cut where nobody said anything for so long; a reply stays with what it replies to."""
    if not posts or gap_minutes is None:
        return [list(posts)] if posts else []
    parts: list[list[Post]] = []
    places: dict[str, int] = {}  # post: its part
    before: datetime | None = None
    for post in posts:
        now = moment(post.created)
        place = places.get(post.parent) if post.parent else None
        if place is None:
            if not parts or (before and now and abs((now - before).total_seconds()) > gap_minutes * 60):
                parts.append([])
            place = len(parts) - 1
        if place == len(parts) - 1:
            before = now or before
        parts[place].append(post)
        if post.id:
            places.setdefault(post.id, place)
    return parts


@dataclass(slots=True)
class Writer:
    """Threads to rows of documents. ``links``: whether a document keeps the address of its first post."""

    salt: str
    min_posts: int = 1
    gap_minutes: float | None = None
    links: bool = True
    _names: dict[str, str] = field(default_factory=dict)

    def rows(self, thread: Thread, name: str, tally: Tally) -> Iterator[dict[str, Any]]:
        """The documents of a thread, called ``name``: one, or one for each conversation of a channel."""
        living = [post for post in thread.posts if post.text]
        tally.gone += len(thread.posts) - len(living)
        tally.left += thread.left
        gap = self.gap_minutes if self.gap_minutes is not None else PAUSE_MINUTES if thread.channel else None
        parts = parted(living, None if thread.channel is False else gap)
        taken: set[str] = set()
        for place, posts in enumerate(parts):
            if len(posts) < self.min_posts:
                tally.short += 1
                continue
            own = str(place)
            if thread.channel and posts[0].id and posts[0].id not in taken:
                own = posts[0].id  # so that a later export of the channel calls the conversation the same
            taken.add(own)
            key = f"{name}/{own}" if len(parts) > 1 or thread.channel else name
            yield self._row(replace(thread, posts=posts)) | {"key": key, "group_id": name, "position": place}

    def _row(self, thread: Thread) -> dict[str, Any]:
        """The document columns of a thread whose posts all have text."""
        posts = thread.posts
        said = [(post.role or post.author or "", self._said(post, thread.known)) for post in posts]
        turns = _merged(said)
        speakers = list(dict.fromkeys(who for who, _ in turns))
        people = dict.fromkeys(post.author for post in posts if post.author and not post.role)
        authors = [self._pseudonym(person) for person in people]
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
            "url": posts[0].url if self.links else None,
            "rights": thread.rights,
            "meta": {k: v for k, v in meta.items() if v},
        }

    def _pseudonym(self, author: str) -> str:
        name = self._names.get(author)
        if name is None:
            if len(self._names) >= _NAMES:
                self._names.clear()
            name = self._names[author] = f"person-{blake3_hex(self.salt, author)[:10]}"
        return name

    def _said(self, post: Post, known: Mapping[str, str]) -> str:
        """The text of a post with the names of people replaced where it addresses them."""
        text = post.text or ""
        if "@" not in text and "u/" not in text:
            return text
        own = known_as(post.mentions)
        spaced = sorted((name for name in post.mentions if " " in name), key=len, reverse=True)
        for name in spaced[:_MENTIONS]:
            text = text.replace(f"@{name}", f"@{self._pseudonym(known.get(name, name))}")

        def replaced(match: re.Match[str]) -> str:
            name = match[2].rstrip(".-")
            person = known.get(own[name], own[name]) if name in own else known.get(name)
            return match[0] if person is None else f"{match[1]}{self._pseudonym(person)}{match[2][len(name) :]}"

        return _MENTION.sub(replaced, text)


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
