from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.tokenizer.unigram_pieces import Pieces, Text, digamma, learn, maximised, pruned, seeds, text_of

WORDS = st.dictionaries(st.text(st.sampled_from("abc"), min_size=1, max_size=7), st.integers(1, 5), min_size=1)


def made(words: dict[str, int]) -> Text:
    order = sorted(words)
    return text_of(order, [words[w] for w in order], "abc")


def named(text: Text, pieces: Pieces) -> dict[str, float]:
    letters = ["", *text.characters]
    rows = zip(pieces.begins.tolist(), pieces.sizes.tolist(), pieces.scores.tolist(), strict=True)
    return {"".join(letters[c] for c in text.points[b : b + n]): s for b, n, s in rows}


def ways(word: str, scores: dict[str, float]) -> list[list[str]]:
    """Every way to write a word in pieces."""
    found = []
    for cuts in product([False, True], repeat=len(word) - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(word)]
        parts = [word[a:b] for a, b in pairwise(edges)]
        if all(part in scores for part in parts):
            found.append(parts)
    return found


@given(WORDS)
@settings(max_examples=60, deadline=None)
def test_seeds_are_characters_and_stretches_that_come_again(words: dict[str, int]) -> None:
    text = made(words)
    found = named(text, seeds(text, 10**6))
    often: dict[str, int] = {}
    for word, count in words.items():
        for i in range(len(word)):
            for j in range(i + 1, len(word) + 1):
                often[word[i:j]] = often.get(word[i:j], 0) + count
    assert set(found) >= {c for word in words for c in word}
    total = sum(often[p] * (len(p) if len(p) > 1 else 1) for p in found)
    for piece, score in found.items():
        assert len(piece) == 1 or often[piece] > 1, piece
        assert score == pytest.approx(math.log(often[piece] * (len(piece) if len(piece) > 1 else 1) / total))
    for piece, count in often.items():  # each that comes again is there, or a longer one that is as frequent
        assert count < 2 or any(piece in p and often[p] == count for p in found), piece


@given(WORDS)
@settings(max_examples=60, deadline=None)
def test_expectation_is_that_over_all_ways(words: dict[str, int]) -> None:
    text = made(words)
    before = seeds(text, 10**6)
    scores = named(text, before)
    expected = dict.fromkeys(scores, 0.0)
    for word, count in words.items():
        parts = ways(word, scores)
        weights = [math.exp(sum(scores[p] for p in way)) for way in parts]
        for way, weight in zip(parts, weights, strict=True):
            for p in way:
                expected[p] += count * weight / sum(weights)
    found = named(text, maximised(text, before))
    kept = {p: max(e, 0.5) for p, e in expected.items() if e >= 0.5 or len(p) == 1}
    assert set(found) == set(kept)
    total = digamma(np.array([sum(kept.values())]))[0]
    for piece, score in found.items():
        assert score == pytest.approx(digamma(np.array([kept[piece]]))[0] - total, abs=1e-6)


@given(WORDS)
@settings(max_examples=40, deadline=None)
def test_what_is_dropped_is_worth_least(words: dict[str, int]) -> None:
    text = made(words)
    pieces = maximised(text, seeds(text, 10**6))
    scores = named(text, pieces)
    left = named(text, pruned(text, pieces, 3))
    assert {c for word in words for c in word} <= set(left)
    assert len(left) <= max(3, 0.75 * len(scores)) or all(len(p) == 1 for p in left)
    for word in words:
        assert ways(word, left)


def test_common_words_become_pieces() -> None:
    words = {"▁the": 100, "▁whale": 50, "▁whales": 20, "▁then": 10, "▁seen": 3, "▁island": 40}
    text = text_of(list(words), list(words.values()), "".join(sorted({c for w in words for c in w})))
    rounds: list[int] = []
    found = dict(learn(text, 22, rounds.append))
    assert {"▁the", "▁whale", "▁island"} <= set(found)
    assert set(text.characters) < set(found)
    assert len(found) <= 22
    assert rounds == sorted(rounds, reverse=True)
    assert sum(map(math.exp, found.values())) == pytest.approx(1.0, abs=0.1)


def test_words_are_cut_at_characters_without_pieces() -> None:
    text = text_of(["a日b", "日", "ccc"], [2, 5, 1], "abc")
    parts = [text.points[a : b - 1].tolist() for a, b in zip(text.begins, text.begins[1:], strict=False)]
    assert parts == [[1], [2], [3, 3, 3]]
    assert text.counts.tolist() == [2, 2, 1]


def test_digamma() -> None:
    assert digamma(np.array([1.0]))[0] == pytest.approx(-0.5772156649015329, abs=1e-10)
    assert digamma(np.array([0.5]))[0] == pytest.approx(-1.9635100260214235, abs=1e-10)
    x = np.array([0.3, 2.7, 11.0, 1e6])
    assert digamma(x + 1) - digamma(x) == pytest.approx(1 / x, rel=1e-6)
