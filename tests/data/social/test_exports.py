"""What networks and chat programs hand out, told apart by what it holds; archives with all else in them left alone."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard


def meta(row: dict[str, Any]) -> dict[str, Any]:
    return dict(orjson.loads(row["meta"]))


def said(ts: str, user: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts} | more


SLACK: dict[str, Any] = {
    "users.json": [
        {"id": "U1", "name": "ada", "profile": {"display_name": "Ada N", "real_name": "Ada North"}},
        {"id": "U2", "name": "bo", "profile": {}},
    ],
    "channels.json": [{"id": "C1", "name": "general"}, {"id": "C2", "name": "empty"}],
    "general/2024-01-01.json": [
        said("1704096000.000100", "U1", "", subtype="channel_join"),
        said("1704096001.000100", "U1", "Which oil? <https://example.org/oil|the list> &amp; more", reply_count=2),
        said("1704096060.000100", "U2", "Morning <@U1>, <!here>"),
        said("1704096070.000100", "U1", "Morning @bo"),
    ],
    "general/2024-01-02.json": [
        said("1704182400.000100", "U2", "Colza, see <#C2|empty>", thread_ts="1704096001.000100"),
        said("1704182500.000100", "U9", "", thread_ts="1704096001.000100", subtype="tombstone"),
        said("1704182600.000100", "U2", "New day"),
        {"type": "message", "bot_id": "B1", "subtype": "bot_message", "text": "Build done", "ts": "1704182601.000100"},
    ],
    "empty/2024-01-01.json": [],
    "mpdm-ada--bo-1/2024-01-01.json": [said("1704096000.000200", "U1", "Between us")],
    "integration_logs.json": [],
    "canvases.json": [{"secret": 1}],
}


def test_slack(read: Any, tmp_path: Path) -> None:
    found = read({"team.zip": SLACK}, work=tmp_path / "work")
    by_text = {row["text"].split("\n")[0]: row for row in found.rows}
    thread = by_text["A: Which oil? the list (https://example.org/oil) & more"]
    assert thread["text"].endswith("\nB: Colza, see #empty")
    assert thread["title"] == "general"
    ada, bo = meta(thread)["authors"]
    assert by_text[f"A: Morning @{ada}, @here"]["text"] == f"A: Morning @{ada}, @here\nB: Morning @{bo}"
    assert by_text["A: New day"]["text"] == "A: New day\nB: Build done"
    private = by_text["Between us"]
    assert private["title"] is None
    assert "mpdm" not in str(private)
    assert len(found.rows) == 4
    assert found.names == ["team.zip"]
    assert found.reasons == {"team.zip, 1 posts": "are deleted, or hold no text"}


def test_slack_as_a_folder_and_without_users(read: Any) -> None:
    contents = {f"export/{name}": value for name, value in SLACK.items() if name != "users.json"}
    found = read(contents)
    assert len(found.rows) == 4
    assert sorted(found.names) == sorted(contents)
    assert any("Morning @bo" in row["text"] for row in found.rows), "without the list, plain names are plain words"


def test_slack_ids_stay_when_the_export_grows(read: Any) -> None:
    day = "general/2024-01-02.json"
    first = read({"team.zip": {name: value for name, value in SLACK.items() if name != day}})
    second = read({"team.zip": SLACK})
    assert {row["id"] for row in first.rows} < {row["id"] for row in second.rows}


def discord_message(id: str, who: str, text: str, minute: int, **more: Any) -> dict[str, Any]:
    author = {"id": f"9{who}", "name": who, "nickname": f"{who.title()} the Great", "isBot": False}
    told = {"id": id, "type": "Default", "timestamp": f"2024-01-01T10:{minute:02}:00+00:00", "content": text}
    return told | {"author": author, "mentions": [], "reactions": []} | more


def test_discord_chat_exporter(read: Any) -> None:
    ada = {"id": "9ada", "name": "ada", "nickname": "Ada the Great"}
    export = {
        "guild": {"id": "1", "name": "Grane"},
        "channel": {"id": "77", "type": "GuildTextChat", "name": "light"},
        "messages": [
            discord_message("1", "ada", "Which oil? <:lamp:123>", 0),
            discord_message("2", "bo", "@Ada the Great colza", 1, mentions=[ada], type="Reply"),
            discord_message("3", "cy", "Joined", 2, type="GuildMemberJoin"),
            discord_message("4", "cy", "", 3, attachments=[{"url": "x"}]),
        ],
    }
    found = read({"light.json": orjson.dumps(export)})
    (row,) = found.rows
    ada_name = meta(row)["authors"][0]
    assert row["text"] == f"A: Which oil? :lamp:\nB: @{ada_name} colza"
    assert row["title"] == "light"
    assert "light.json, 1 posts" in found.reasons


def test_discord_data_package(read: Any) -> None:
    package = {
        "account/user.json": {"id": "5", "email": "me@example.org"},
        "messages/index.json": {"1": "light in Grane", "2": "Direct Message with bo#1"},
        "messages/c1/channel.json": {"id": "1"},
        "messages/c1/messages.json": [
            {"ID": 12, "Timestamp": "2024-01-01 10:01:00", "Contents": "Second <@44>", "Attachments": ""},
            {"ID": 9, "Timestamp": "2024-01-01 10:00:00", "Contents": "First", "Attachments": ""},
        ],
        "messages/c2/channel.json": {"id": "2"},
        "messages/c2/messages.csv": "ID,Timestamp,Contents,Attachments\n7,2021-01-01 10:00:00+00:00,Hello there,\n",
        "activity/events.json": {"secret": 1},
    }
    found = read({"package.zip": package})
    first, second = sorted(found.rows, key=lambda row: row["url"])
    assert first["text"].startswith("First\n\nSecond @person-")
    assert (first["title"], second["title"], second["text"]) == ("light in Grane", None, "Hello there")
    assert found.reasons == {"package.zip, 2 other files": "are no posts: left alone"}


def telegram(id: int, who: str | None, text: Any, minute: int, **more: Any) -> dict[str, Any]:
    told = {"id": id, "type": "message", "date": f"2024-01-01T10:{minute:02}:00", "text": text}
    return told | {"from": who, "from_id": f"user{who}" if who else None} | more


def test_telegram(read: Any, tmp_path: Path) -> None:
    chat = {
        "name": "Grane Light",
        "type": "private_supergroup",
        "id": 44,
        "messages": [
            {"id": 1, "type": "service", "action": "create_group", "text": ""},
            telegram(2, "Ann", ["Which ", {"type": "bold", "text": "oil"}, "?"], 0),
            telegram(3, "Bob", ["Ask ", {"type": "mention_name", "text": "Cy", "user_id": 7}], 5),
            telegram(4, None, "Deleted account", 6),
            telegram(5, "Ann", "", 7, media_type="sticker"),
            telegram(6, "Ann", "Next day", 0) | {"date": "2024-01-02T10:00:00"},
            telegram(7, "Bob", "To the first", 1, reply_to_message_id=2) | {"date": "2024-01-02T10:01:00"},
        ],
    }
    private = {"name": "Ann", "type": "personal_chat", "id": 45, "messages": [telegram(1, "Ann", "Hi", 0)]}
    everything = {"about": "…", "contacts": {"list": [{"first_name": "X"}]}, "chats": {"list": [chat, private, {}]}}
    found = read({"result.json": orjson.dumps(everything)})
    first, second, alone = found.rows
    assert first["text"].startswith("A: Which oil?\nB: Ask @person-")
    assert "To the first" in first["text"], "a reply stands with what it replies to"
    assert (second["text"], alone["text"], alone["title"]) == ("Next day", "Hi", None)
    assert (first["title"], first["position"], second["position"]) == ("Grane Light", 0, 1)
    assert found.reasons == {"result.json, 1 posts": "are deleted, or hold no text"}
    assert read({"one/result.json": orjson.dumps(chat)}).texts()[0] == first["text"]
    assert len(read({"result.json": orjson.dumps(chat)}, gap_minutes=1e6).rows) == 1


IPHONE = (
    "\u200e[31.12.23, 23:58:01] Grane: \u200eMessages are end-to-end encrypted.\n"
    "[31.12.23, 23:58:01] Ann N: Which oil?\nThe yellow one?\n"
    "[31.12.23, 23:59:30] Bob: \u200e<attached: 001.jpg>\n"
    "[31.12.23, 23:59:59] Bob: @\u2068Ann N\u2069 colza: always\n"
    "[02.01.24, 09:00:00] Ann N: Happy new year\n"
)
ANDROID = (
    "1/13/24, 9:05\u202fPM - Messages and calls are end-to-end encrypted.\n"
    "1/13/24, 9:05\u202fPM - Ann: Hello\n1/13/24, 9:06 PM - +49 170 1234567: Hi\n"
    "1/13/24, 9:07 PM - Ann: <Media omitted>\n1/13/24, 9:08 PM - Ann: This message was deleted\n"
)


def test_whatsapp(read: Any) -> None:
    found = read({"_chat.txt": IPHONE, "WhatsApp Chat.txt": ANDROID})
    evening, morning, android = found.rows
    turns = evening["text"].split("\n")
    assert turns[1:3] == ["B: Which oil?", "The yellow one?"]
    assert turns[3].startswith("C: @person-")
    assert turns[3].endswith(" colza: always")
    assert evening["created"].isoformat() == "2023-12-31T23:58:01+00:00"
    assert morning["text"] == "Happy new year"
    assert android["text"] == "A: Hello\nB: Hi"
    assert android["created"].isoformat() == "2024-01-13T21:05:00+00:00"
    assert found.reasons["WhatsApp Chat.txt, 2 posts"] == "are deleted, or hold no text"
    assert "1234567" not in str(android)
    assert "no export of a chat" in read({"notes.txt": "Dear all,\n"}).reasons["notes.txt"]


def tweet(id: str, text: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    inner = {"id_str": id, "full_text": text, "created_at": "Wed Oct 10 20:19:24 +0000 2018", "lang": "en"} | more
    return {"tweet": inner | ({"in_reply_to_status_id_str": parent} if parent else {})}


def script(name: str, value: Any) -> bytes:
    return f"window.YTD.{name}.part0 = ".encode() + orjson.dumps(value)


def test_x_archive(read: Any) -> None:
    entities = {
        "urls": [{"url": "https://t.co/a", "expanded_url": "https://example.org/long"}],
        "user_mentions": [{"screen_name": "ada"}],
    }
    archive = {
        "data/account.js": script("account", [{"account": {"accountId": "77", "username": "me"}}]),
        "data/tweets.js": script("tweets", [tweet("1", "@ada see https://t.co/a", entities=entities)]),
        "data/tweets-part1.js": script("tweets", [tweet("2", "and more", "1"), tweet("3", "RT @bo: no")]),
        "data/deleted-tweets.js": script("deleted_tweets", [tweet("4", "a secret")]),
        "data/direct-messages.js": script(
            "direct_messages", [{"dmConversation": {"messages": [{"text": "a secret"}]}}]
        ),
        "Your archive.html": "<html></html>",
    }
    found = read({"twitter.zip": archive})
    (row,) = found.rows
    assert row["text"].startswith("@person-")
    assert row["text"].endswith(" see https://example.org/long\n\nand more")
    assert row["author"].startswith("person-")
    assert found.reasons == {
        "twitter.zip, 1 posts": "are deleted, or hold no text",
        "twitter.zip, 3 other files": "are no posts: left alone",
    }


def test_mastodon_archive(read: Any) -> None:
    def note(id: str, text: str, to: list[str], **more: Any) -> dict[str, Any]:
        inner = {"id": id, "type": "Note", "content": text, "attributedTo": "https://x/u/me", "to": to, "cc": []}
        return {"type": "Create", "object": inner | {"published": "2024-01-01T00:00:00Z"} | more}

    public = "https://www.w3.org/ns/activitystreams#Public"
    mention = [{"type": "Mention", "name": "@ada@far.example", "href": "https://far.example/@ada"}]
    box = {
        "orderedItems": [
            note("https://x/1", "<p>@<span>ada</span> hello</p>", [public], tag=mention),
            note("https://x/2", "<p>For you only</p>", ["https://far.example/@ada"]),
            {"type": "Announce", "object": "https://elsewhere/2"},
        ]
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, value in (("outbox.json", box), ("likes.json", {"orderedItems": ["https://x"]}), ("actor.json", {})):
            data = orjson.dumps(value)
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    found = read({"archive-1.tar.gz": buffer.getvalue()})
    (row,) = found.rows
    assert row["text"].startswith("@person-")
    assert row["text"].endswith(" hello")
    assert found.reasons == {
        "archive-1.tar.gz/outbox.json, 2 posts": "are deleted, or hold no text",
        "archive-1.tar.gz, 2 other files": "are no posts: left alone",
    }


def dump(records: list[Any], level: int = 3) -> bytes:
    lines = b"\n".join(orjson.dumps(record) for record in records) + b"\n"
    return zstandard.ZstdCompressor(level=level).compress(lines)


SUBMISSIONS = [
    {"id": "a", "title": "Which oil?", "selftext": "For a lamp.", "author": "kim", "created_utc": 1600000000},
    {"id": "z", "title": "Gone", "selftext": "[removed]", "author": "[deleted]", "created_utc": 1600000001},
]
COMMENTS = [
    {"id": "a", "body": "Colza.", "author": "lee", "link_id": "t3_a", "parent_id": "t3_a", "created_utc": "1600000100"},
    {"id": "c", "body": "[deleted]", "author": "[deleted]", "link_id": "t3_a", "parent_id": "t1_a", "created_utc": 160},
    {"id": "d", "body": "Why?", "author": "kim", "link_id": "t3_a", "parent_id": "t1_c", "created_utc": 1600000300},
]


@pytest.mark.parametrize(
    "names", [("lamps_submissions.zst", "lamps_comments.zst"), ("RS_2020-01.zst", "RC_2020-01.zst")]
)
def test_reddit_dumps_are_read_in_pairs(read: Any, names: tuple[str, str]) -> None:
    found = read({names[1]: dump(COMMENTS), names[0]: dump(SUBMISSIONS)})
    (row,) = found.rows
    assert row["text"] == "A: For a lamp.\nB: Colza.\nA: Why?"
    assert row["title"] == "Which oil?"
    assert sorted(found.names) == sorted(names)
    assert "2 posts" in str(found.reasons)


def test_dumps_with_the_longest_window(read: Any) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(b"\n".join(orjson.dumps(r) for r in SUBMISSIONS) + b"\n") + packer.flush()
    assert zstandard.get_frame_parameters(data).window_size == 1 << 31
    assert read({"lamps_submissions.zst": data}).texts() == ["For a lamp."]


def test_own_data_of_reddit(read: Any) -> None:
    archive = {
        "posts.csv": "id,permalink,date,ip,subreddit,gildings,title,url,body\n"
        "a,https://www.reddit.com/r/lamps/comments/a/x/,2021-01-01 12:00:00 UTC,10.0.0.1,lamps,0,Which oil?,,For it.\n",
        "comments.csv": "id,permalink,date,ip,subreddit,gildings,link,parent,body,media\n"
        "b,https://www.reddit.com/r/lamps/comments/a/x/b/,2021-01-02 12:00:00 UTC,10.0.0.1,lamps,0,"
        "https://www.reddit.com/r/lamps/comments/a/x/,,Mine too.,\n",
        "chat_history.csv": "message_id,message\n1,a secret\n",
        "ip_logs.csv": "date,ip\n",
    }
    found = read({"export.zip": archive})
    (row,) = found.rows
    assert row["text"] == "For it.\n\nMine too."
    assert row["created"].isoformat() == "2021-01-01T12:00:00+00:00"
    assert "10.0.0.1" not in str(row)
    assert "2 other files" in str(found.reasons)


def test_hacker_news_dumps(read: Any) -> None:
    header = "id,by,type,time,title,text,parent,url,dead,deleted\n"
    rows = "1,pg,story,1600000000,Which oil?,,,https://example.org,,\n"
    rows += '2,ada,comment,1600000100,,"Colza &amp; <i>whale</i>",1,,,\n'
    found = read(
        {"hn.csv": header + rows + "3,spam,comment,1600000200,,Buy,1,,true,\n4,,comment,1600000300,,,1,,,true\n"}
    )
    (row,) = found.rows
    assert row["text"] == "A: Which oil?\nB: Colza & whale"
    assert row["url"] == "https://news.ycombinator.com/item?id=1"
    assert found.reasons["hn.csv, 2 posts"] == "are deleted, or hold no text"
    lines = [{"id": 1, "by": "pg", "type": "story", "time": 1, "title": "T"}]
    assert read({"hn.jsonl": b"\n".join(map(orjson.dumps, lines))}).texts() == ["T"]


def test_links_and_salt(read: Any) -> None:
    data = {"hn.jsonl": orjson.dumps({"id": 1, "by": "pg", "type": "story", "time": 1, "title": "T"})}
    (row,) = read(data, links=False).rows
    assert row["url"] == "box/hn.jsonl#1"


def test_an_archive_of_unknown_files_is_read_file_by_file(read: Any) -> None:
    posts = [{"id": "1", "author": "a", "text": "One."}]
    found = read(
        {"some.zip": {"a.json": posts, "b/c.jsonl": b'{"id": "2", "text": "Two."}\n', "picture.png": b"\x89PNG"}}
    )
    assert found.texts() == ["One.", "Two."]
    assert [row["url"] for row in found.rows] == ["box/some.zip/a.json#1", "box/some.zip/b/c.jsonl#2"]
