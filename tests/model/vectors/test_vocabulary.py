from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.errors import InputError
from lamina.model.vectors.vocabulary import Corpus, read_ids, read_sentences

SENTENCES = [["the", "cat", "sat"], [], ["the", "cat"], ["the", "rare", "dog", "dog"]]


def test_the_most_frequent_word_comes_first_and_rare_ones_are_left_out() -> None:
    vocabulary, corpus = read_sentences(iter(SENTENCES), min_count=2)
    assert list(vocabulary.words) == ["the", "cat", "dog"], "of words as frequent the one that was seen first"
    assert vocabulary.counts.tolist() == [3, 2, 2]
    assert corpus.tokens.tolist() == [0, 1, 0, 1, 0, 2, 2]
    assert corpus.ends.tolist() == [2, 2, 4, 7]
    assert corpus.seen == 9


def test_ids_give_what_their_words_give() -> None:
    words = ["dog", "the", "unused", "cat"]
    ids = np.array([1, 3, 1, 0, 0, 1], np.uint16)
    vocabulary, corpus = read_ids(ids, np.array([2, 6]), pieces=words, min_count=2)
    assert list(vocabulary.words) == ["the", "dog"]
    assert corpus.tokens.tolist() == [0, 0, 1, 1, 0]
    assert corpus.ends.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("sentences", "says"),
    [
        ([], "empty"),
        ([[]], "empty"),
        ([["a", "a"]], "one word only"),
        ([["a", "b"]], "no word"),
        (["text"], "not a sequence"),
    ],
)
def test_what_cannot_be_trained_on(sentences: list, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_sentences(sentences, min_count=2)


@pytest.mark.parametrize(
    ("ids", "ends", "says"), [([5], [1], "outside"), ([1, 1], [2, 1], "rise"), ([1, 0], [], "rise")]
)
def test_ids_that_are_none(ids: list, ends: list, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_ids(np.array(ids), np.array(ends, int), pieces=["a", "b"])


@given(st.lists(st.integers(0, 25), min_size=1, max_size=8), st.integers(1, 7))
def test_pieces_cover_all_tokens_and_span_no_two_documents(lengths: list[int], limit: int) -> None:
    ends = np.cumsum(np.array(lengths, np.int64))
    corpus = Corpus(np.zeros(sum(lengths), np.int32), ends, sum(lengths))
    bounds = corpus.pieces(limit)
    assert bounds[-1] == len(corpus)
    assert bounds[0] == 0
    assert (np.diff(bounds) >= 0).all()
    assert (np.diff(bounds) <= limit).all()
    assert set(ends.tolist()) <= set(bounds.tolist())
