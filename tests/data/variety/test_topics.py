from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import pytest

from lamina.data.variety.topics import find_topics, number_of_topics, places, telling_words


def blobs(kinds: int, each: int, seed: int = 0, size: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((kinds, size))
    labels = np.repeat(np.arange(kinds), each)
    rows = centres[labels] + 0.5 * random.standard_normal((kinds * each, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize(("kinds", "each"), [(3, 20), (8, 30), (8, 200)])
def test_plain_clusters_are_found(kinds: int, each: int) -> None:
    """On both ways to the main directions: fewer rows than dimensions, and more."""
    rows, labels = blobs(kinds, each)
    found = find_topics(rows, pl.Series("text", ["x"] * len(rows)), seed=0, topics=kinds)
    pairs = set(zip(labels.tolist(), found.labels.tolist(), strict=True))
    assert len(pairs) == kinds  # each kind is one cluster
    assert (found.assign(rows) == found.labels).all()
    assert np.linalg.norm(found.centres, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (np.diff(np.bincount(found.labels)) <= 0).all()  # the largest first


def test_more_topics_than_texts_and_no_direction() -> None:
    rows = np.eye(3, 8, dtype=np.float32)
    assert sorted(find_topics(rows, pl.Series(["a"] * 3), seed=0, topics=9).labels.tolist()) == [0, 1, 2]
    zeros = np.zeros((4, 8), np.float32)
    assert set(find_topics(zeros, pl.Series(["a"] * 4), seed=0, topics=2).labels.tolist()) == {0}
    assert [number_of_topics(n) for n in (1, 20, 100, 1000, 10**6)] == [1, 1, 3, 9, 24]


def test_names_are_telling_words(theme_texts: Callable[..., list[str]], themes: Mapping[str, str]) -> None:
    texts = [t + " everywhere 1234 ab" for theme in themes for t in theme_texts(theme, 20)]
    found = telling_words(pl.Series(texts), np.repeat(np.arange(3), 20), 3)
    for words, theme in zip(found, themes.values(), strict=True):
        assert len(words) == 8
        assert set(words) <= set(theme.split())  # neither what all have, nor function words, numbers, short ones


def test_names_of_scripts_without_spaces() -> None:
    texts = ["鯨が海に潜る"] * 5 + ["裁判所の判決"] * 5
    found = telling_words(pl.Series(texts), np.repeat([0, 1], 5), 2)
    assert "鯨" in found[0]
    assert "判" in found[1]


def test_names_are_never_the_same() -> None:
    rows, _ = blobs(3, 10)
    found = find_topics(rows, pl.Series(["same same words here"] * 30), seed=0, topics=3)
    assert len(set(found.names)) == 3


def test_the_map_shows_sizes_without_overlap() -> None:
    rows, _ = blobs(9, 4)
    sizes = [50, 20, 10, 9, 8, 7, 3, 2, 1]
    where = places(rows[::4], sizes)
    areas = where[:, 2] ** 2
    assert areas / areas.sum() == pytest.approx(np.array(sizes) / 110)
    gaps = [np.hypot(*(where[i, :2] - where[j, :2])) - where[i, 2] - where[j, 2] for i in range(9) for j in range(i)]
    assert min(gaps) > 0
    assert places(rows[:1], [5]).shape == (1, 3)
