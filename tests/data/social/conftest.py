"""Networks on this machine that behave as the real ones do, and a collector of what they give."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamina.contracts.corpus import Inbox, SourceFile
from lamina.data.social.live import Wanted, live_rows
from lamina.data.social.threads import Writer
from lamina.data.sources.social import social

sys.path.insert(0, str(Path(__file__).parent))

from server_base import Clock, Server
from server_bluesky import BlueskyServer
from server_hackernews import HackerNewsServer
from server_mastodon import MastodonServer
from server_reddit import RedditServer

CREDENTIALS = {
    "LAMINA_REDDIT_CLIENT_ID": "client",
    "LAMINA_REDDIT_CLIENT_SECRET": "secret",
    "LAMINA_REDDIT_USER": "tester",
    "LAMINA_BLUESKY_HANDLE": "me.example.org",
    "LAMINA_BLUESKY_PASSWORD": "abcd-efgh",
}


@dataclass
class Live:
    """The rows that came, and what was said."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> None:
        self.names.append(name)

    def unread(self, name: str, reason: str) -> None:
        self.reasons.setdefault(name, reason)

    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    def keys(self) -> list[str]:
        return [row["key"] for row in self.rows]


def meta(row: dict[str, Any]) -> dict[str, Any]:
    return orjson.loads(row["meta"]) if isinstance(row["meta"], str) else row["meta"]


Gather = Callable[..., Live]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gather(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Gather:
    """``gather(server, mastodon="@a@b", work=folder, stop=3, limit=…, since=…)``; ``stop``: is killed after so many."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)

    def run(
        server: Server,
        *,
        work: Path | None = None,
        limit: int | None = None,
        stop: int | None = None,
        into: Live | None = None,
        min_posts: int = 1,
        mastodon: str = "",
        bluesky: str = "",
        reddit: str = "",
        hackernews: str = "",
        **options: Any,
    ) -> Live:
        given = {"mastodon": mastodon, "bluesky": bluesky, "reddit": reddit, "hackernews": hackernews}
        told: dict[str, Any] = {"terms_accepted": True, "user_agent": "tests/1.0", "delay_s": 0.0} | options
        wanted = Wanted(
            places={network: (place,) for network, place in given.items() if place},
            base_url=server.url,
            allow_private=("127.0.0.1",),
            sleep=clock.sleep,
            now=clock.now,
            clock=clock.now,
            **told,
        )
        wanted.check()
        found = into if into is not None else Live()
        when = datetime(2026, 1, 2, tzinfo=UTC)
        inbox = Inbox(source="mine", files=(), origin="", collected=when, report=found, work=work)
        rows = live_rows(inbox, wanted, Writer(salt="s", min_posts=min_posts), limit)
        for row in rows:
            found.rows.append(row)
            if stop is not None and len(found.rows) >= stop:
                rows.close()  # type: ignore[attr-defined]
                break
        return found

    return run


def _server(kind: type[Server]) -> Any:
    @pytest.fixture
    def server(clock: Clock) -> Iterator[Server]:
        made = kind(clock)  # type: ignore[call-arg]
        yield made
        made.close()

    return server


mastodon = _server(MastodonServer)
bluesky = _server(BlueskyServer)
reddit = _server(RedditServer)
hackernews = _server(HackerNewsServer)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Live]:
    """``read({"slack.zip": {"users.json": […]}, "chat.txt": "…"}, gap_minutes=60)``: an object is an archive."""

    def run(contents: dict[str, Any], *, work: Path | None = None, **parameters: Any) -> Live:
        files = []
        for name, content in contents.items():
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(zipped(content) if isinstance(content, dict) else raw(content))
            files.append(SourceFile(name=name, path=path))
        found = Live()
        when = datetime(2026, 1, 2, tzinfo=UTC)
        inbox = Inbox(source="mine", files=tuple(files), origin="box", collected=when, report=found, work=work)
        for batch in social(inbox, **parameters):
            found.rows += batch.to_pylist()
        if work is not None and work.exists():
            assert not list(work.iterdir()), "nothing unpacked is left"
        return found

    return run


def raw(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return content.encode() if isinstance(content, str) else orjson.dumps(content)


def zipped(members: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, raw(content))
    return buffer.getvalue()
