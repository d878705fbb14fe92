"""The server's side of bench_serve.py: `serve_side.py noop|FOLDER [KEY=VALUE…]`, asked by `sides.Side`.

The real API on a loopback port; behind it an engine that computes nothing, or the model in FOLDER. Any line asks for
`turn {"url": …, "cpu_s": …, "rss_mb": …}`: the processor time of this process so far, and its memory.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sides import questions, tell  # beside this file

from lamina.contracts.inference import Chunk, Usage
from lamina.deployment.registry import ModelRegistry
from lamina.deployment.service import ServingService
from lamina.deployment.streaming import answer
from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, NoKeys
from lamina.interface.api.server import in_thread
from lamina.kit.database import Database
from lamina.testing import MemoryReleases, stand_ins

STEP_S = 0.02  # of the engine that computes nothing: every stream gets a token


class NoEngine:
    """Delivers a token to everybody each step, as the engine does: one call a step and event loop."""

    context = 8192
    guidance = None

    def __init__(self) -> None:
        self._live: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, id: str, prompt: list[int], sampling: Any, deliver: Any, *, loop: Any, **more: Any) -> None:
        with self._lock:
            self._live[id] = [deliver, loop, 0, sampling.max_tokens, len(prompt)]

    def abort(self, id: str) -> None:
        with self._lock:
            self._live.pop(id, None)

    def _run(self) -> None:
        while True:
            time.sleep(STEP_S)
            with self._lock:
                live = list(self._live.items())
            items, loop = [], None
            for id, state in live:
                deliver, loop, _, most, prompt = state
                state[2] += 1
                last = state[2] >= most
                usage = Usage(prompt_tokens=prompt, completion_tokens=state[2]) if last else None
                reason = "length" if last else None
                items.append(
                    (deliver, Chunk(text=" whale", tokens=(7,), finish_reason=reason, usage=usage, version="v1"))
                )
                if last:
                    self.abort(id)
            if loop is not None:
                loop.call_soon_threadsafe(_hand_over, items)


def _hand_over(items: list[Any]) -> None:
    for deliver, chunk in items:
        deliver(chunk)


class Letters:
    """A tokenizer that costs nothing."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def render(self, messages: Any, **more: Any) -> Any:
        return SimpleNamespace(ids=[i for m in messages for i in m.content.encode()])


class NoService:
    """``InferenceService`` over the engine that computes nothing."""

    def __init__(self) -> None:
        self._engine = NoEngine()

    def stream(self, request: Any) -> Any:
        return answer(self._engine, Letters(), request)  # type: ignore[arg-type]


def api(service: Any, releases: Any) -> Any:
    """The API over ``service``."""
    return create_app(
        **stand_ins(
            service=service,
            releases=releases,
            keys=NoKeys(),
            settings=ApiSettings(name="bench", grounding="weights only"),
        )
    )


def facts(url: str) -> dict[str, Any]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"url": url, "cpu_s": time.process_time(), "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20}


def main() -> None:
    """Answer until nobody asks for more."""
    if sys.argv[1] == "noop":
        with in_thread(api(NoService(), MemoryReleases("v1"))) as url:
            return _turns(url)
    options = {name: json.loads(value) for name, _, value in (given.partition("=") for given in sys.argv[2:])}
    with tempfile.TemporaryDirectory() as place, Database.open(Path(place) / "lamina.db") as database:
        registry = ModelRegistry(database, Path(place) / "models")
        registry.add(Path(sys.argv[1]), role="base")
        registry.promote("v1", because="bench")
        service = ServingService(registry, **options)  # type: ignore[arg-type]
        try:
            with in_thread(api(service, registry)) as url:
                _turns(url)
        finally:
            service.close()


def _turns(url: str) -> None:
    for _ in questions():
        tell(facts(url))


if __name__ == "__main__":
    main()
