from __future__ import annotations

import io
import json
import os
import pty
import re
import threading
import time

import pytest

from lamina.kit import progress as module
from lamina.kit.progress import open_progress
from lamina.kit.progress_meter import Meter, clock, number


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_eta_follow_the_last_half_minute():
    clock_ = Clock()
    meter = Meter("x", 1000, "rows", clock=clock_)
    for _ in range(60):
        clock_.now += 1
        meter.add(1, {})
    for _ in range(40):
        clock_.now += 1
        meter.add(10, {})
    assert meter.rate == pytest.approx(10, rel=0.01)
    assert meter.eta == pytest.approx((1000 - 460) / 10, rel=0.02)
    assert meter.mean_rate == pytest.approx(4.6)


def test_what_was_done_before_an_interruption_does_not_count_as_speed():
    clock_ = Clock()
    meter = Meter("x", 1000, "steps", 500, clock=clock_)
    clock_.now += 10
    meter.add(10, {})
    assert meter.rate == pytest.approx(1)
    assert meter.eta == pytest.approx(490)


def test_unknown_total_has_no_eta_and_zero_total_divides_nothing():
    out = io.StringIO()
    shown = open_progress("plain", stream=out)
    with shown.task("read", total=None, unit="files") as task:
        task.advance(3)
    with shown.task("none", total=0, unit="files"):
        pass
    assert re.match(r"read: done 3 files in .*\nnone: done 0/0 files in ", out.getvalue())


def test_plain_writes_at_most_one_line_in_five_seconds_and_a_last_one(monkeypatch):
    clock_ = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock_)
    out = io.StringIO()
    with open_progress("plain", stream=out).task("clean", total=200, unit="documents") as task:
        for _ in range(120):
            clock_.now += 0.1
            task.advance(1, loss=1.5)
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 4
    assert "documents/s" in lines[0]
    assert "ETA" in lines[0]
    assert "loss 1.5" in lines[0]
    assert lines[-1].startswith("clean: done 120/200 documents (60%)")


def test_what_is_expected_may_change_on_the_way():
    out = io.StringIO()
    with open_progress("plain", stream=out).task("train", total=10, unit="steps") as task:
        for _ in range(12):
            task.expect(16)
            task.advance()
    assert "done 12/16 steps (75%)" in out.getvalue()


def test_a_task_that_fails_says_where_it_stopped():
    out = io.StringIO()

    def fail() -> None:
        with open_progress("plain", stream=out).task("train", total=10, unit="steps") as task:
            task.advance(4)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert "stopped at 4/10 steps" in out.getvalue()


def test_json_is_one_object_a_line_and_strict():
    out = io.StringIO()
    shown = open_progress("json", stream=out)
    shown.say("two\nlines")
    with shown.task("train", total=2, unit="steps") as task:
        task.advance(2, loss_nats=float("nan"), title="naïve")
    objects = [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]
    assert [o["event"] for o in objects] == ["say", "begin", "end"]
    assert objects[-1]["done"] == 2
    assert objects[-1]["facts"] == {"loss_nats": None, "title": "naïve"}


def test_quiet_writes_nothing(capsys):
    shown = open_progress("quiet")
    shown.say("hello")
    with shown.task("x", total=1, unit="rows") as task:
        task.advance()
    assert capsys.readouterr().out == ""


def test_auto_is_plain_in_a_pipe():
    out = io.StringIO()
    with open_progress(stream=out).task("x", total=1, unit="rows") as task:
        task.advance()
    assert "\x1b" not in out.getvalue()


def test_a_terminal_gets_a_bar_with_rate_and_eta(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    seen = _on_terminal(_work)
    assert "[bold]x" in seen  # markup in a name is text
    assert re.search(r"\d+/100 steps \(\d+%\)", seen)
    assert re.search(r"[\d.,]+ steps/s", seen)
    assert re.search(r"ETA [\d.:]+", seen)
    assert "loss nats 2.5" in seen
    assert "a line above" in seen
    assert "✓" in seen


def _work(out) -> None:
    shown = open_progress(stream=out)
    with shown.task("[bold]x", total=90, unit="steps") as task:
        task.expect(100)
        for _ in range(20):
            task.advance(1, loss_nats=2.5)
            time.sleep(0.03)
        shown.say("a line above\x1b]0;title\x07")


def _on_terminal(work) -> str:
    leader, follower = pty.openpty()
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:
                return
            if not piece:
                return
            seen.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w") as out:
        work(out)
    reader.join(5)
    os.close(leader)
    text = seen.decode()
    assert "\x1b]0;" not in text  # a title escape from a document does not reach the terminal
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_tasks_may_be_advanced_from_many_threads():
    out = io.StringIO()
    with open_progress("plain", stream=out).task("x", total=4000, unit="rows") as task:
        threads = [threading.Thread(target=lambda: [task.advance() for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "done 4,000/4,000" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(12345, "12,345"), (0.12345, "0.123"), (2.5e6, "2.50 M"), (3e9, "3.00 G"), (1234.5, "1,234")]
)
def test_numbers_read_well(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.41, "0.4 s"), (37, "37 s"), (125, "2:05"), (3725, "1:02:05")])
def test_durations_read_well(seconds, text):
    assert clock(seconds) == text
