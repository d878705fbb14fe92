"""Classification against plain formulas and planted calibration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina.kit.errors import ConfigError, InputError, TooLargeError
from lamina.model.evaluate.classification import class_probabilities, classification
from lamina.model.evaluate.score import Asked

ASKED = Asked(template="the text alone", begin="[CLS] … [SEP]", normalisation="the likeliest class")


def planted(count: int, *, confidence: float, accuracy: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes, called with this confidence and right with this accuracy."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, 3, count)
    called = np.where(draws.random(count) < accuracy, labels, (labels + draws.integers(1, 3, count)) % 3)
    given = np.full((count, 3), (1 - confidence) / 2)
    given[np.arange(count), called] = confidence
    return given, labels


def test_the_formulas_on_six_items():
    given = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    labels = [0, 1, 1, 0, 0, 1]
    found = classification(given, labels, asked=ASKED, bins=10)
    assert found.accuracy.value == pytest.approx(4 / 6)
    assert found.confusion.tolist() == [[2, 1], [1, 2]]
    assert found.macro_f1.value == pytest.approx(2 / 3)
    # By tenths: .6-.7 two items both wrong; .7-.8 one right; .8-.9 two right; .9-1 one right.
    gaps = [abs(0.6 - 0) * 2, abs(0.7 - 1), abs(0.8 - 1) * 2, abs(0.9 - 1)]
    assert found.calibration_error.value == pytest.approx(sum(gaps) / 6)
    assert found.brier.value == pytest.approx(((given - np.eye(2)[labels]) ** 2).sum(1).mean())
    assert [s.better for s in found.scores] == ["higher", "higher", "lower", "lower"]
    assert "10 bins" in str(found.calibration_error)
    assert "commonest class 0.5" in str(found.accuracy)


def test_a_class_that_nobody_calls_counts_as_nothing():
    given = np.array([[0.9, 0.1, 0.0]] * 3 + [[0.1, 0.9, 0.0]])
    assert classification(given, [0, 0, 1, 1], asked=ASKED).macro_f1.value == pytest.approx(
        np.mean([2 * 2 / 5, 2 * 1 / 3])  # the third class neither occurs nor is called
    )
    assert classification(given, [0, 0, 2, 1], asked=ASKED).macro_f1.value == pytest.approx(np.mean([0.8, 1.0, 0.0]))


@pytest.mark.parametrize(("confidence", "accuracy"), [(0.9, 0.6), (0.5, 0.8), (0.7, 0.7)])
def test_calibration_finds_the_planted_gap(confidence, accuracy):
    given, labels = planted(4000, confidence=confidence, accuracy=accuracy)
    found = classification(given, labels, asked=ASKED)
    assert found.calibration_error.value == pytest.approx(abs(confidence - accuracy), abs=0.03)
    assert found.accuracy.value == pytest.approx(accuracy, abs=0.03)
    if confidence != accuracy:
        assert found.calibration_error.error == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 4000), rel=0.1)


def test_errors_cover_the_truth():
    """Of macro-F1, over 60 draws: the spread of the values is what each says of itself."""
    found = [classification(*planted(300, confidence=0.8, accuracy=0.7, seed=n), asked=ASKED) for n in range(60)]
    spread = np.std([f.macro_f1.value for f in found], ddof=1)
    assert np.mean([f.macro_f1.error for f in found]) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize(
    ("given", "labels", "words"),
    [
        ([], [], "no items"),
        ([[0.5, 0.5]], [0], "at least two"),
        ([[0.5, 0.5], [0.5, 0.5]], [0], "do not fit"),
        ([[0.5, 0.5], [2.0, -1.0]], [0, 1], "item 1: .*no probabilities"),
        ([[0.5, 0.5], [np.nan, 0.5]], [0, 1], "item 1: .*no probabilities"),
        ([[0.5, 0.5], [0.5, 0.5]], [0, 2], "item 1: .*label 2"),
    ],
)
def test_bad_input(given, labels, words):
    with pytest.raises(InputError, match=words):
        classification(given, labels, asked=ASKED)


@torch.no_grad()
def test_probabilities_equal_transformers(opened):
    model, theirs, tokenizer = opened("bert-classify")
    texts = ["the whale swims in the sea", "", "a ship"]
    found = class_probabilities(model, tokenizer, texts)
    for row, text in zip(found, texts, strict=True):
        logits = theirs(torch.tensor([[2, *tokenizer.encode(text), 3]])).logits[0]
        assert row == pytest.approx(logits.softmax(-1).numpy(), abs=1e-5)
    assert class_probabilities(model, tokenizer, []).shape == (0, 0)
    with pytest.raises(TooLargeError, match="item 0"):
        class_probabilities(model, tokenizer, ["the sea " * 60])
    with pytest.raises(ConfigError, match="classify"):
        class_probabilities(opened("bert-mlm")[0], tokenizer, texts)
