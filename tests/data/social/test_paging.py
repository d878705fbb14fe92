"""Faults of the networks, and runs that are killed: nothing twice, nothing lost, whichever network it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamina.data.social.paging import Journal
from lamina.data.social.threads import Tally
from lamina.kit.errors import FetchError

NETWORKS = ("mastodon", "bluesky", "reddit", "hackernews")
PLACES = {
    "mastodon": "@team@example.social",
    "bluesky": "search:Post",
    "reddit": "r/lamps",
    "hackernews": "top",
}
COUNT = 25


@pytest.fixture(params=NETWORKS)
def network(request: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """A network with 25 posts on pages of ten, of which every second has an answer."""
    name, server = request.param, request.getfixturevalue(request.param)
    for n in range(1, COUNT + 1):
        if name == "mastodon":
            server.status(n * 10, "team", f"<p>Post {n}.</p>")
            if n % 2 == 0:
                server.status(n * 10 + 1, "ada@far.example", "<p>Answer.</p>", n * 10)
        elif name == "bluesky":
            uri = server.post(f"p{n}", "team.bsky.social", f"Post {n}.")["uri"]
            if n % 2 == 0:
                server.post(f"a{n}", "ada.example.org", "Answer.", uri)
        elif name == "reddit":
            server.submission(f"p{n}", "team", f"Post {n}.")
            if n % 2 == 0:
                server.comment(f"a{n}", "ada", "Answer.", f"t3_p{n}")
        else:
            server.item(n * 2, "story", "team", title=f"Post {n}.")
            if n % 2 == 0:
                server.item(n * 2 + 1, "comment", "ada", n * 2, text="Answer.")
            server.top.insert(0, n * 2)
    server.page = 10
    monkeypatch.setattr("lamina.data.social.hackernews._PAGE", 10)
    return name, server


def run(gather: Any, network: tuple[str, Any], **options: Any) -> Any:
    name, server = network
    return gather(server, **{name: PLACES[name]}, **options)


def test_undisturbed(gather: Any, network: Any) -> None:
    found = run(gather, network)
    assert len(found.rows) == len(set(found.keys())) == COUNT
    assert sum("Answer." in text for text in found.texts()) == 12


@pytest.mark.parametrize("fault", ["429", "window", "500", "503", "cut", "short", "drop", "html", "other"])
def test_a_fault_costs_an_attempt_and_nothing_else(gather: Any, network: Any, clock: Any, fault: str) -> None:
    expected = run(gather, network).rows
    name, server = network
    several = {"mastodon": "context", "bluesky": "PostThread", "reddit": "/comments/", "hackernews": "/item/"}
    server.faults = [("/", fault), (several[name], fault), (several[name], fault)]
    clock.slept.clear()
    found = run(gather, network)
    assert found.rows == expected
    assert not server.faults
    assert not found.reasons
    if fault == "429":
        assert clock.slept.count(7.0) == 3


def test_a_killed_run_goes_on_where_it_stopped(gather: Any, network: Any, tmp_path: Path) -> None:
    expected = run(gather, network)
    _, server = network
    for stop in (1, 10, 11, 24, 25):
        work = tmp_path / str(stop)
        first = run(gather, network, work=work, stop=stop)
        assert first.keys() == expected.keys()[:stop]
        asked = len(server.asked)
        second = run(gather, network, work=work)
        assert second.keys() == expected.keys(), stop
        assert second.texts() == expected.texts()
        assert second.reasons == expected.reasons
        if stop == 25:
            assert len(server.asked) - asked <= 5, "what is in the journal is not asked for again"


def test_an_ended_journal_asks_for_nothing(gather: Any, network: Any, tmp_path: Path) -> None:
    expected = run(gather, network, work=tmp_path)
    asked = len(network[1].asked)
    assert run(gather, network, work=tmp_path).keys() == expected.keys()
    assert len(network[1].asked) == asked


def test_a_network_that_breaks_down_is_gone_on_with(gather: Any, network: Any, tmp_path: Path, clock: Any) -> None:
    expected = run(gather, network).keys()
    _, server = network
    found = type(run(gather, network))()
    seen = 0
    answer = server.answer

    def failing(request: Any) -> Any:
        nonlocal seen
        seen += 1
        server.down = seen > 8
        return answer(request)

    server.answer = failing
    with pytest.raises(FetchError, match="it goes on here"):
        run(gather, network, work=tmp_path, into=found)
    before = len(found.rows)
    assert before < COUNT
    server.answer, server.down = answer, False
    clock.time += 10_000
    again = run(gather, network, work=tmp_path)
    assert sorted(again.keys()) == sorted(expected)
    assert not again.reasons


def test_one_thread_that_cannot_be_had_costs_itself(gather: Any, mastodon: Any, clock: Any) -> None:
    for n in range(1, 8):
        mastodon.status(n * 10, "team", f"<p>Post {n}.</p>")
        mastodon.status(n * 10 + 1, "bo", "<p>Answer.</p>", n * 10)
    mastodon.faults = [("/30/context", "500")] * 12
    found = gather(mastodon, mastodon=PLACES["mastodon"])
    assert len(found.rows) == 6
    assert "500" in found.reasons["mastodon @team@example.social, thread 30"]


def test_what_is_new_while_a_run_lies_dead_does_not_disturb_it(gather: Any, mastodon: Any, tmp_path: Path) -> None:
    for n in range(1, 101):
        mastodon.status(n, "team", f"<p>Post {n}.</p>")
    first = gather(mastodon, mastodon=PLACES["mastodon"], work=tmp_path, stop=50)
    mastodon.status(200, "team", "<p>New.</p>")
    del mastodon.statuses["45"]
    second = gather(mastodon, mastodon=PLACES["mastodon"], work=tmp_path)
    assert second.keys()[:50] == first.keys()
    assert len(set(second.keys())) == len(second.keys()) == 99


def test_other_parameters_have_a_journal_of_their_own(gather: Any, network: Any, tmp_path: Path) -> None:
    run(gather, network, work=tmp_path)
    assert run(gather, network, work=tmp_path, min_posts=2).keys() != []
    assert len(list(tmp_path.iterdir())) == 2


CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from lamina.contracts.corpus import Inbox
from lamina.data.sources.social import social

class Report:
    def read(self, name): ...
    def unread(self, name, reason): print(name, reason, file=sys.stderr)

inbox = Inbox(source="s", files=(), origin="", collected=datetime.now(UTC), report=Report(), work=Path(sys.argv[2]))
for batch in social(inbox, mastodon="@team@example.social", base_url=sys.argv[1], delay_s=0.0,
                    allow_private=("127.0.0.1",)):
    for row in batch.to_pylist():
        print([row["id"], row["text"]])
print("END")
"""


