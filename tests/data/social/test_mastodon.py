"""Mastodon: pages by Link headers, threads whole, what is not for everybody left out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lamina.data.social.mastodon import place
from lamina.kit.errors import ConfigError, FetchError

TEAM = "@team@example.social"


def fill(server: Any, count: int = 95) -> None:
    """An account with ``count`` posts; every tenth has an answer."""
    for n in range(1, count + 1):
        server.status(n * 10, "team", f"<p>Lamp number {n}.</p>")
        if n % 10 == 0:
            server.status(n * 10 + 1, "ada@far.example", f"<p>Seen, {n}.</p>", n * 10)


def test_an_account_page_by_page(gather: Any, mastodon: Any) -> None:
    fill(mastodon)
    found = gather(mastodon, mastodon=TEAM)
    assert found.names == ["mastodon @team@example.social"]
    assert len(found.rows) == len(set(found.keys())) == 95
    assert found.rows[0]["key"] == "mastodon/example.social/950"
    answered = [row for row in found.rows if "\n" in row["text"]]
    assert len(answered) == 9
    assert answered[0]["text"] == "A: Lamp number 90.\nB: Seen, 90."
    assert mastodon.counted("/statuses?") == 3
    assert mastodon.counted("/context") == 9, "posts without answers ask for no context"
    assert mastodon.counted("robots.txt") == 0
    assert mastodon.agents == {"tests/1.0"}
    assert not found.reasons


def test_a_thread_is_whole_wherever_it_is_met(gather: Any, mastodon: Any) -> None:
    mentions = [{"acct": "ada@far.example", "username": "ada", "url": "https://far.example/@ada"}]
    mastodon.status(1, "ada@far.example", "<p>Is it so?</p><p>Tell me.</p>", language="de")
    link = (
        '<a href="https://example.org/a/long/way"><span class="invisible">https://</span>'
        '<span class="ellipsis">example.org/a/lo</span><span class="invisible">ng/way</span></a>'
    )
    text = (
        f'<p><span class="h-card"><a href="https://far.example/@ada">@<span>ada</span></a></span> Yes &amp; {link}</p>'
    )
    mastodon.status(2, "team", text, 1, mentions=mentions)
    mastodon.status(3, "bo", "<p>No.</p>", 1)
    mastodon.status(4, "team", "<p>Why not?</p>", 3)
    (row,) = gather(mastodon, mastodon=TEAM).rows
    ada = row["meta"]["authors"][0]
    assert row["text"] == (
        f"A: Is it so?\n\nTell me.\nB: @{ada} Yes & https://example.org/a/long/way\nC: No.\nB: Why not?"
    )
    assert len(row["meta"]["authors"]) == 3
    assert row["url"] == "https://example.social/@ada@far.example/1"
    assert row["created"] == datetime.fromtimestamp(1_700_000_060, UTC)
    assert row["language"] is None
    assert row["rights"] == "mastodon noindex: false; mastodon discoverable: true; mastodon indexable: true"
    for name in ("ada@far", "bo@", "team@"):
        assert name not in row["text"] + str(row["meta"])


def test_boosts_private_posts_and_people_who_opt_out(gather: Any, mastodon: Any) -> None:
    mastodon.account("shy@far.example", noindex=True)
    mastodon.account("hidden@far.example", discoverable=False)
    mastodon.account("nobot@far.example", note="<p>Painter. #<span>nobot</span></p>")
    mastodon.status(1, "team", "<p>Root.</p>")
    mastodon.status(2, "shy@far.example", "<p>secret one</p>", 1)
    mastodon.status(3, "hidden@far.example", "<p>secret two</p>", 1)
    mastodon.status(4, "nobot@far.example", "<p>secret three</p>", 1)
    mastodon.status(5, "bo", "<p>For friends.</p>", 1, visibility="private")
    mastodon.status(6, "team", "<p>Unlisted.</p>", visibility="unlisted")
    mastodon.status(7, "team", "", reblog={"id": "99"})
    mastodon.status(8, "team", "", media_attachments=[{"type": "image"}])
    found = gather(mastodon, mastodon=TEAM)
    assert found.texts() == ["Root."]
    assert found.reasons == {"mastodon @team@example.social, 4 posts": "are deleted, or hold no text"}
    (row,) = gather(mastodon, mastodon=TEAM, opted_out=True).rows
    assert row["text"].count("secret") == 3


def test_an_account_that_opts_out_is_not_collected(gather: Any, mastodon: Any) -> None:
    mastodon.account("team", noindex=True)
    mastodon.status(1, "team", "<p>Mine.</p>")
    with pytest.raises(ConfigError, match="asks not to be indexed"):
        gather(mastodon, mastodon=TEAM)
    assert gather(mastodon, mastodon=TEAM, opted_out=True).texts() == ["Mine."]


def test_warnings_polls_and_missing_fields(gather: Any, mastodon: Any) -> None:
    poll = {"options": [{"title": "Oil", "votes_count": 3}, {"title": "Gas"}, {}]}
    mastodon.status(1, "team", "<p>Which?</p>", spoiler_text="Light", sensitive=True, poll=poll)
    bare = mastodon.status(2, "team", "<p>Bare.</p>")
    for name in ("created_at", "language", "url", "mentions", "visibility", "spoiler_text", "in_reply_to_id"):
        del bare[name]
    mastodon.status(3, "team", None)
    mastodon.status(4, "team", "<p>Nobody.</p>")["account"] = {"id": mastodon.accounts["team"]["id"]}
    found = gather(mastodon, mastodon=TEAM)
    nobody, plain, warned = found.rows
    assert warned["text"] == "Which?\n- Oil\n- Gas"
    assert warned["meta"]["thread"] == {
        "network": "mastodon",
        "content_warning": "Light",
        "sensitive": True,
        "replies": 0,
    }
    assert (plain["text"], plain["url"], plain["created"]) == ("Bare.", None, None)
    assert (nobody["text"], nobody["author"]) == ("Nobody.", None)


def test_since_and_limit(gather: Any, mastodon: Any) -> None:
    fill(mastodon)
    late = datetime.fromtimestamp(1_700_000_000 + 850 * 60, UTC)
    found = gather(mastodon, mastodon=TEAM, since=late)
    assert len(found.rows) == 11
    assert mastodon.counted("/statuses?") == 2, "the page behind the border is the last that is asked for"
    found = gather(mastodon, mastodon=TEAM, limit=5)
    assert len(found.rows) == 5
    assert not found.reasons


def test_tags_and_public_timelines(gather: Any, mastodon: Any) -> None:
    mastodon.status(1, "team", "<p>A #lamp.</p>")
    mastodon.status(2, "bo@far.example", "<p>Other.</p>")
    assert gather(mastodon, mastodon="#lamp@example.social").texts() == ["A #lamp."]
    assert gather(mastodon, mastodon="public@example.social").texts() == ["Other.", "A #lamp."]
    gather(mastodon, mastodon="local@example.social")
    assert mastodon.counted("local=true") == 1


def test_a_thread_with_a_deleted_beginning(gather: Any, mastodon: Any) -> None:
    mastodon.status(2, "team", "<p>As I said.</p>", 1)  # 1 was deleted
    mastodon.status(3, "bo", "<p>Did you?</p>", 2)
    (row,) = gather(mastodon, mastodon=TEAM).rows
    assert row["text"] == "A: As I said.\nB: Did you?"


def test_no_such_account(gather: Any, mastodon: Any) -> None:
    found = gather(mastodon, mastodon=TEAM)
    assert not found.rows
    assert not found.names
    assert "404 (Record not found)" in found.reasons["mastodon @team@example.social"]


def test_a_server_without_link_headers(gather: Any, mastodon: Any) -> None:
    fill(mastodon)
    mastodon.links = False
    assert len(gather(mastodon, mastodon=TEAM).rows) == 95


def test_a_circle_of_pages_ends(gather: Any, mastodon: Any) -> None:
    fill(mastodon)
    mastodon.circle = True
    found = gather(mastodon, mastodon=TEAM)
    assert len(found.rows) == 95
    assert found.reasons["mastodon @team@example.social, older posts"] == "its pages lead in a circle"


def test_the_last_request_of_a_window_waits_for_the_next(gather: Any, mastodon: Any, clock: Any) -> None:
    fill(mastodon)
    mastodon.window = mastodon.left = 5
    assert len(gather(mastodon, mastodon=TEAM).rows) == 95
    assert len(mastodon.asked) == 13
    assert clock.slept, "three windows were needed"
    assert all(seconds <= 302 for seconds in clock.slept)
    assert sum(clock.slept) > 300


def test_long_threads_are_cut(gather: Any, mastodon: Any) -> None:
    mastodon.status(1, "team", "<p>Root.</p>")
    for n in range(2, 22):
        mastodon.status(n, "bo", f"<p>Answer {n}.</p>", n - 1)
    found = gather(mastodon, mastodon=TEAM, max_posts=5)
    assert found.rows[0]["meta"]["posts"] == 5
    assert "16 posts" in str(found.reasons)


@pytest.mark.parametrize("text", ["team", "@team", "#tag", "@a@b@c", "all@x.y", "@te am@x.y", "@team@x.y/../z"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="no place of Mastodon"):
        place(text)


def test_what_fails_for_good_ends_with_a_reason(gather: Any, mastodon: Any) -> None:
    fill(mastodon, 3)
    mastodon.down = True
    with pytest.raises(FetchError, match=r"answered 500.*goes on here"):
        gather(mastodon, mastodon=TEAM)
