"""Threads and gathering: order, parts of channels, mentions, many posts in little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.readers.posts import Post, text_of
from lamina.data.social import gathering
from lamina.data.social.gathering import Gathering
from lamina.data.social.threads import Tally, Thread, Writer, known_as, parted
from lamina.kit.errors import DocumentError


def said(id: int, text: str = "x", parent: int | None = None, minute: float | None = None, **more: Any) -> Post:
    above = None if parent is None else str(parent)
    return Post(id=str(id), parent=above, text=text, created=None if minute is None else minute * 60, **more)


def rows(thread: Thread, **options: Any) -> list[dict[str, Any]]:
    return list(Writer(salt="s", **options).rows(thread, "file#key", Tally()))


@given(
    st.lists(st.tuples(st.integers(0, 100), st.one_of(st.none(), st.integers(0, 30))), max_size=30),
    st.integers(1, 50),
)
def test_parts_hold_every_post_once_in_order(posts: list[tuple[int, int | None]], gap: int) -> None:
    given = [said(n, parent=parent, minute=minute) for n, (minute, parent) in enumerate(posts)]
    parts = parted(given, gap)
    assert sorted(int(p.id or "") for part in parts for p in part) == list(range(len(given)))
    place = {p.id: n for n, part in enumerate(parts) for p in part}
    for part in parts:
        assert [int(p.id or "") for p in part] == sorted(int(p.id or "") for p in part)
    for number, post in enumerate(given):
        if post.parent is not None and int(post.parent) < number:
            assert place[post.id] == place[post.parent]


def test_a_thread_of_replies_is_never_cut() -> None:
    posts = [said(1, minute=0), said(2, minute=10_000)]
    assert len(rows(Thread(key="k", posts=posts, channel=False), gap_minutes=1.0)) == 1
    assert len(rows(Thread(key="k", posts=posts), gap_minutes=1.0)) == 2
    assert len(rows(Thread(key="k", posts=posts))) == 1
    assert len(rows(Thread(key="k", posts=posts, channel=True))) == 2


def test_mentions() -> None:
    known = known_as(["ada@far.example", "bo"]) | {"Bo the Great": "bo"}
    text = "@ada, @bo. @Bo the Great! u/bo @nobody a@ada.org @cy.example.org. /u/dan @Cy D"
    post = said(1, text, author="bo", mentions=("cy.example.org", "dan", "Bo the Great", "Cy D"))
    (row,) = rows(Thread(key="k", posts=[post], known=known))
    words = row["text"].replace("person-", "").split()
    ada, bo, great, ubo, nobody, mail, cy, dan, spaced = words
    assert bo[1:-1] == great[1:-1] == ubo[2:]
    assert (nobody, mail) == ("@nobody", "a@ada.org")
    assert ada.endswith(",")
    assert cy.endswith(".")
    assert dan.startswith("/u/")
    assert spaced.startswith("@")
    assert not any(name in row["text"] for name in ("ada,", "Great", "cy.ex", "dan", "Cy D"))


def test_short_links_of_html_are_written_out() -> None:
    link = '<a href="https:&#x2F;&#x2F;example.org&#x2F;long" rel="nofollow">https://exa...</a>'
    assert text_of(f"See {link}<p>now") == "See https://example.org/long\n\nnow"
    assert text_of('<p><a href="https://example.org/x">the page</a></p>') == "the page"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40))
def test_gathering_on_disk_is_gathering_in_memory(posts: list[tuple[int, int]]) -> None:
    found = []
    for spill in (1 << 30, 600):
        loose = Gathering(None, spill=spill, buckets=3)
        for number, (root, parent) in enumerate(posts):
            first = number if root == 0 else root
            above = None if parent >= number or root == 0 else parent
            loose.add(f"l{number}", said(number, f"text {number}", above, root=str(first), mentions=("a",)))
        threads = [(t.key, [p.text for p in t.posts]) for t in loose.threads()]
        found.append(threads)
    whole = {n: (r if r else n) for n, (r, _) in enumerate(posts)}
    together = dict(found[0])
    apart = dict(found[1])
    kept = [n for n, (r, p) in enumerate(posts) if not (p >= n or r == 0) and whole[p] != whole[n]]
    if not kept:  # replies stay inside the thread that they name
        assert together == apart


def test_gathering_leaves_no_files_and_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loose = Gathering(tmp_path, spill=1)
    for number in range(300):
        loose.add(str(number), said(number, "x" * 10, root=str(number // 3 * 3), parent=number // 3 * 3))
    assert list(tmp_path.iterdir())
    assert len(list(loose.threads())) == 100
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(gathering, "MAX_LOOSE", 5000)
    loose = Gathering(tmp_path)
    for number in range(9):
        loose.add(str(number), said(number))
    with pytest.raises(DocumentError, match="single posts"):
        loose.add("9", said(9))
