from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from lamina.kit.errors import InputError
from lamina.model.vectors.evaluation import evaluate_analogies, evaluate_likeness, spearman
from lamina.model.vectors.keyed_vectors import KeyedVectors


@pytest.fixture
def vectors() -> KeyedVectors:
    rows = {"man": [1, 0, 0.1], "Woman": [0, 1, 0.1], "king": [1, 0, 2], "queen": [0, 1, 2], "fish": [-3, -3, 0]}
    return KeyedVectors(list(rows), np.array(list(rows.values()), np.float32))


def test_rank_correlation() -> None:
    for order in permutations(range(5)):
        d = np.array(order) - np.arange(5)
        expected = 1 - 6 * (d**2).sum() / (5 * 24)  # Spearman's formula, no ties
        assert spearman(np.array(order, float), np.arange(5.0)) == pytest.approx(expected)
    # Ties share a rank: 1, 2.5, 2.5, 4 against 1, 3, 2, 4.
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 3, 2, 4])) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert np.isnan(spearman(np.ones(2), np.arange(2.0)))


def test_likeness_counts_what_the_vocabulary_lacks(vectors: KeyedVectors, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("# remark\nword1\tword2\tmean\nKing\tQueen\t9\nking\tman\t5\nking\tfish\t1\nking\tprince\t7\n\n")
    score = evaluate_likeness(vectors, path)
    assert (score.spearman, score.pairs, score.unknown) == (pytest.approx(1), 3, 1)
    assert "3 pairs (1 with unknown words left out)" in str(score)
    path.write_text(
        "word1\tword2\tPOS\tSimLex999\tother\nking\tqueen\tN\t1\t9\nking\tman\tN\t5\t5\nking\tfish\tN\t9\t1\n"
    )
    assert evaluate_likeness(vectors, path).spearman == pytest.approx(-1)


def test_analogies_by_section(vectors: KeyedVectors, tmp_path: Path) -> None:
    path = tmp_path / "questions.txt"
    path.write_text(": royal\nMan King Woman Queen\nman king woman fish\n: other\nking man queen woman\na b c d\n")
    score = evaluate_analogies(vectors, path)
    assert (score.right, score.asked, score.unknown) == (2, 3, 1)
    assert score.sections == {"royal": (1, 2, 0), "other": (1, 1, 1)}
    assert score.accuracy == pytest.approx(2 / 3)
    assert evaluate_analogies(vectors, path, restrict=2).asked == 0
    assert np.isnan(evaluate_analogies(vectors, path, restrict=2).accuracy)


@pytest.mark.parametrize(
    ("text", "says"), [("", "no pairs"), ("a\tb\t1\nc\td\n", ":2: two words"), ("a\tb\t1\nc\td\tx\n", ":2: two words")]
)
def test_pairs_that_are_none(vectors: KeyedVectors, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pairs"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        evaluate_likeness(vectors, path)
    with pytest.raises(InputError, match="cannot be read"):
        evaluate_likeness(vectors, tmp_path / "none")


@pytest.mark.parametrize(("text", "says"), [(": x\n", "no analogies"), (": x\na b c\n", ":2: four words")])
def test_questions_that_are_none(vectors: KeyedVectors, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "questions"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        evaluate_analogies(vectors, path)
