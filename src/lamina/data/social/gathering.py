"""Single posts until all have been seen: only then is it known which replies belong together. In bounded memory."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from lamina.data.readers.posts import Post
from lamina.data.social.threads import Thread, joined
from lamina.kit.disk import storage
from lamina.kit.errors import DocumentError

MAX_LOOSE = 512 << 20  # bytes in memory of posts that do not say where their thread begins
_SPILL = 64 << 20  # bytes in memory of those that do; more of them go to the disk
_BUCKETS = 256
_POST_BYTES = 500  # of a post in memory beside its text
_FIELDS = ("id", "parent", "text", "title", "author", "role", "created", "url", "language", "mentions", "root")


class Gathering:
    """Posts one by one, then their threads.

    Posts that all name the first of their thread (``root``) are spread over files in ``work`` once they fill the
    memory, a thread whole in one of them; others are held, up to 512 MiB.
    """

    def __init__(self, work: Path | None, *, spill: int = _SPILL, buckets: int = _BUCKETS) -> None:
        self._work, self._spill, self._count = work, spill, buckets
        self._held: list[tuple[str, Post]] = []
        self._size = 0
        self._rooted = True
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._buckets: list[IO[bytes]] = []

    def add(self, key: str, post: Post) -> None:
        """Take a post, called ``key`` in its file. Raises ``DocumentError`` where there are too many to hold."""
        self._rooted = self._rooted and post.root is not None
        if self._buckets and post.root is not None:
            self._write(key, post)
            return
        self._held.append((key, post))
        self._size += _POST_BYTES + len(post.text or "")
        if self._size > self._spill and self._rooted and not self._buckets:
            self._spread()
        if self._size > MAX_LOOSE:
            raise DocumentError(f"holds over {MAX_LOOSE >> 20:,} MiB of single posts", hint="cut it into several files")

    def threads(self) -> Iterator[Thread]:
        """All threads, and an end to the files."""
        try:
            yield from joined(self._held)
            for bucket in self._buckets:
                bucket.seek(0)
                yield from joined([_read(line) for line in bucket])
        finally:
            self.close()

    def close(self) -> None:
        """Remove the files."""
        for bucket in self._buckets:
            bucket.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._buckets, self._folder, self._held = [], None, []

    def _spread(self) -> None:
        with storage("keep posts in", self._work or Path(tempfile.gettempdir())):
            if self._work is not None:
                self._work.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(prefix="posts-", dir=self._work)
            self._buckets = [(Path(self._folder.name) / str(n)).open("w+b") for n in range(self._count)]
        held, self._held, self._size = self._held, [], 0
        for key, post in held:
            self._write(key, post)

    def _write(self, key: str, post: Post) -> None:
        line = orjson.dumps(
            [key, *(getattr(post, name) for name in _FIELDS)], default=str, option=orjson.OPT_APPEND_NEWLINE
        )
        with storage("keep posts in", Path(self._folder.name if self._folder else "")):
            self._buckets[zlib.crc32((post.root or "").encode("utf-8", "replace")) % self._count].write(line)


def _read(line: bytes) -> tuple[str, Post]:
    key, *values = orjson.loads(line)
    told: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    return key, Post(**(told | {"mentions": tuple(told["mentions"])}))
