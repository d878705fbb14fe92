"""Hacker News: items one by one, trees whole, deleted, dead and missing ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lamina.data.social.hackernews import Place, place
from lamina.kit.errors import ConfigError


def fill(server: Any) -> None:
    server.item(1, "story", "pg", title="Which oil?", url="https://example.org/oil", score=57, descendants=5)
    link = '<a href="https:&#x2F;&#x2F;example.org&#x2F;a&#x2F;long" rel="nofollow">https:&#x2F;&#x2F;example...</a>'
    server.item(2, "comment", "ada", 1, text=f"Colza &amp; whale.<p>See {link} &gt; all")
    server.item(3, "comment", None, 1, deleted=True)
    server.item(4, "comment", "spam", 2, text="Buy!", dead=True)
    server.item(5, "comment", "pg", 3, text="Answer to nobody.")
    server.item(6, "story", "bo", title="Ask: lamps?", text="Which <i>ones</i>?")
    server.item(7, "poll", "cy", title="Oil or gas?", parts=[8, 9])
    server.item(8, "pollopt", "cy", poll=7, text="Oil")
    server.item(9, "pollopt", "cy", poll=7, text="Gas")
    server.item(11, "job", "ada", title="Keeper wanted")  # 10 is null
    server.top = [6, 1]
    server.users["pg"] = {"id": "pg", "submitted": [5, 1, 99], "karma": 1}


def test_a_list_with_its_trees(gather: Any, hackernews: Any) -> None:
    fill(hackernews)
    found = gather(hackernews, hackernews="top")
    ask, story = found.rows
    assert ask["text"] == "Which ones?"
    assert ask["title"] == "Ask: lamps?"
    assert story["text"] == (
        "A: Which oil?\nB: Colza & whale.\n\nSee https://example.org/a/long > all\nA: Answer to nobody."
    )
    assert story["meta"]["thread"] == {"network": "hackernews", "score": 57, "link": "https://example.org/oil"}
    assert story["url"] == "https://news.ycombinator.com/item?id=1"
    assert story["key"] == "hackernews/1"
    assert found.reasons == {"hackernews top, 2 posts": "are deleted, or hold no text"}


def test_everything_from_the_newest_down(gather: Any, hackernews: Any) -> None:
    fill(hackernews)
    found = gather(hackernews, hackernews="all")
    assert [row["key"] for row in found.rows] == [f"hackernews/{id}" for id in (11, 7, 6, 1)]
    assert found.rows[1]["text"] == "Oil or gas?\n\nOil\n\nGas"
    assert "3 posts" in str(found.reasons), "one deleted, one dead, one not there"


def test_a_person_s_threads_come_whole_and_once(gather: Any, hackernews: Any) -> None:
    fill(hackernews)
    found = gather(hackernews, hackernews="pg")
    assert found.keys() == ["hackernews/1"]
    assert gather(hackernews, hackernews="nobody").reasons["hackernews nobody"].endswith("nobody has this name")


def test_one_item(gather: Any, hackernews: Any) -> None:
    fill(hackernews)
    assert gather(hackernews, hackernews="item:4").keys() == ["hackernews/1"]
    assert gather(hackernews, hackernews="item:6").keys() == ["hackernews/6"]


def test_since_ends_the_walk(gather: Any, hackernews: Any) -> None:
    for n in range(1, 201):
        hackernews.item(n, "story", "pg", title=f"Story {n}")
    late = datetime.fromtimestamp(1_700_000_000 + 191 * 60, UTC)
    assert len(gather(hackernews, hackernews="all", since=late).rows) == 10
    assert len(hackernews.asked) <= 31 + 30


def test_max_posts(gather: Any, hackernews: Any) -> None:
    hackernews.item(1, "story", "pg", title="Root")
    for n in range(2, 50):
        hackernews.item(n, "comment", "ada", 1, text=f"Comment {n}")
    hackernews.top = [1]
    found = gather(hackernews, hackernews="top", max_posts=10)
    assert found.rows[0]["meta"]["posts"] == 10
    assert "39 posts" in str(found.reasons)
    assert len(hackernews.asked) == 11


def test_odd_items(gather: Any, hackernews: Any) -> None:
    hackernews.item(1, "story", "pg", title="Root", kids=[1, 2, 2, "3", None, 77])
    hackernews.items[2] = {"id": 2, "type": "comment"}
    hackernews.items[5] = {"id": 5}
    hackernews.items[6] = {"type": "story"}
    hackernews.item(7, "comment", "ada", None, text="No parent.")
    found = gather(hackernews, hackernews="all")
    assert found.texts() == ["Root"]


def test_places() -> None:
    assert place("user:top") == Place("user", "top")
    for text in ("item:x", "", "a name", "item:²"):
        with pytest.raises(ConfigError):
            place(text)