def test_kill_9(mastodon: Any, tmp_path: Path) -> None:
    for n in range(1, 61):
        mastodon.status(n * 10, "team", f"<p>Post {n}.</p>")
        mastodon.status(n * 10 + 1, "bo", "<p>Answer.</p>", n * 10)
    answer, victim = mastodon.answer, []

    def deadly(request: Any) -> Any:
        if len(mastodon.asked) == 25:
            os.kill(victim[0].pid, signal.SIGKILL)
        return answer(request)

    def start(work: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, mastodon.url, str(work)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    mastodon.answer = deadly
    victim.append(start(tmp_path))
    out, _ = victim[0].communicate(timeout=60)
    assert victim[0].returncode == -signal.SIGKILL
    assert "END" not in out
    mastodon.answer = answer
    asked = len(mastodon.asked)
    second, _ = start(tmp_path).communicate(timeout=60)
    lines = second.splitlines()
    assert lines[-1] == "END"
    assert len(lines) == len(set(lines)) == 61
    repeated = set(mastodon.asked[:24]) & set(mastodon.asked[asked:])
    assert not any("/context" in path for path in repeated), "threads in the journal are not asked for again"


def test_a_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "j.log"
    journal = Journal(path)
    assert list(journal.replay()) == []
    journal.thread(["1", "2"], [{"key": "a", "text": "x"}], Tally(gone=2, left=1), {"where": "why"})
    journal.page({"next": 3})
    journal.close()
    with path.open("ab") as file:  # a write that a power cut interrupted
        file.write(b"\x40\0\0\0torn")
    again = Journal(path)
    assert list(again.replay()) == [[{"key": "a", "text": "x"}], []]
    assert ("1" in again, "3" in again, again.cursor, again.ended) == (True, False, {"next": 3}, False)
    assert (again.tally.gone, again.tally.left, again.notes) == (2, 1, {"where": "why"})
    again.page(None)
    again.close()
    last = Journal(path)
    assert orjson.dumps(list(last.replay()))
    assert last.ended
    last.close()
