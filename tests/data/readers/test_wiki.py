from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.data.readers import wiki
from lamina.kit.errors import DocumentError

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="de"><siteinfo><sitename>Wiki</sitename>'
    '<base>https://wiki.example.org/wiki/Start</base><namespaces><namespace key="6">Datei</namespace>'
    '<namespace key="0"/></namespaces></siteinfo>'
)


def page(number: int, text: str, *, ns: int = 0, extra: str = "") -> str:
    return (
        f"<page><title>Page {number}</title><ns>{ns}</ns><id>{number}</id>{extra}<revision><id>1</id><text>old</text>"
        f"</revision><revision><id>2</id><timestamp>2024-05-01T10:00:00Z</timestamp><text>{text}</text></revision></page>"
    )


def dump(*pages: str) -> bytes:
    return f"{HEAD}\n  {'  '.join(pages)}\n</mediawiki>".encode()


def parsed(data: bytes) -> list[dict[str, object]]:
    _, *pages = wiki.cut(io.BytesIO(data))
    about = wiki.site({}, next(wiki.cut(io.BytesIO(data)))[1])
    raw = [one for _, one in pages if one is not None]
    return wiki.pages({"sizes": [len(one) for one in raw], "site": about}, b"".join(raw))


def test_pages_with_the_last_revision_and_where_they_stand() -> None:
    (found,) = parsed(dump(page(7, "Words [[Datei:x|y]].")))
    assert found["text"] == "Words ."
    assert found["url"] == "https://wiki.example.org/wiki/Page_7"
    assert (found["language"], found["created"], found["key"]) == ("de", "2024-05-01T10:00:00Z", "7")
    assert found["meta"] == {"revision": "2"}


def test_what_is_skipped_or_broken_says_so() -> None:
    found = parsed(
        dump(
            page(1, "Talk", ns=1),
            page(2, "#WEITERLEITUNG [[Page 7]]"),
            page(3, "x", extra='<redirect title="y"/>'),
            page(4, "{{only}}"),
            page(5, "<broken"),
            page(6, "kept"),
        )
    )
    assert [one.get("skipped") for one in found[:4]] == [
        "is no article (namespace 1)", "leads to another page", "leads to another page", "holds no text",
    ]  # fmt: skip
    assert "malformed" in str(found[4]["error"])
    assert found[5]["text"] == "kept"


class Slow(io.RawIOBase):
    """A stream that gives pieces of odd sizes."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces: Iterator[bytes] = (data[n : n + size] for n in range(0, len(data), size))

    def read(self, size: int = -1) -> bytes:
        return next(self._pieces, b"")


@given(st.integers(1, 300), st.integers(0, 5))
def test_pieces_of_any_size_give_the_same_pages_at_their_places(size: int, count: int) -> None:
    data = dump(*(page(n, "x" * n * 50) for n in range(count + 1)))
    found = list(wiki.cut(Slow(data, size)))  # type: ignore[arg-type]
    assert found == list(wiki.cut(io.BytesIO(data)))
    assert len(found) == count + 2
    assert all(data[place : place + len(raw or b"")] == raw for place, raw in found)


def test_a_dump_that_ends_in_the_middle_keeps_its_whole_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dump(page(1, "one"), page(2, "two"))
    for end, whole, reason in ((len(data) - 30, 2, "middle of the page"), (len(data) - 3, 3, "end of the dump")):
        kept: list[object] = []
        with pytest.raises(DocumentError, match=reason):
            deque(map(kept.append, wiki.cut(io.BytesIO(data[:end]))), maxlen=0)
        assert len(kept) == whole
    with pytest.raises(DocumentError, match="no dump with pages"):
        list(wiki.cut(io.BytesIO(HEAD.encode())))
    monkeypatch.setattr(wiki, "MAX_HEAD", 1000)
    with pytest.raises(DocumentError, match="holds no page"):
        list(wiki.cut(io.BytesIO(HEAD.encode() + b" " * 2000)))


def test_a_page_over_the_limit_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiki, "MAX_PAGE", 2000)
    data = dump(page(1, "one"), page(2, "x" * 9000), page(3, "three"))
    found = list(wiki.cut(Slow(data, 500)))  # type: ignore[arg-type]
    assert [raw is None for _, raw in found] == [False, False, True, False]
    assert data[found[2][0] :].startswith(b"<page><title>Page 2")
