"""What a crawl has fetched, on disk as it comes: after a kill nothing of it is fetched again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import zstandard

from lamina.data.web.frontier import Outcome, Task
from lamina.kit.append_log import AppendLog
from lamina.kit.identity import blake3_hex

_MOST = 512 << 20  # bytes of one unpacked outcome


class Journal:
    """Outcomes of one crawl; another ``what`` (the crawl's parameters, in JSON) is another crawl.

    Without a folder nothing is kept.
    """

    def __init__(self, folder: Path | None, what: Any) -> None:
        name = blake3_hex(orjson.dumps(what, option=orjson.OPT_SORT_KEYS))[:16]
        self._log = AppendLog(folder / f"crawl-{name}.log") if folder is not None else None
        self._pack = zstandard.ZstdCompressor(level=3)

    def __iter__(self) -> Iterator[Outcome]:
        """What was fetched before, in that order."""
        unpack = zstandard.ZstdDecompressor()
        for payload in self._log or ():
            yield _outcome(orjson.loads(unpack.decompress(payload, max_output_size=_MOST)))

    def __len__(self) -> int:
        return 0 if self._log is None else len(self._log)

    def add(self, outcome: Outcome) -> None:
        """Keep ``outcome``; it is durable then."""
        if self._log is not None:
            self._log.append(self._pack.compress(orjson.dumps(outcome)))

    def close(self) -> None:
        """Give the log back."""
        if self._log is not None:
            self._log.close()


def _outcome(told: dict[str, Any]) -> Outcome:
    tasks = tuple(Task(**task) for task in told.pop("tasks"))
    return Outcome(**told | {"task": Task(**told["task"]), "rows": tuple(told["rows"]), "tasks": tasks})
