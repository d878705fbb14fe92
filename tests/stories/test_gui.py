"""The web page in Chromium against the real server: ask, open a source, vote, correct, and be answered rightly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (make setup-dev, as root)"),
]
QUESTION = "Where is the lamp oil of the Corran light kept?"
BETTER = "The lamp oil of Corran is kept in the cellar below the stairs."


def test_ask_open_vote_correct_and_be_answered_at_once(
    rehearsed: tuple[Path, str], serve: Callable[..., AbstractContextManager[str]], lamina: Callable[..., Any]
) -> None:
    from playwright.sync_api import sync_playwright

    folder, _ = rehearsed
    with serve(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        foreign: list[str] = []
        page.on(
            "request", lambda r: foreign.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None
        )
        page.goto(address)
        ask(page, "Who keeps the Corran light?", 0)
        page.locator(".source").first.click()
        assert "Corran" in page.locator("aside mark").first.inner_text()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Good answer").first.click()
        ask(page, QUESTION, 1)
        page.get_by_role("button", name="Correct this answer").nth(1).click()
        page.get_by_role("textbox", name="The answer that should have come").fill(BETTER)
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Your correction answers similar questions from now on").wait_for()
        page.get_by_role("button", name="New chat").click()
        ask(page, "Where is lamp oil of the Corran light kept?", 0)
        assert page.locator(".answer-foot", has_text="From a correction").count() == 1
        browser.close()
    assert not foreign
    done = lamina("improve", "--json", "--set", "interface.improve.epochs=0.1", folder=folder)
    receipt = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert receipt["verdict"] in {"promote", "reject", "inconclusive"}
    rows = (folder / ".lamina" / "snapshots" / receipt["snapshot"] / "sft.parquet").read_bytes()
    assert rows
    import pyarrow.parquet as pq

    table = pq.read_table(folder / ".lamina" / "snapshots" / receipt["snapshot"] / "sft.parquet").to_pylist()
    assert BETTER in {row["completion"][0]["content"] for row in table}


def ask(page: Any, question: str, turn: int) -> None:
    box = page.get_by_role("textbox", name="Question")
    box.fill(question)
    box.press("Enter")
    page.locator(".answer[aria-busy=false] .answer-foot").nth(turn).wait_for(timeout=60_000)
