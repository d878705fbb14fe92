"""Reddit: OAuth, listings, trees whose rest stands in ``more``, what is deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lamina.data.social.reddit import place
from lamina.kit.errors import ConfigError, RefusedError

PLACE = "r/lamps"


def test_a_group_with_its_trees(gather: Any, reddit: Any) -> None:
    reddit.submission("a", "kim", "Which oil?", "For a **lamp**.")
    reddit.comment("b", "lee", "Colza, as u/kim said &amp; u/other too.", "t3_a")
    reddit.comment("c", "[deleted]", "[deleted]", "t1_b")
    reddit.comment("d", "kim", "Thanks.", "t1_c")
    reddit.comment("e", "mod", "[removed]", "t3_a")
    reddit.submission("f", "lee", "A link", url="https://example.org/x", is_self=False)
    reddit.submission("g", "[deleted]", "Gone", "[removed]")
    found = gather(reddit, reddit=PLACE)
    link, thread = found.rows
    kim, lee = thread["meta"]["authors"]
    assert thread["title"] == "Which oil?"
    assert thread["text"].startswith(f"A: For a **lamp**.\nB: Colza, as u/{kim} said & u/person-")
    assert thread["text"].endswith("A: Thanks.")
    assert "other" not in thread["text"]
    assert thread["url"] == "https://www.reddit.com/r/lamps/comments/a/x/"
    assert (link["text"], link["meta"]["thread"]["link"]) == ("A link", "https://example.org/x")
    assert lee == link["meta"]["authors"][0]
    assert found.reasons == {"reddit r/lamps, 3 posts": "are deleted, or hold no text"}
    assert reddit.agents == {"linux:lamina:v0.1 (by /u/tester)"}
    assert reddit.counted("/comments/") == 1, "a submission without comments asks for no tree"


@pytest.mark.parametrize(("width", "depth"), [(1000, 1000), (2, 1000), (1000, 3), (2, 2), (1, 2)])
def test_more_nodes_give_the_whole_tree(gather: Any, reddit: Any, width: int, depth: int) -> None:
    reddit.submission("a", "kim", "Root", "Root.")
    for n in range(5):
        above = "t3_a"
        for level in range(6):
            reddit.comment(f"c{n}{level}", "lee", f"Said {n}{level}.", above)
            above = f"t1_c{n}{level}"
    reddit.width, reddit.depth = width, depth
    found = gather(reddit, reddit=PLACE)
    assert found.rows[0]["meta"]["posts"] == 31
    assert all(found.rows[0]["text"].count(f"Said {n}{level}.") == 1 for n in range(5) for level in range(6))
    assert not found.reasons


def test_listings_end_at_their_cap_and_say_so(gather: Any, reddit: Any) -> None:
    for n in range(1010):
        reddit.submission(f"s{n}", "kim", f"Title {n}")
    found = gather(reddit, reddit=PLACE, limit=5000)
    assert len(set(found.keys())) == 1000
    assert reddit.counted("/new?") == 10
    assert "lists about 1,000" in found.reasons["reddit r/lamps, older posts"]


def test_the_default_limit_says_so(gather: Any, reddit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.data.social.live.LIMIT", 10)
    for n in range(15):
        reddit.submission(f"s{n}", "kim", f"Title {n}")
    found = gather(reddit, reddit=PLACE)
    assert len(found.rows) == 10
    assert "only 10 threads" in found.reasons["reddit r/lamps, older posts"]


def test_max_posts_bounds_a_tree(gather: Any, reddit: Any) -> None:
    reddit.submission("a", "kim", "Root", "Root.")
    for n in range(40):
        reddit.comment(f"c{n}", "lee", f"Said {n}.", "t3_a")
    reddit.width = 3
    found = gather(reddit, reddit=PLACE, max_posts=20)
    assert found.rows[0]["meta"]["posts"] == 20
    assert "were not fetched" in found.reasons["reddit r/lamps, 21 posts"]


def test_a_session_that_runs_out(gather: Any, reddit: Any) -> None:
    for n in range(150):
        reddit.submission(f"s{n}", "kim", f"Title {n}")
    reddit.expire = True
    assert len(gather(reddit, reddit=PLACE).rows) == 150
    assert reddit.counted("access_token") == 2


def test_the_last_request_of_a_window_waits(gather: Any, reddit: Any, clock: Any) -> None:
    for n in range(350):
        reddit.submission(f"s{n}", "kim", f"Title {n}")
    reddit.window = reddit.left = 3
    assert len(gather(reddit, reddit=PLACE).rows) == 350
    assert 300 <= sum(clock.slept) <= 700


def test_people_and_since(gather: Any, reddit: Any) -> None:
    for n in range(10):
        reddit.submission(f"s{n}", "kim", f"Title {n}")
    late = datetime.fromtimestamp(1_700_000_000 + 6 * 60, UTC)
    assert gather(reddit, reddit="u/kim", since=late).texts() == ["Title 9", "Title 8", "Title 7", "Title 6"]


def test_terms_and_credentials_come_first(gather: Any, reddit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="terms must be accepted"):
        gather(reddit, reddit=PLACE, terms_accepted=False)
    monkeypatch.setenv("LAMINA_REDDIT_CLIENT_SECRET", "wrong")
    found: Any
    with pytest.raises(RefusedError, match="401"):
        gather_env(gather, reddit, monkeypatch, "LAMINA_REDDIT_CLIENT_SECRET", "wrong")
    with pytest.raises(RefusedError, match="LAMINA_REDDIT_USER must be set"):
        gather_env(gather, reddit, monkeypatch, "LAMINA_REDDIT_USER", "")
    found = reddit.asked
    assert all("secret" not in path for path in found)


def gather_env(gather: Any, reddit: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    gather(reddit, reddit=PLACE)


def test_a_private_group(gather: Any, reddit: Any) -> None:
    with pytest.raises(RefusedError, match="403"):
        gather(reddit, reddit="r/secret")


def test_places() -> None:
    assert place("/r/lamps/top").path == "/r/lamps/top"
    assert place("u/kim").path == "/user/kim/submitted"
    for text in ("lamps", "r/", "r/a/../b", "u/kim/top", "r/lamps/odd"):
        with pytest.raises(ConfigError):
            place(text)
