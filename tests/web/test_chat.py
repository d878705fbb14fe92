"""The chat page in Chromium, against the real API."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
Ask = Callable[[str], None]


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def said(stack: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.kind, f.value, f.reasons) for f in stack.store.judgements.values()]


ATTACKS = (
    "<script>window.broken=1</script>",
    "<svg onload=window.broken=1>",
    "[x](jAvAsCrIpT:window.broken=1)",
    "[x](data:text/html,<script>window.broken=1</script>)",
    '<a href="https://e.org" onclick="window.broken=1">x</a>',
    "<details open ontoggle=window.broken=1>",
    '![x](x"onerror=window.broken=1)',
    "`<img src=x onerror=window.broken=1>`",
    "<form action=//e.org><button name=x>go</button></form>",
    '<https://e.org/"onmouseover=window.broken=1>',
)


def test_an_example_question_is_answered_with_its_sources(page: Page, stack: Any) -> None:
    button(page, "Where does Queequeg come from?").click()
    page.locator(".answer[aria-busy=false] .answer-foot").wait_for()
    prose = page.locator(".prose")
    assert prose.locator("strong").first.inner_text() == "Kokovoko"
    assert prose.locator("li").count() == 2
    assert prose.locator("table td").all_inner_texts() == ["Queequeg", "Kokovoko"]
    assert page.locator(".source-title").all_inner_texts()[1] == "Correction"
    assert page.get_by_text("From a correction").is_visible()
    assert stack.service.requests[0].model == ""
    assert page.title() == "Lamina"


def test_what_models_write_cannot_act(page: Page, ask: Ask) -> None:
    ask("Where does Queequeg come from?")
    prose = page.locator(".prose")
    assert prose.locator("img, script, iframe, style, [onerror]").count() == 0
    assert page.get_by_text("external image blocked: a map").is_visible()
    assert "<img src=x onerror=alert(1)>" in prose.inner_text()  # shown as text
    links = prose.locator("a")
    assert links.count() == 1  # javascript: is no link
    assert links.get_attribute("rel") == "noopener noreferrer nofollow"
    assert links.get_attribute("href") == "https://example.org/page"


def test_no_markup_runs(page: Page, ask: Ask) -> None:
    for attack in ATTACKS:
        ask(f"say: {attack}")
    for element in page.locator(".prose *").all():
        names = element.evaluate("e => e.getAttributeNames().filter(n => n.startsWith('on'))")
        assert names == []
    assert page.evaluate("window.broken") is None
    assert page.locator(".prose :is(form, input, button:not(.cite), details, svg:not(.icon))").count() == 0
    for link in page.locator(".prose a").all():
        assert re.match(r"https?:|mailto:", link.get_attribute("href") or "")


def test_the_policy_holds(page: Page, seen: Any) -> None:
    """Inline scripts and markup made outside of the two policies are refused by the browser itself."""
    made = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return 'made' } catch { return 'refused' } }"
    )
    assert made == "refused"
    assert page.evaluate("() => { try { trustedTypes.createPolicy('evil', {}); return 1 } catch { return 0 } }") == 0
    assert seen.errors  # the browser told of both; they were asked for
    seen.errors.clear()


def test_code_is_coloured_and_can_be_copied(page: Page, ask: Ask) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask("Where does Queequeg come from?")
    page.locator(".hljs-keyword").first.wait_for()
    assert page.locator("pre code").inner_text().startswith("def island(name: str) -> str:")
    button(page, "Copy code").click()
    button(page, "Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("def island")


def test_a_source_opens_at_its_passage(page: Page, ask: Ask) -> None:
    ask("Where does Queequeg come from?")
    page.locator(".prose").get_by_role("button", name="Source 1").click()
    mark = page.locator("aside mark")
    mark.wait_for()
    assert mark.inner_text().startswith("Queequeg was a harpooneer from Kokovoko")
    assert mark.bounding_box()["y"] < 800  # type: ignore[index]  # scrolled to
    panel = page.get_by_role("complementary")
    for words in ("Moby-Dick; or, The Whale", "Herman Melville", "CC0-1.0"):
        assert words in panel.inner_text()
    assert panel.get_by_role("link").get_attribute("href") == "https://www.gutenberg.org/ebooks/2701"
    page.keyboard.press("Escape")
    assert panel.count() == 0
    assert page.evaluate("document.activeElement.className") == "cite"  # the focus comes back


def test_thumbs_reasons_and_a_correction_reach_the_store(page: Page, ask: Ask, stack: Any) -> None:
    ask("Where does Queequeg come from?")
    button(page, "Bad answer").click()
    page.get_by_role("checkbox", name="Wrong").check()
    editor = page.get_by_role("textbox", name="The answer that should have come")
    assert editor.input_value().startswith("Queequeg comes from **Kokovoko**")  # seeded
    editor.fill("Queequeg comes from Kokovoko.")
    button(page, "Save").click()
    page.locator("form.feedback").wait_for(state="detached")
    assert re.search(r"Saved · (train|held-out)", page.locator(".said").inner_text())
    assert said(stack) == [
        ("boolean", "false", ()),
        ("boolean", "false", ("wrong",)),
        ("correction", '"Queequeg comes from Kokovoko."', ()),
    ]
    page.reload()  # what was said is remembered with the conversation
    page.locator(".said").wait_for()
    button(page, "Take back").click()
    page.locator(".said").wait_for(state="detached")
    assert [value for _, value, _ in said(stack)][-2:] == ["null", "null"]


def test_a_thumb_up_is_saved_and_taken_back(page: Page, ask: Ask, stack: Any) -> None:
    ask("Where does Queequeg come from?")
    button(page, "Good answer").click()
    page.locator(".said").wait_for()
    assert button(page, "Good answer").get_attribute("aria-pressed") == "true"
    button(page, "Good answer").click()
    page.locator(".said").wait_for(state="detached")
    assert [value for _, value, _ in said(stack)] == ["true", "null"]


def test_feedback_that_is_not_stored_is_not_shown_as_saved(page: Page, ask: Ask, stack: Any) -> None:
    from lamina.kit.errors import StorageError

    ask("Where does Queequeg come from?")
    stack.store.failure = StorageError("the disk is full")
    button(page, "Good answer").click()
    page.get_by_text("Not saved.").wait_for()
    assert page.locator(".said").count() == 0
    stack.store.failure = None
    button(page, "Try again").click()
    page.locator(".said").wait_for()


def test_stop_keeps_what_was_said(page: Page, stack: Any) -> None:
    stack.service.delay = 0.02
    page.get_by_role("textbox", name="Question").fill("say: " + "word " * 400)
    page.keyboard.press("Enter")
    page.locator(".prose", has_text="word word word").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Stopped").wait_for()
    page.wait_for_timeout(200)
    assert stack.service.aborted == 1
    assert 3 <= len(page.locator(".prose").inner_text().split()) < 400


def test_regenerate_keeps_both_answers(page: Page, ask: Ask, stack: Any) -> None:
    ask("say: the first")
    stack.service.answer = lambda request: "the second"
    button(page, "Answer again").click()
    page.locator(".prose", has_text="the second").wait_for()
    button(page, "Previous answer").click()
    assert page.locator(".prose").inner_text() == "the first"
    assert [m.content for m in stack.service.requests[-1].messages][-1] == "say: the first"


def test_a_follow_up_carries_the_conversation(page: Page, ask: Ask, stack: Any) -> None:
    ask("say: one")
    ask("say: two")
    assert [m.content for m in stack.service.requests[-1].messages] == ["say: one", "one", "say: two"]
    assert len({i.conversation for i in stack.store.interactions.values()}) == 1


def test_a_conversation_that_is_too_long_goes_without_its_oldest_turns(page: Page, ask: Ask, stack: Any) -> None:
    ask("say: " + "old " * 30)
    stack.service.context = 40
    ask("say: new")
    assert page.get_by_text("Earlier turns left out").is_visible()
    assert [m.content for m in stack.service.requests[-1].messages] == ["say: new"]


def test_weights_only_and_the_challenger_are_chosen_per_request(page: Page, ask: Ask, stack: Any) -> None:
    page.get_by_role("radio", name="Weights only").check()
    page.get_by_role("combobox", name="Model").select_option("challenger")
    ask("Where does Queequeg come from?")
    assert page.locator(".source").count() == 0
    assert page.locator(".badge", has_text="Weights only").is_visible()
    interaction = next(iter(stack.store.interactions.values()))
    assert interaction.grounding == "weights only"
    assert stack.service.requests[0].model == "challenger"


def test_nothing_found_is_said(page: Page, ask: Ask) -> None:
    ask("say: hello")
    page.get_by_role("radio", name="Weights + documents").check()
    ask("Tell me of zebras")
    assert page.get_by_text("Not in the documents").last.is_visible()


def test_history_survives_a_reload_and_can_be_removed(page: Page, ask: Ask) -> None:
    ask("say: remembered")
    page.keyboard.press("Control+k")
    page.get_by_text("Ask your documents.").wait_for()
    page.reload()
    button(page, "say: remembered").click()
    page.locator(".prose", has_text="remembered").wait_for()
    page.locator(".entry").hover()
    button(page, "Remove “say: remembered”").click()
    page.get_by_text("Conversation removed").wait_for()
    assert page.locator(".entry").count() == 0
    button(page, "Undo").click()
    page.locator(".entry").wait_for()


def test_an_error_is_told_in_words_and_can_be_retried(page: Page, stack: Any) -> None:
    stack.service.fail_after = 2
    page.get_by_role("textbox", name="Question").fill("say: a b c d")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert "The server" in page.get_by_role("alert").inner_text()
    stack.service.fail_after = None
    button(page, "Try again").click()
    page.locator(".prose", has_text="a b c d").wait_for()


def test_the_key_is_asked_for_and_kept_in_the_tab(page: Page, ask: Ask, stack: Any) -> None:
    stack.keys.wanted = True
    page.get_by_role("textbox", name="Question").fill("say: with a key")
    page.keyboard.press("Enter")
    field = page.get_by_label("API key", exact=True)
    field.fill("lsk_wrong")
    page.keyboard.press("Enter")
    page.get_by_text("This key was not accepted.").wait_for()
    field.fill("lsk_test_0123456789")
    page.keyboard.press("Enter")
    page.locator(".prose", has_text="with a key").wait_for()  # the question went on by itself
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("sessionStorage.getItem('lamina.key')") == "lsk_test_0123456789"


def test_why_shows_the_chain(page: Page, ask: Ask) -> None:
    ask("Where does Queequeg come from?")
    button(page, "Why this answer?").click()
    page.locator(".step").first.wait_for()
    chain = page.locator(".step h3").all_inner_texts()
    assert chain[0].startswith("The answer")
    assert any("Model version" in line and "v2" in line for line in chain)
    assert any("Source" in line and "moby-dick" in line for line in chain)


def test_the_newline_key_and_the_send_key(page: Page, stack: Any) -> None:
    question = page.get_by_role("textbox", name="Question")
    question.fill("say: one")
    page.keyboard.press("Shift+Enter")
    assert question.input_value() == "say: one\n"
    assert stack.service.requests == []
    page.keyboard.press("Enter")
    page.locator(".prose", has_text="one").wait_for()


def test_screen_readers_hear_sentences(page: Page, ask: Ask) -> None:
    page.get_by_role("radio", name="Weights only").check()
    ask("say: The first sentence. The second one! And the rest")
    log = page.get_by_role("log")
    assert log.get_attribute("aria-live") == "polite"
    assert " ".join(log.locator("p").all_inner_texts()) == "The first sentence. The second one! And the rest"


def test_a_long_answer_stays_cheap(page: Page, stack: Any) -> None:
    """4,000 tokens: the page's own work stays under three seconds."""
    text = "\n\n".join(f"Paragraph {n} with *some* words and `code` " + "word " * 30 for n in range(110))
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def busy() -> float:
        metrics = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"])

    before = busy()
    stack.service.answer = lambda request: text
    page.get_by_role("textbox", name="Question").fill("go on")
    page.keyboard.press("Enter")
    page.locator(".answer[aria-busy=false] .answer-foot").wait_for(timeout=60_000)
    spent = busy() - before
    assert page.locator(".prose .block").count() == 110
    assert spent < 3.0, f"{spent:.2f} s for {len(text.split(' '))} tokens"


