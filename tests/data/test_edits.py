from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.edits import Span, apply, described, spans

TEXTS = st.text(alphabet="ab \n.é鯨", max_size=60)


@given(TEXTS, TEXTS)
@settings(max_examples=300, deadline=None)
def test_the_spans_applied_give_the_new_text(old: str, new: str) -> None:
    changes = spans(old, new)
    assert apply(old, changes) == new
    assert all(old[c.begin : c.end] != c.text for c in changes)
    assert all(a.end <= b.begin for a, b in pairwise(changes))


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("same", "same", []),
        ("write to a@b.org now", "write to x@y.org now", [Span(9, 12, "x@y")]),
        ("one\nSkip to content\ntwo\n", "one\ntwo\n", [Span(4, 20, "")]),
        ("", "new", [Span(0, 0, "new")]),
    ],
)
def test_small_edits_are_told_exactly(old: str, new: str, wanted: list[Span]) -> None:
    found = spans(old, new)
    assert apply(old, found) == new
    assert sum(c.end - c.begin for c in found) <= sum(c.end - c.begin for c in wanted) + 4
    assert len(found) >= len(wanted)


def test_many_edits_are_counted_and_the_first_shown() -> None:
    told = described("a  b\n" * 50, "a b\n" * 50)
    assert told["characters"] == [250, 200]
    assert len(told["spans"]) == 20
    assert told["more"] == 30


def test_a_long_text_takes_no_time() -> None:
    old = "The whale  dives. It  blows.\n" * 20_000
    begin = time.process_time()
    assert apply(old, spans(old, old.replace("  ", " "))) == old.replace("  ", " ")
    assert apply(old, spans(old, old[5:-7])) == old[5:-7]
    assert time.process_time() - begin < 5
