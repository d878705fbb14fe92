"""The releases page in Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def releases(page: Page) -> Page:
    page.get_by_role("button", name="Releases", exact=True).click()
    page.locator(".receipt").first.wait_for()
    return page


def test_versions_receipts_and_intervals(releases: Page) -> None:
    assert releases.locator(".version-card h3").all_inner_texts() == ["v3", "v2", "v1"]
    assert releases.locator(".version-card.champion h3").inner_text() == "v2"
    assert releases.locator(".version-bits strong").all_inner_texts() == ["1.019", "1.021", "1.143"]
    assert [t.strip() for t in releases.locator(".receipt .badge").all_inner_texts()] == [
        "Promoted",
        "Rejected",
        "Inconclusive",
    ]
    pictures = releases.locator(".receipt").nth(1).get_by_role("img")
    assert pictures.last.get_attribute("aria-label") == (
        "Held-out documents: gain −0.081 [−0.110, −0.052] bits per byte"
    )
    assert releases.locator(".receipt").nth(1).locator(".interval.worse").count() == 1
    assert releases.get_by_text("Decided by a person: we want to wait").is_visible()


def test_promote_asks_for_a_reason_and_roll_back_undoes_it(releases: Page, stack: Any) -> None:
    releases.locator(".version-card", has_text="v3").get_by_role("button", name="Promote").click()
    releases.get_by_role("button", name="Promote v3").click()
    assert stack.releases.reasons == []  # no reason, no promotion
    releases.get_by_label("Reason").fill("checked by hand")
    releases.get_by_role("button", name="Promote v3").click()
    releases.locator(".version-card.champion h3", has_text="v3").wait_for()
    releases.get_by_role("button", name="Roll back", exact=True).click()
    releases.get_by_label("Reason").fill("too terse")
    releases.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    releases.locator(".version-card.champion h3", has_text="v2").wait_for()
    assert stack.releases.reasons == ["checked by hand", "too terse"]


def test_improve_starts_the_job_and_tells_its_end(releases: Page, stack: Any) -> None:
    releases.get_by_role("button", name="Improve now").click()
    releases.get_by_text("Done. Its receipt stands below.").wait_for()
    assert stack.jobs.started == ["improve"]


def test_escape_leaves_a_dialog_without_a_decision(releases: Page, stack: Any) -> None:
    releases.get_by_role("button", name="Roll back", exact=True).click()
    releases.get_by_label("Reason").fill("a slip")
    releases.keyboard.press("Escape")
    releases.get_by_role("dialog").wait_for(state="detached")
    assert stack.releases.reasons == []


def test_nothing_is_wider_than_the_screen(releases: Page) -> None:
    wider = "[...document.querySelectorAll('.releases, .card')].filter(c => c.scrollWidth > c.clientWidth).length"
    for width in (360, 768, 900, 1280):
        releases.set_viewport_size({"width": width, "height": 720})
        assert releases.evaluate(wider) == 0, width
