"""A running API on loopback, with stand-ins behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from lamina.contracts.inference import Passage
from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, NoKeys
from lamina.interface.api.server import in_thread
from lamina.interface.keys import KeyRing
from lamina.interface.store import FeedbackStore
from lamina.kit.database import Database
from lamina.testing import EchoService, FixedRetriever, MemoryReleases, stand_ins

PASSAGE = Passage(
    kind="document",
    document_id="doc-1",
    text="The harpooneer Tashtego comes from Gay Head.",
    score=0.9,
    title="Knights and Squires",
    source="books",
    license="CC0-1.0",
)


@dataclass
class Api:
    """A served API, what stands behind it, and clients for it."""

    url: str
    app: Any
    service: Any
    store: Any
    releases: Any
    retriever: Any

    def http(self, key: str | None = None, **options: Any) -> httpx.Client:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers | options.pop("headers", {}), timeout=20, **options)

    def openai(self, key: str = "none", **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=20, **options)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


def parts(**replaced: Any) -> dict[str, Any]:
    """Everything that ``create_app`` needs, stand-ins where nothing is given."""
    retriever = replaced.pop("retriever", FixedRetriever(PASSAGE))
    everything = {
        "service": EchoService(),
        "releases": MemoryReleases("v1", "v2"),
        "retriever": retriever,
        "documents": retriever if retriever is not None else FixedRetriever(),
        "keys": NoKeys(),
        "settings": ApiSettings(name="pequod", grounding="weights only"),
    }
    return stand_ins(**everything | replaced)


@contextmanager
def serving(**replaced: Any) -> Iterator[Api]:
    given = parts(**replaced)
    app = create_app(**given)
    with in_thread(app) as url:
        yield Api(url, app, given["service"], given["store"], given["releases"], given["retriever"])


@pytest.fixture
def serve() -> Iterator[Callable[..., Api]]:
    """``serve(**parts)`` starts an API for the length of the test."""
    with ExitStack() as stack:
        yield lambda **replaced: stack.enter_context(serving(**replaced))


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """One API for the tests of a module that change nothing in it."""
    with serving() as running:
        yield running


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "lamina.db") as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> FeedbackStore:
    return FeedbackStore(database)


@pytest.fixture
def ring(database: Database, tmp_path: Path) -> KeyRing:
    return KeyRing(database, tmp_path / "keys.pepper")


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether ``condition`` becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., bool]:
    return eventually
