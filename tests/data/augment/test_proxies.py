"""The small models by which a verdict is given."""

from __future__ import annotations

import numpy as np
import pytest

from lamina.data.augment.proxies import ByteModel, Classifier, features
from lamina.kit.errors import InputError


def test_features_are_words_and_pairs_in_their_case() -> None:
    found = features(["the sea", "The sea", "sea the", "", "the sea, the sea"])
    parts = [set(found.hashes[a:b].tolist()) for a, b in zip(found.ends, found.ends[1:], strict=False)]
    assert [len(part) for part in parts] == [3, 3, 3, 0, 4]
    assert len(parts[0] & parts[1]) == 1  # "sea"
    assert len(parts[0] & parts[2]) == 2  # the words, not the pair
    assert parts[0] < parts[4]


def test_a_classifier_learns_what_words_tell_and_nothing_else() -> None:
    texts = [f"{'wind' if i % 2 else 'stone'} number of {i * 7919 % 97} things" for i in range(60)]
    labels = np.array([i % 2 for i in range(60)])
    model = Classifier.train(features(texts[:40]), labels[:40], classes=2, steps=400, seed=1)
    assert (model.predict(features(texts[40:])) == labels[40:]).all()
    again = Classifier.train(features(texts[:40]), labels[:40], classes=2, steps=400, seed=1)
    assert (again._weights == model._weights).all()
    other = Classifier.train(features(texts[:40]), labels[:40], classes=2, steps=400, seed=2)
    assert not (other._weights == model._weights).all()
    with pytest.raises(InputError, match="no document"):
        Classifier.train(features([]), labels[:0], classes=2, steps=1, seed=0)


TEXT = "the sea and the wind and the stone by the sea"


def test_a_byte_models_chances_sum_to_one() -> None:
    model = ByteModel.of([TEXT, "Ω und ß"], fit=["the sand"])
    for context in ("", "t", "the se", "zzz", "Ω"):
        before = model.bits_per_byte([context])[0] * len(context.encode())
        total = 0.0
        for code in range(128):
            text = context + chr(code)
            total += 2 ** -(model.bits_per_byte([text])[0] * len(text.encode()) - before)
        assert 0.2 < total <= 1.0 + 1e-9  # bytes from 128 on have the rest


def test_bits_are_those_of_the_formula() -> None:
    """Witten-Bell over the orders 0 to 6, by hand for one byte."""
    model = ByteModel.of(["ab"])
    chance = 1 / 256
    for counts, total, kinds in [(1, 2, 2), *[(1, 1, 1)] * 6]:  # of "a" anywhere, then behind the beginning
        chance = (counts + kinds * chance) / (total + kinds)
    assert model.bits_per_byte(["a"])[0] == pytest.approx(-np.log2(chance))


def test_known_text_is_likelier_than_unknown_and_empty_texts_cost_nothing() -> None:
    model = ByteModel.of([TEXT])
    known, unknown, nothing = model.bits_per_byte(["the sea", "xqzvkjw", ""])
    assert known < 1 < 7 < unknown
    assert nothing == 0
    assert model.bits_per_byte([""]).tolist() == [0]


def test_the_trust_is_fitted_so_that_repetition_does_not_make_it_too_sure() -> None:
    fit = ["the wind by the sea", "the stone and the wind"]
    once, thrice = ByteModel.of([TEXT], fit), ByteModel.of([TEXT] * 3, fit)
    assert thrice.trust < once.trust
    assert ByteModel.of([TEXT]).trust == 1.0
    plain, sure = ByteModel.of([TEXT]).bits_per_byte(["a stone"]), ByteModel.of([TEXT] * 9).bits_per_byte(["a stone"])
    assert sure[0] > plain[0]
