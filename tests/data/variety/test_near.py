from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.data.variety import kernels
from lamina.data.variety.measure import data_files, measure

Corpus = Callable[..., Path]


def text_of(random: np.random.Generator, size: int = 120) -> list[str]:
    return [f"w{n}" for n in random.integers(0, 5000, size)]


def rate(corpus: Corpus, texts: list[str], name: str) -> float:
    found: dict[str, Any] = measure(data_files(corpus([{"text": t} for t in texts], name=name))).variety
    return float(found["near_duplicates"]["rate"])


def test_planted_near_duplicates_are_counted(corpus: Corpus) -> None:
    """Of 1,000 texts 300 are one of a pair that differs in one word of 120 (Jaccard 0.92)."""
    random = np.random.default_rng(0)
    texts = [text_of(random) for _ in range(850)]
    for number in range(150):
        copy = list(texts[number])
        copy[60] = "changed"
        texts.append(copy)
    assert rate(corpus, [" ".join(t) for t in texts], "a") == pytest.approx(0.3, abs=0.02)


def test_what_only_shares_a_beginning_is_no_near_duplicate(corpus: Corpus) -> None:
    random = np.random.default_rng(1)
    head = text_of(random, 30)
    texts = [" ".join(head + text_of(random, 60)) for _ in range(300)]
    assert rate(corpus, texts, "a") < 0.01


def test_one_text_everywhere(corpus: Corpus) -> None:
    random = np.random.default_rng(2)
    texts = [" ".join(text_of(random)) for _ in range(50)] + ["the same words in each of these"] * 50
    assert rate(corpus, texts, "a") == pytest.approx(0.5)


@pytest.mark.parametrize("size", [3, 40, 5000])
@pytest.mark.parametrize("shared", [0.0, 0.5, 0.8, 1.0])
def test_likeness_estimates_jaccard(size: int, shared: float) -> None:
    found = []
    for seed in range(12):
        random = np.random.default_rng([size, seed])
        both = random.integers(0, 2**63, round(shared * size)).astype(np.uint64)
        rest = random.integers(0, 2**63, (2, size - len(both))).astype(np.uint64)
        a, b = (np.sort(np.concatenate([both, r])) for r in rest)
        rows = np.full((2, 128), np.uint64(2**64 - 1))
        for row, values in zip(rows, (a, b), strict=True):
            row[: min(128, size)] = values[:128]
        found.append(kernels.likeness(rows[0], rows[1]))
    wanted = len(both) / (len(both) + 2 * rest.shape[1])
    assert np.mean(found) == pytest.approx(wanted, abs=1e-9 if 2 * size <= 128 else 0.04)
