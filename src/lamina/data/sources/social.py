"""Social media: networks asked live, and exports of networks and chats. A document is a thread, under pseudonyms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.readers.posts import USUAL
from lamina.data.rows import Notes, batches, followed, unforeseen
from lamina.data.social.exports import Contents, Export, contents, is_archive, opened
from lamina.data.social.files import FileReader
from lamina.data.social.threads import Tally, Writer
from lamina.data.values import moment
from lamina.kit.errors import ConfigError, DocumentError, InputError, LaminaError
from lamina.kit.registry import SOURCES

if TYPE_CHECKING:
    from lamina.data.social.live import Wanted

Places = str | tuple[str, ...] | None


@SOURCES("social", version=3)
def social(
    inbox: Inbox,
    *,
    mastodon: Places = None,
    bluesky: Places = None,
    reddit: Places = None,
    hackernews: Places = None,
    since: str | None = None,
    limit: int | None = None,
    max_posts: int = 1000,
    opted_out: bool = False,
    terms_accepted: bool = False,
    base_url: str | None = None,
    user_agent: str = "Lamina/0.1 (a document collector)",
    delay_s: float | None = None,
    allow_private: tuple[str, ...] = (),
    records: str | None = None,
    messages: str | None = None,
    fields: dict[str, str] | None = None,
    salt: str = "lamina",
    links: bool = True,
    min_posts: int = 1,
    gap_minutes: float | None = None,
) -> Iterator[pa.RecordBatch]:
    """Exports in the inbox (archives too), then the networks: ``mastodon`` "@user@host", "#tag@host", "public@host";
    ``bluesky`` a handle, "#tag", "search:words"; ``reddit`` "r/name", "u/name"; ``hackernews`` "top", "all", a user,
    "item:ID"; each also a list.

    Live: ``since`` a date, older posts are left out; ``max_posts`` of a thread; ``opted_out``: take people who ask not
    to be indexed; ``terms_accepted``: Reddit's, by you; ``base_url``: a server of your own; ``user_agent`` should say
    how to reach you; ``delay_s`` between requests (left out: what the network allows); ``allow_private``: addresses of
    your own network that may be asked. Credentials come from the environment (see ``data/social/live.py``).

    Files: ``records``: where threads or posts lie ("*": all members; left out: looked for); ``messages``: where a
    thread has its posts; ``fields``: text, title, author, created, id, parent, url, language = "path in the post" where
    the usual names don't fit.

    Both: ``limit``: the first so many documents (of each place that is asked; left out there: 1,000); ``salt`` of the
    pseudonyms (keep it to yourself: who knows it can test names); ``links``: keep the address of a thread, which may
    name its author; ``min_posts``: shorter threads are left out; ``gap_minutes``: a pause that ends a conversation in
    a channel (left out: 240 in channels and chats).
    """
    places = {"mastodon": mastodon, "bluesky": bluesky, "reddit": reddit, "hackernews": hackernews}
    options: dict[str, Any] = {
        "max_posts": max_posts,
        "opted_out": opted_out,
        "terms_accepted": terms_accepted,
        "base_url": base_url,
    }
    options |= {"user_agent": user_agent, "delay_s": delay_s, "allow_private": allow_private}
    reader = FileReader(records=records, messages=messages, fields=_checked(fields or {}), work=inbox.work)
    writer = Writer(salt=salt, min_posts=min_posts, gap_minutes=gap_minutes, links=links)
    live = _wanted(places, since, options) if any(places.values()) else None
    inbox = followed(inbox)
    yield from batches(inbox, _exported(inbox, reader, writer), limit)
    if live is not None:
        from lamina.data.social.live import live_rows

        yield from batches(inbox, live_rows(inbox, live, writer, limit), None)


def _checked(fields: dict[str, str]) -> dict[str, str]:
    for part in fields:
        if part not in USUAL:
            raise ConfigError(f"a post has no part '{part}'", where="fields", hint="known: " + ", ".join(USUAL))
    return fields


def _wanted(places: dict[str, Places], since: str | None, options: dict[str, Any]) -> Wanted:
    """What is asked of the networks, checked before anything is read."""
    from lamina.data.social.live import Wanted

    when = None if since is None else moment(since)
    if since is not None and when is None:
        raise ConfigError(f"'{since}' is no date", where="since", hint='for example "2026-01-31"')
    lists = {name: (given,) if isinstance(given, str) else tuple(given or ()) for name, given in places.items()}
    wanted = Wanted(places=lists, since=when, **options)
    wanted.check()
    return wanted


def _exported(inbox: Inbox, reader: FileReader, writer: Writer) -> Iterator[dict[str, Any]]:
    """The documents of the inbox's files, archives opened where they stand."""
    loose: list[SourceFile] = []
    for file in inbox.files:
        if not is_archive(file):
            loose.append(file)
            continue
        yield from _read(inbox, loose, reader, writer)
        loose = []
        yield from _archive(inbox, file, reader, writer)
    yield from _read(inbox, loose, reader, writer)


def _read(inbox: Inbox, files: Sequence[SourceFile], reader: FileReader, writer: Writer) -> Iterator[dict[str, Any]]:
    for export in contents(files, reader).exports if files else ():
        for file in export.files:
            inbox.report.read(file.name)
        yield from _export(inbox, export, writer)


def _archive(inbox: Inbox, file: SourceFile, reader: FileReader, writer: Writer) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        try:
            found: Contents = opened(file, reader, stack)
        except InputError as error:
            inbox.report.unread(file.name, str(error))
            return
        inbox.report.read(file.name)
        if found.left:
            inbox.report.unread(f"{file.name}, {len(found.left):,} other files", "are no posts: left alone")
        for export in found.exports:
            yield from _export(inbox, export, writer)


def _export(inbox: Inbox, export: Export, writer: Writer) -> Iterator[dict[str, Any]]:
    """The documents of one export; what is wrong with it costs it alone."""
    label = export.label or export.name
    notes, tally = Notes(inbox, label), Tally()
    try:
        for thread in export.threads(notes):
            yield from writer.rows(thread, f"{export.name}#{thread.key}", tally)
    except (DocumentError, OSError) as error:
        inbox.report.unread(label, str(error))
    except LaminaError:  # not this file's fault
        raise
    except Exception as error:
        inbox.report.unread(label, str(unforeseen(error)))
    finally:
        notes.close()
        for what, why in tally.told(writer.min_posts):
            inbox.report.unread(f"{label}, {what}", why)
