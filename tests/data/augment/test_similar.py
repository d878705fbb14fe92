"""What counts as nearly the same text, within a family and across the split."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from lamina.data.augment.similar import HeldOut, Trigrams

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(number: int, count: int = 60) -> str:
    draw = random.Random(number)
    return " ".join(draw.choice(WORDS) for _ in range(count))


def runs(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return set(zip(words, words[1:], words[2:], strict=False)) if len(words) > 3 else {(w,) for w in words}


def near(a: str, b: str) -> bool:
    return Trigrams.of([a]).near(np.zeros(1, np.int64), Trigrams.of([b]), np.zeros(1, np.int64))[0]


def test_trigrams_are_those_of_the_words_between_white_space() -> None:
    texts = ["", "one", "one two\tthree", "one two three four", "a b  a b\na b a b", prose(1) + " " + prose(1)]
    found = Trigrams.of(texts)
    assert np.diff(found.ends).tolist() == [len(runs(text)) for text in texts]
    assert (np.diff(found.hashes[: found.ends[1]]) > 0).all()
    for a in texts:
        for b in texts:
            one, two = runs(a), runs(b)
            expected = len(one & two) >= 0.98 * len(one | two)
            assert near(a, b) == expected, (a, b)


def test_one_word_in_hundreds_makes_no_new_text_and_a_few_do() -> None:
    words = prose(2, 400).split()
    words[200] = "other"
    assert near(prose(2, 400), " ".join(words))
    for place in (50, 100, 150, 250, 300):
        words[place] = "other"
    assert not near(prose(2, 400), " ".join(words))
    assert near("a b c", "a  b\nc")
    assert not near("a b c", "a b C")


@pytest.mark.parametrize("count", [40, 150, 299, 300, 301, 600])
def test_near_is_the_jaccard_similarity_up_to_the_very_limit(count: int) -> None:
    words = prose(5, count).split()
    for changed in range(8):
        for place in range(changed):
            words[place * count // 8 + 1] = f"other{place}"
        other = " ".join(words[: count - changed % 3])
        one, two = runs(prose(5, count)), runs(other)
        assert near(prose(5, count), other) == (len(one & two) >= 0.98 * len(one | two)), changed


def test_half_of_a_texts_runs_make_it_close() -> None:
    held_out = HeldOut.of([prose(1), prose(2)])
    half = prose(1).split()
    texts = [prose(1), prose(1).upper(), prose(3), " ".join([*half[:40], *prose(4).split()[:20]]), ""]
    assert held_out.near(texts).tolist() == [True, True, False, True, False]
    assert not held_out.near([" ".join([*half[:25], *prose(4).split()])])[0]
    assert held_out.near([]).tolist() == []


def test_short_texts_are_compared_as_a_whole() -> None:
    held_out = HeldOut.of(["Good morning, all of you"])
    assert held_out.near(["good morning all of you!", "good morning", "Good morning, all of us"]).tolist() == [
        *(True, False, False)
    ]


def test_nothing_held_out_is_close_to_nothing() -> None:
    assert HeldOut.of([]).near([prose(1)]).tolist() == [False]
    assert HeldOut.of(["", " "]).near([prose(1)]).tolist() == [False]


@pytest.mark.parametrize("most", [1 << 25, 4000, 1000])
def test_memory_is_bounded_and_the_answer_stays_about_the_same(tmp_path: Path, most: int) -> None:
    held_out = HeldOut.of((prose(n, 200) for n in range(60)), most=most)
    assert len(held_out.hashes) <= most
    assert held_out.near([prose(n, 200) for n in range(60)]).all()
    assert not held_out.near([prose(n, 200) for n in range(100, 160)]).any()
    held_out.save(tmp_path / "runs.npy")
    again = HeldOut.load(tmp_path / "runs.npy")
    assert again.limit == held_out.limit
    assert (again.hashes == held_out.hashes).all()


def test_the_order_of_held_out_texts_means_nothing() -> None:
    texts = [prose(n, 200) for n in range(40)]
    one, two = HeldOut.of(texts, most=500), HeldOut.of(reversed(texts), most=500)
    assert one.limit == two.limit
    assert (one.hashes == two.hashes).all()
