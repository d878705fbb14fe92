"""Pages kept for conditional requests."""

from __future__ import annotations

import json
from pathlib import Path

from blake3 import blake3

from lamina.kit.durable import atomic_write
from lamina.kit.exchange import Answer


class PageCache:
    """Answers with a validator, each in one file: a line of JSON, then the body. A damaged file is as good as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def load(self, url: str) -> Answer | None:
        """What was answered before."""
        try:
            head, _, body = self._place(url).read_bytes().partition(b"\n")
            about = json.loads(head)
            if about["url"] != url or about["blake3"] != blake3(body).hexdigest():
                return None
            return Answer(status=int(about["status"]), headers=dict(about["headers"]), body=body)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, url: str, answer: Answer) -> None:
        """Keep ``answer``, unless the server forbids it or gives nothing to ask by the next time."""
        kept = {"etag", "last-modified"} & answer.headers.keys()
        if not kept or "no-store" in answer.headers.get("cache-control", "").lower():
            return
        about = {"url": url, "status": answer.status, "headers": dict(answer.headers)}
        about["blake3"] = blake3(answer.body).hexdigest()
        atomic_write(self._place(url), json.dumps(about).encode() + b"\n" + answer.body)

    def _place(self, url: str) -> Path:
        name = blake3(url.encode()).hexdigest()[:40]
        return self._folder / name[:2] / name
