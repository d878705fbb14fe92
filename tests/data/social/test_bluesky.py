"""Bluesky: feeds and searches by cursor, nested threads with deleted and blocked posts, facets, sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lamina.data.social.bluesky import Place, place
from lamina.kit.errors import ConfigError, RefusedError

TEAM = "team.bsky.social"


def test_an_account_with_its_threads(gather: Any, bluesky: Any) -> None:
    root = bluesky.post("r1", "ada.example.org", "Is it so?")["uri"]
    reply = bluesky.post("r2", TEAM, "Yes.", root)["uri"]
    bluesky.post("r3", "bo.example.org", "No.", root)
    bluesky.post("r4", "ada.example.org", "Hm.", reply)
    bluesky.post("s1", TEAM, "Alone.")
    bluesky.reposts.append(bluesky.post("x1", "bo.example.org", "Not the team's.")["uri"])
    found = gather(bluesky, bluesky=TEAM)
    alone, thread = found.rows
    assert thread["text"] == "A: Is it so?\nB: Yes.\nC: No.\nA: Hm."
    assert (alone["text"], alone["language"]) == ("Alone.", "en")
    assert alone["url"] == "https://bsky.app/profile/did:plc:team/post/s1"
    assert bluesky.counted("getPostThread") == 1, "a post without replies asks for no thread"
    assert "bsky.social" not in str([row["meta"] for row in found.rows])
    assert not any("ada" in row["key"] or "team" in row["key"] for row in found.rows)


def test_pages_by_cursor_and_circles(gather: Any, bluesky: Any) -> None:
    for n in range(25):
        bluesky.post(f"p{n}", TEAM, f"Post {n}.")
    bluesky.page = 10
    found = gather(bluesky, bluesky=TEAM)
    assert len(set(found.keys())) == 25
    assert bluesky.counted("getAuthorFeed") == 3
    bluesky.circle = True
    found = gather(bluesky, bluesky=TEAM)
    assert len(found.rows) == 25
    assert "circle" in str(found.reasons)


def test_deleted_and_blocked_posts(gather: Any, bluesky: Any) -> None:
    root = bluesky.post("a", TEAM, "One.")["uri"]
    gone = bluesky.post("b", "bo.example.org", "Two.", root)["uri"]
    blocked = bluesky.post("c", "cy.example.org", "Three.", root)["uri"]
    bluesky.post("d", TEAM, "Four.", root)
    bluesky.gone.add(gone)
    bluesky.blocked.add(blocked)
    found = gather(bluesky, bluesky=TEAM)
    assert found.texts() == ["One.\n\nFour."]
    assert found.reasons == {f"bluesky {TEAM}, 2 posts": "are deleted, or hold no text"}


def test_a_deleted_beginning_leaves_the_rest(gather: Any, bluesky: Any) -> None:
    root = bluesky.post("a", "bo.example.org", "One.")["uri"]
    mine = bluesky.post("b", TEAM, "Two.", root)["uri"]
    bluesky.post("c", "bo.example.org", "Three.", mine)
    bluesky.gone.add(root)
    assert gather(bluesky, bluesky=TEAM).texts() == ["A: Two.\nB: Three."]


def test_facets_languages_and_labels(gather: Any, bluesky: Any) -> None:
    text = "Ünder @ada.example.org see example.org/a/lo... @not.a.facet"
    data = text.encode()
    start, link = data.index(b"@ada"), data.index(b"example.org/a")
    facets: list[Any] = [
        {"index": {"byteStart": start, "byteEnd": start + 16}, "features": [{"did": "did:plc:ada"}]},
        {"index": {"byteStart": link, "byteEnd": link + 19}, "features": [{"uri": "https://example.org/a/long"}]},
        {"index": {"byteStart": 900, "byteEnd": 950}, "features": [{"did": "did:plc:x"}]},
        {"index": {"byteStart": 9, "byteEnd": 2}, "features": [{"tag": "x"}]},
        {"index": "?", "features": None},
        None,
    ]
    bluesky.post("a", TEAM, text, facets=facets, langs=["de", "en"])
    bluesky.posts[bluesky.uri("a", TEAM)]["labels"] = [{"val": "porn"}]
    (row,) = gather(bluesky, bluesky=TEAM).rows
    before, after = row["text"].split(" see ")
    assert before.startswith("Ünder @person-")
    assert after == "https://example.org/a/long @not.a.facet"
    assert row["language"] is None
    assert row["meta"]["thread"]["sensitive"] is True


def test_people_who_ask_for_signed_in_readers_only(gather: Any, bluesky: Any) -> None:
    root = bluesky.post("a", TEAM, "Open.")["uri"]
    label = [{"val": "!no-unauthenticated", "src": "did:plc:shy"}]
    bluesky.post("b", "shy.example.org", "secret", root, author_labels=label)
    assert gather(bluesky, bluesky=TEAM).texts() == ["Open."]
    assert "secret" in gather(bluesky, bluesky=TEAM, opted_out=True).texts()[0]


def test_missing_fields(gather: Any, bluesky: Any) -> None:
    bluesky.post("a", TEAM, "x")["record"] = {}
    bluesky.post("b", TEAM, "x")["record"] = None
    bluesky.post("c", TEAM, "Here.")["record"].pop("createdAt")
    bluesky.post("d", TEAM, "Nobody.")["author"] = {"handle": TEAM, "did": None}
    bluesky.post("e", TEAM, "Lost name.")["author"]["did"] = "did:plc:e"
    found = gather(bluesky, bluesky=TEAM)
    assert found.texts() == ["Lost name.", "Nobody.", "Here."]


def test_a_search_logs_in_and_again_when_the_session_runs_out(gather: Any, bluesky: Any) -> None:
    for n in range(30):
        bluesky.post(f"p{n}", TEAM, f"Post {n} of #oil.")
    bluesky.page, bluesky.uses = 10, 2
    found = gather(bluesky, bluesky="#oil")
    assert len(set(found.keys())) == 30
    assert bluesky.counted("createSession") == 2
    assert "abcd-efgh" not in " ".join(bluesky.asked)


def test_a_wrong_or_missing_password(gather: Any, bluesky: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bluesky.password = "changed"
    with pytest.raises(RefusedError, match="AuthenticationRequired"):
        gather(bluesky, bluesky="search:oil")
    monkeypatch.delenv("LAMINA_BLUESKY_PASSWORD", raising=False)


def test_since(gather: Any, bluesky: Any) -> None:
    for n in range(20):
        bluesky.post(f"p{n}", TEAM, f"Post {n}.")
    bluesky.page = 5
    late = datetime.fromtimestamp(1_700_000_000 + 12 * 60, UTC)
    assert len(gather(bluesky, bluesky=TEAM, since=late).rows) == 8
    assert bluesky.counted("getAuthorFeed") == 3


def test_a_very_deep_thread(gather: Any, bluesky: Any) -> None:
    uri = bluesky.post("p0", TEAM, "Post 0.")["uri"]
    for n in range(1, 200):
        uri = bluesky.post(f"p{n}", TEAM, f"Post {n}.", uri)["uri"]
    found = gather(bluesky, bluesky=TEAM)
    assert [row["meta"]["posts"] for row in found.rows] == [200]
    assert bluesky.counted("getPostThread") == 1


def test_places() -> None:
    assert place("@Team.bsky.social").actor == "Team.bsky.social"
    assert place("did:plc:abc").actor == "did:plc:abc"
    assert place("#oil") == Place(search="#oil")
    for text in ("team", "", "search: ", "#", "a b.c"):
        with pytest.raises(ConfigError):
            place(text)
