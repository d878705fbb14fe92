from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.clean.repetition import repetition


def signals(*texts: str) -> list[dict[str, float]]:
    return repetition(pa.record_batch({"text": list(texts)})).to_pylist()


def top(text: str, n: int) -> float:
    """Gopher's definition, word by word."""
    words = text.split()
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    gram, count = max(grams.items(), key=lambda item: item[1], default=("", 0))  # of several, the first
    return min(count * len(gram) / len(text), 1.0) if count > 1 and text else 0.0


def covered(text: str, n: int) -> float:
    words = text.split()
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for i in range(len(words) - n + 1):
        gram = tuple(words[i : i + n])
        if gram in seen:
            inside.update(range(i, i + n))
        seen.add(gram)
    return sum(len(words[i]) for i in inside) / len(text) if text else 0.0


def test_lines_and_paragraphs() -> None:
    row = signals("one\ntwo\none\n\none\ntwo\n\nlast")[0]
    assert row["duplicate_lines"] == pytest.approx(3 / 6)
    assert row["duplicate_line_characters"] == pytest.approx(9 / 26)
    assert row["duplicate_paragraphs"] == 0
    assert signals("same\n\nsame")[0]["duplicate_paragraph_characters"] == pytest.approx(4 / 10)


def test_texts_of_a_batch_do_not_repeat_each_other() -> None:
    text = "a b c d e f g h i j k l"
    for row in signals(text, text):
        assert all(value == 0 for name, value in row.items() if name != "text")


def test_an_empty_text_has_no_share() -> None:
    row = signals("", "word")[0]
    assert row["duplicate_lines"] is None
    assert row["top_2_gram"] is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, max_size=40).map(" ".join), min_size=1, max_size=4
    )
)
def test_n_grams_agree_with_the_definition(texts: list[str]) -> None:
    for text, row in zip(texts, signals(*texts), strict=True):
        for n in (2, 3, 4):
            assert row[f"top_{n}_gram"] == pytest.approx(top(text, n))
        for n in (5, 6, 7, 8, 9, 10):
            assert row[f"duplicate_{n}_grams"] == pytest.approx(covered(text, n))