def test_nothing_is_wider_than_the_screen(page: Page, ask: Ask) -> None:
    ask("Where does Queequeg come from?")
    button(page, "Bad answer").click()
    page.locator("form.feedback").wait_for()
    for width in (360, 390, 768, 1024, 1440):
        page.set_viewport_size({"width": width, "height": 720})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = "(() => { const e = document.querySelector('.scroller'); return e.scrollWidth - e.clientWidth })()"
        assert page.evaluate(wide) <= 0, width


def test_every_control_has_a_name(page: Page, ask: Ask) -> None:
    ask("Where does Queequeg come from?")
    button(page, "Bad answer").click()
    page.locator("form.feedback").wait_for()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, a')]
        .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.title)).map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("document.documentElement.lang") == "en"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_text_has_contrast(page: Page, ask: Ask) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for every text on its ground."""
    ask("Where does Queequeg come from?")
    button(page, "Bad answer").click()
    page.locator("form.feedback").wait_for()
    page.locator(".hljs-keyword").first.wait_for()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(400)  # colours fade over
        assert page.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r, g, b].map((c, i) => (c * a + [R, G, B][i] * (255 - a)) / 255);
  const ground = (e) => {
    if (!e) return [255, 255, 255];
    const own = rgba(getComputedStyle(e).backgroundColor);
    return own[3] === 255 ? own.slice(0, 3) : over(own, ground(e.parentElement));
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || e.closest('.unseen, :disabled')) continue;
    if (!e.checkVisibility({opacityProperty: true})) continue;
    const back = ground(e), front = over(rgba(getComputedStyle(e).color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${e.className}: ${walker.currentNode.data.slice(0, 40)}`);
  }
  return bad;
}"""
