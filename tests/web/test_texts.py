"""The page of a model that does not chat, in Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from lamina.contracts.texts import Abilities, Filled, Guess, Translated, Written
from lamina.kit.errors import InputError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


class Texts:
    """Translates by turning words round, and fills masks with whales."""

    def abilities(self, model: str = "") -> Abilities:
        return Abilities(tasks=("translate", "fill-mask", "embeddings"), context=64, pairs=(("en", "it"), ("it", "en")))

    def translate(self, texts: Any, how: Any, *, model: str = "") -> Written:
        if "long" in texts[0]:
            raise InputError("text 0 has 65 tokens, the model reads at most 64", where="input")
        said = f"{how.source}-{how.target}: " + " ".join(reversed(texts[0].split()))
        return Written(version="v2", prompt_tokens=3, rows=(Translated(said, 3, True),))

    def fill(self, texts: Any, *, model: str = "", k: int = 5) -> Filled:
        guesses = (Guess("whale", 1, 0.75), Guess("<b>ship</b>", 2, 0.125))
        return Filled(version="v2", prompt_tokens=3, rows=((guesses,),))


def test_a_translator_has_a_page_in_the_place_of_the_chat(serving: Any, browser: Browser) -> None:
    stack = serving(texts=Texts())
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(stack.url)
    page.get_by_role("heading", name="Translate").wait_for()
    assert page.get_by_role("button", name="New chat").count() == 0
    assert page.get_by_role("button", name="Chat", exact=True).count() == 0
    page.get_by_label("Text").fill("one two three")
    page.get_by_role("button", name="Translate").last.click()
    page.get_by_text("en-it: three two one").wait_for()
    page.get_by_label("Languages").select_option("1")
    page.get_by_label("Text").press("Control+Enter")
    page.get_by_text("it-en: three two one").wait_for()
    if shots := os.environ.get("LAMINA_SHOTS"):
        page.screenshot(path=f"{shots}/translate.png")
    assert problems == []
    page.get_by_label("Text").fill("a long text")
    page.get_by_role("button", name="Translate").last.click()
    page.get_by_text("Text 0 has 65 tokens, the model reads at most 64").wait_for()
    page.get_by_role("button", name="Fill in words").first.click()
    page.get_by_label("Text").fill("The [MASK] swims.")
    page.get_by_label("Text").press("Control+Enter")
    page.get_by_text("<b>ship</b>").wait_for()
    assert page.get_by_text("75.0 %").is_visible()
    if shots:
        page.screenshot(path=f"{shots}/fill.png")
    page.close()
