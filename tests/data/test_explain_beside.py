from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamina.data.explain_beside import DIFFERENCES, in_words, side_by_side

LINE = " ".join(f"w{n}" for n in range(60))


def test_equal_words_are_the_same_whatever_the_white_space() -> None:
    assert side_by_side("a  b\nc", "a b c") == {"same": True, "stretches": [{"both": "a b c"}]}
    assert list(in_words(side_by_side("a", "a"))) == ["the same words"]


def test_long_stretches_are_told_by_their_ends() -> None:
    found = side_by_side(f"{LINE} here", f"{LINE} there")
    assert found["stretches"] == [
        {"both": "w0 w1 w2 w3 w4 w5 … (48 words) … w54 w55 w56 w57 w58 w59"},
        {"this": "here", "other": "there"},
    ]


def test_what_is_lacking_is_nothing() -> None:
    assert list(in_words(side_by_side("a b", "a c b"))) == ["both   a", "this   (nothing)", "other  c", "both   b"]


def test_scripts_without_spaces_differ_by_their_characters() -> None:
    assert side_by_side("鯨が潜る", "鯨は潜る")["stretches"][1] == {"this": "が", "other": "は"}


def test_a_text_that_is_cut_says_nothing_of_the_others_end() -> None:
    words = LINE.split()
    found = side_by_side(" ".join(words[:40])[:-1], LINE, cut=True)
    assert found["same"]
    assert found["compared"] == "the first 40 words"
    assert not side_by_side(" ".join(words[:40]), LINE)["same"]


def test_many_differences_are_counted() -> None:
    other = " ".join(w if n % 2 else f"x{n}" for n, w in enumerate(LINE.split()))
    found = side_by_side(LINE, other)
    assert found["more"] == 30 - DIFFERENCES
    assert f"and {30 - DIFFERENCES} more differences" in list(in_words(found))


@given(st.text(max_size=4000), st.text(max_size=4000))
def test_it_is_bounded_whatever_the_texts(this: str, other: str) -> None:
    found = side_by_side(this, other)
    assert sum("this" in part for part in found["stretches"]) <= DIFFERENCES
    assert len("\n".join(in_words(found))) < 30_000
    assert side_by_side(this, this)["same"]
