"""Word vectors beside models: the mean of a text's words, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from lamina.contracts.texts import Abilities, Writing
from lamina.deployment.texts.words import BesideModels, WordVectors
from lamina.kit.errors import InputError, NotFoundError
from lamina.model.vectors.keyed_vectors import KeyedVectors, Subwords
from lamina.model.vectors.ngrams import Grams

WORDS = ["whale", "sea", "gull"]
TABLE = np.array([[3, 0, 0], [0, 2, 0], [-1, 0, 0]], np.float32)


def vectors(**more) -> WordVectors:
    return WordVectors("words", KeyedVectors(WORDS, TABLE, **more), str.split)


def test_a_text_is_the_mean_of_its_words_at_length_one() -> None:
    told = vectors().embed(["whale sea", "whale whale sea", "sea unheard-of"])
    half, two = 0.5**0.5, np.array([2, 1, 0]) / 5**0.5
    np.testing.assert_allclose(told.vectors, [[half, half, 0], two, [0, 1, 0]], atol=1e-6)
    assert told.vectors.dtype == np.float32
    assert (told.version, told.prompt_tokens) == ("words", 7)


def test_unknown_words_are_made_of_their_grams_where_these_were_kept() -> None:
    grams = Grams(shortest=2, longest=2, buckets=50)
    table = np.zeros((50, 3), np.float32)
    table[grams.of("whales")] = [0, 0, 4]
    found = vectors(subwords=Subwords(grams, table)).embed(["whales"]).vectors
    np.testing.assert_allclose(found, [[0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "word"), [(["whale", "unheard of"], "text 1"), (["whale gull"], "text 0"), ([[1, 2]], "not token ids")]
)
def test_what_has_no_vector_is_refused(given: list, word: str) -> None:
    with pytest.raises(InputError, match=word):
        vectors().embed(given)


def test_long_texts_are_refused_or_cut() -> None:
    long = "whale " * 65_536 + "sea"
    with pytest.raises(InputError, match="65537 words") as raised:
        vectors().embed([long])
    assert raised.value.code == "context_length_exceeded"
    assert vectors().embed([long], truncate=True).vectors[0].tolist() == [1, 0, 0]


class Models:
    """A ``TextService`` that knows one model."""

    def abilities(self, model: str = "") -> Abilities:
        if model not in ("", "v1"):
            raise NotFoundError(f"there is no model '{model}'")
        return Abilities(tasks=("fill-mask",), context=8)

    def fill(self, texts, *, model="", k=5):
        return (list(texts), model, k)

    def embed(self, inputs, *, model="", truncate=False):
        return (list(inputs), model, truncate)


def test_models_answer_as_before_and_vectors_by_their_name() -> None:
    both = BesideModels(Models(), [vectors()])
    assert both.abilities().tasks == ("fill-mask",)
    assert both.abilities("words").width == 3
    assert both.fill(["a"], model="v1", k=2) == (["a"], "v1", 2)
    assert both.embed(["a"], truncate=True) == (["a"], "", True)
    assert both.embed(["sea"], model="words").version == "words"
    with pytest.raises(NotFoundError):
        both.abilities("others")
    for asked in (
        lambda: both.fill(["a"], model="words"),
        lambda: both.classify(["a"], model="words"),
        lambda: both.tag(["a"], model="words"),
        lambda: both.translate(["a"], Writing(), model="words"),
        lambda: both.summarize(["a"], Writing(), model="words"),
    ):
        with pytest.raises(InputError, match="words cannot") as raised:
            asked()
        assert "/v1/embeddings" in str(raised.value)
