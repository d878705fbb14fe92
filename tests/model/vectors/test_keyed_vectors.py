from __future__ import annotations

import numpy as np
import pytest

from lamina.kit.errors import InputError, NotFoundError
from lamina.model.vectors.keyed_vectors import KeyedVectors, Subwords
from lamina.model.vectors.ngrams import Grams


@pytest.fixture
def vectors() -> KeyedVectors:
    rows = {"man": [1, 0, 0.1], "woman": [0, 1, 0.1], "king": [1, 0, 2], "queen": [0, 1, 2], "fish": [-3, -3, 0]}
    return KeyedVectors(list(rows), np.array(list(rows.values()), np.float32))


def test_neighbours_and_analogies(vectors: KeyedVectors) -> None:
    assert vectors.similarity("man", "man") == pytest.approx(1)
    cosine = 1.2 / np.sqrt(1.01 * 5)
    assert vectors.similarity("man", "king") == pytest.approx(cosine)
    assert vectors.most_similar("man", topn=1) == [("king", pytest.approx(cosine))]
    assert vectors.analogy("man", "king", "woman")[0][0] == "queen"
    assert vectors.most_similar(["king", "woman"], ["man"], topn=1)[0][0] == "queen"
    assert vectors.most_similar("king", topn=10, restrict_vocab=2)[0][0] == "man"
    assert [w for w, _ in vectors.most_similar("king", topn=100)] == ["queen", "man", "woman", "fish"]
    assert vectors.most_similar("king", topn=0) == []
    assert vectors.doesnt_match(["king", "fish", "queen"]) == "fish"


def test_words_and_their_rows(vectors: KeyedVectors) -> None:
    assert "king" in vectors
    assert "prince" not in vectors
    assert len(vectors) == 5
    np.testing.assert_array_equal(vectors["king"], [1, 0, 2])
    assert vectors[["king", "man"]].shape == (2, 3)
    assert vectors[[]].shape == (0, 3)
    with pytest.raises(NotFoundError, match="'prince'"):
        vectors["prince"]
    with pytest.raises(InputError, match="at least one"):
        vectors.most_similar()
    with pytest.raises(InputError, match="at least one"):
        vectors.doesnt_match([])


def test_a_vector_of_zeros_is_near_nothing() -> None:
    vectors = KeyedVectors(["none", "some"], np.array([[0, 0], [1, 1]], np.float32))
    assert vectors.similarity("none", "some") == 0


@pytest.mark.parametrize(
    ("words", "shape", "says"),
    [(["a"], (2, 3), "shape"), (["a", "a"], (2, 3), "'a' stands twice"), (["a"], (3,), "shape")],
)
def test_words_that_do_not_fit_their_vectors(words: list[str], shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        KeyedVectors(words, np.zeros(shape, np.float32))


def test_an_unknown_word_is_the_mean_of_its_grams() -> None:
    grams = Grams(shortest=2, longest=2, buckets=97)
    table = np.random.default_rng(0).random((97, 4), np.float32)
    vectors = KeyedVectors(["x"], np.zeros((1, 4), np.float32), subwords=Subwords(grams, table))
    assert len(grams.of("ab")) == 3, "<a, ab, b>"
    np.testing.assert_allclose(vectors["ab"], table[grams.of("ab")].mean(axis=0))
    assert Grams(shortest=1, longest=1).of("") == []
