"""Social media: threads kept together, pseudonyms, deleted posts counted, the exports of well-known networks."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.readers.posts import Post
from lamina.data.social.threads import roots
from lamina.kit.errors import ConfigError


def meta(row: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(row["meta"])
    return value


CHATS = {
    "c-1": {
        "messages": [
            [
                {"text": "Hello", "timestamp": "2018-05-02T19:38:15Z", "sender": "u-1"},
                {"text": "how are you?", "timestamp": "2018-05-02T19:38:20Z", "sender": "u-1"},
            ],
            [{"text": "im doing good", "timestamp": "2018-05-02T19:38:29Z", "sender": "u-2"}],
            [{"text": "", "timestamp": "2018-05-02T19:38:30Z", "sender": "u-2"}],
        ],
        "prompt": "What is your dream?",
        "ratings": {"witty": 5},
    },
    "c-2": {"messages": [[{"text": "Anybody?", "sender": "u-1"}]]},
    "c-3": {"messages": []},
}


def test_conversations_with_turns_in_groups(collect: Any) -> None:
    found = collect("social", {"chat.json": orjson.dumps(CHATS)})
    first, second = found.rows
    assert first["text"] == "A: Hello\nhow are you?\nB: im doing good"
    assert first["title"] == "What is your dream?"
    assert first["created"].isoformat() == "2018-05-02T19:38:15+00:00"
    assert first["group_id"] == "chat.json#c-1"
    assert first["author"] is None
    assert meta(first)["messages"] == [
        {"role": "user", "content": "Hello\nhow are you?"},
        {"role": "assistant", "content": "im doing good"},
    ]
    assert meta(first)["thread"] == {"ratings": {"witty": 5}}
    assert second["text"] == "Anybody?"
    assert "messages" not in meta(second)
    assert found.reasons == {"chat.json, 1 posts": "are deleted, or hold no text"}


def test_authors_are_pseudonyms_that_follow_the_salt(collect: Any) -> None:
    data = {"chat.json": orjson.dumps(CHATS)}
    one, other = collect("social", data).rows, collect("social", data, salt="mine").rows
    assert "u-1" not in str(one)
    assert one[1]["author"] == meta(one[0])["authors"][0]
    assert one[1]["author"] != other[1]["author"]
    assert [row["id"] for row in one] == [row["id"] for row in other]


def test_min_posts(collect: Any) -> None:
    found = collect("social", {"chat.json": orjson.dumps(CHATS)}, min_posts=2)
    assert [row["title"] for row in found.rows] == ["What is your dream?"]
    assert found.reasons["chat.json, 1 threads"] == "have fewer than 2 posts"


def test_mastodon_statuses_become_threads_in_the_order_of_time(collect: Any) -> None:
    def status(id: str, parent: str | None, who: str, content: str, minute: int) -> dict[str, Any]:
        return {
            "id": id,
            "in_reply_to_id": parent,
            "account": {"acct": who, "username": who.partition("@")[0]},
            "content": content,
            "created_at": f"2024-05-01T10:{minute:02}:00.000Z",
            "language": "en",
            "url": f"https://example.social/{id}",
        }

    mention = '<p><span class="h-card"><a href="https://x/@ada">@<span>ada</span></a></span> Yes &amp; no.<br>Both.</p>'
    found = collect(
        "social",
        {
            "statuses.json": orjson.dumps(
                [
                    status("3", "2", "ada@far.example", "<p>Fair enough.</p>", 9),
                    status("2", "1", "bo", mention, 5),
                    status("1", None, "ada@far.example", "<p>Is it so?</p><p>Tell me.</p>", 1),
                    status("9", "gone", "bo", "<p>Alone.</p>", 2),
                ]
            )
        },
    )
    thread, alone = sorted(found.rows, key=lambda row: row["text"])
    ada, bo = meta(thread)["authors"]
    assert thread["text"] == f"A: Is it so?\n\nTell me.\nB: @{ada} Yes & no.\nBoth.\nA: Fair enough."
    assert [m["role"] for m in meta(thread)["messages"]] == ["user", "assistant", "user"]
    assert (thread["url"], thread["language"]) == ("https://example.social/1", "en")
    assert (alone["text"], alone["author"]) == ("Alone.", bo)
    assert "far.example" not in str(found.rows)


def test_mastodon_outbox(collect: Any) -> None:
    box = {
        "@context": "https://www.w3.org/ns/activitystreams",
        "orderedItems": [
            {
                "type": "Create",
                "published": "2024-01-01T00:00:00Z",
                "object": {
                    "id": "https://x/1",
                    "content": "<p>Mine.</p>",
                    "attributedTo": "https://x/u/me",
                    "published": "2024-01-01T00:00:00Z",
                    "inReplyTo": None,
                },
            },
            {"type": "Announce", "object": "https://elsewhere/2", "actor": "https://x/u/me"},
        ],
    }
    found = collect("social", {"outbox.json": orjson.dumps(box)})
    assert found.texts() == ["Mine."]
    assert found.rows[0]["created"].year == 2024
    assert "outbox.json, 1 posts" in found.reasons


def test_twitter_archive(collect: Any) -> None:
    def tweet(id: str, text: str, parent: str | None = None) -> dict[str, Any]:
        inner = {"id_str": id, "full_text": text, "created_at": "Wed Oct 10 20:19:24 +0000 2018", "lang": "en"}
        return {"tweet": inner | ({"in_reply_to_status_id_str": parent} if parent else {})}

    data = b"window.YTD.tweets.part0 = " + orjson.dumps([tweet("2", "and more", "1"), tweet("1", "ham &amp; eggs")])
    found = collect("social", {"data/tweets.js": data})
    (row,) = found.rows
    assert row["text"] == "ham & eggs\n\nand more"
    assert row["created"].isoformat() == "2018-10-10T20:19:24+00:00"
    assert row["language"] == "en"


def test_reddit_lines_with_deleted_posts_and_a_broken_line(collect: Any) -> None:
    posts: list[Any] = [
        {"id": "a", "title": "Which oil?", "selftext": "For a lamp.", "author": "kim", "created_utc": 1600000000},
        {"id": "b", "body": "Colza.", "author": "lee", "parent_id": "t3_a", "created_utc": "1600000100"},
        {"id": "c", "body": "[deleted]", "author": "[deleted]", "parent_id": "t1_b", "created_utc": 1600000200},
        {"id": "d", "body": "Thanks u/lee", "author": "kim", "parent_id": "t1_c", "created_utc": 1600000300},
        {"id": "e", "title": "A link", "selftext": "", "author": "lee", "url": "https://example.org"},
    ]
    data = b"\n".join(orjson.dumps(post) for post in posts) + b'\n{"id": "f", \n'
    found = collect("social", {"posts.jsonl": data})
    thread, link = found.rows
    lee = meta(thread)["authors"][1]
    assert thread["text"] == f"A: For a lamp.\nB: Colza.\nA: Thanks u/{lee}"
    assert thread["title"] == "Which oil?"
    assert (link["text"], link["title"]) == ("A link", "A link")
    assert "posts.jsonl, 1 posts" in found.reasons
    assert any("line 6" in name and "is not JSON" in reason for name, reason in found.reasons.items())


def test_channels_are_cut_at_pauses(collect: Any) -> None:
    channel = {
        "name": "general",
        "messages": [
            {"id": 1, "from": "Ann", "date": "2024-01-01T10:00:00", "text": "Morning"},
            {"id": 2, "from": "Bob", "date": "2024-01-01T10:05:00", "text": ["Hi ", {"type": "bold", "text": "Ann"}]},
            {"id": 3, "from": "Bob", "date": "2024-01-02T09:00:00", "text": "New day"},
        ],
    }
    found = collect("social", {"result.json": orjson.dumps(channel)}, gap_minutes=60)
    assert found.texts() == ["A: Morning\nB: Hi Ann", "New day"]
    assert [(row["position"], row["title"]) for row in found.rows] == [(0, "general"), (1, "general")]
    assert len({row["group_id"] for row in found.rows}) == 1
    assert len({row["id"] for row in found.rows}) == 2
    assert len(collect("social", {"result.json": orjson.dumps(channel)}).rows) == 1


def test_chat_rows_keep_their_roles(collect: Any) -> None:
    rows: list[Any] = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello."},
            ]
        },
        {"conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]},
    ]
    found = collect("social", {"chat.jsonl": b"\n".join(orjson.dumps(row) for row in rows)})
    assert [m["role"] for m in meta(found.rows[0])["messages"]] == ["system", "user", "assistant"]
    assert meta(found.rows[1])["messages"] == [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
    ]
    assert found.rows[0]["text"] == "System: Be brief.\nA: Hi\nB: Hello."


def test_fields_and_records_for_other_exports(collect: Any) -> None:
    data = {"export": {"threads": [{"log": [{"w": {"n": "x"}, "t": "one"}, {"w": {"n": "y"}, "t": "two"}]}]}}
    parameters = {"records": "export.threads", "messages": "log", "fields": {"text": "t", "author": "w.n"}}
    assert collect("social", {"e.json": orjson.dumps(data)}, **parameters).texts() == ["A: one\nB: two"]
    with pytest.raises(ConfigError, match="no part 'txt'"):
        collect("social", {}, fields={"txt": "t"})


def test_bad_files_are_reported(collect: Any) -> None:
    found = collect("social", {"a.json": b"{", "b.xml": b"<x/>", "c.json": b"[]", "d.json": b'["Just words."]'})
    assert found.texts() == ["Just words."]
    assert "is not JSON" in found.reasons["a.json"]
    assert "'.xml'" in found.reasons["b.xml"]
    assert "holds nothing" in found.reasons["c.json"]


def test_a_circle_of_replies_ends(collect: Any) -> None:
    posts = [{"id": "1", "parent": "2", "text": "a"}, {"id": "2", "parent": "1", "text": "b"}]
    assert len(collect("social", {"p.json": orjson.dumps(posts)}).rows) == 1


@given(st.dictionaries(st.integers(0, 30), st.integers(0, 30), max_size=30))
def test_every_post_is_in_the_thread_of_its_parent(parents: dict[int, int]) -> None:
    named = {str(n): Post(id=str(n), parent=str(p), text="x") for n, p in parents.items()}
    found = roots(named)
    assert set(found) == set(named)
    for name, root in found.items():
        assert root in named
        parent = named[name].parent
        assert name == root or parent not in named or found[name] == found[str(parent)] or found[root] == root


def test_limit_is_the_first_so_many(collect: Any) -> None:
    assert [row["title"] for row in collect("social", {"chat.json": orjson.dumps(CHATS)}, limit=1).rows] == [
        "What is your dream?"
    ]


@pytest.mark.parametrize("piece", ["<", "<!", "<?", "<a ", "<a b='", "</", "&#", "<!--", "@a."])
def test_posts_made_to_be_slow_are_read_in_time(collect: Any, piece: str) -> None:
    text = "<p>before</p>" + piece * (400_000 // len(piece))
    began = time.perf_counter()
    (row,) = collect("social", {"p.json": orjson.dumps([{"id": "1", "author": "a", "text": text}])}).rows
    assert row["text"].startswith("before")
    assert time.perf_counter() - began < 5  # seconds; a reader of quadratic cost takes minutes
