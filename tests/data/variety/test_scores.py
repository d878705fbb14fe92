from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.variety import scores
from lamina.kit.errors import InputError

AMOUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


def units(random: np.random.Generator, rows: int, size: int) -> np.ndarray:
    found = random.standard_normal((rows, size)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def words(count: int, seed: int, kinds: int = 1 << 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, kinds, count).astype(np.uint64)


@given(AMOUNTS, st.integers(1, 5))
def test_effective_number_counts_equal_groups_and_knows_no_scale(amounts: list[int], times: int) -> None:
    found = scores.effective_number(amounts)
    groups = sum(a > 0 for a in amounts)
    assert (found == 0) == (groups == 0)
    assert found <= groups + 1e-9
    assert scores.effective_number([a * times for a in amounts]) == pytest.approx(found)
    assert scores.effective_number(sorted(amounts)) == pytest.approx(found)
    assert scores.effective_number([7] * len(amounts)) == pytest.approx(len(amounts))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000))
def test_vendi_counts_what_is_different(kinds: int, times: int, seed: int) -> None:
    """k orthogonal kinds are k, whatever number of copies each has; equal vectors are 1; rotations change nothing."""
    rows = np.repeat(np.eye(kinds, 16, dtype=np.float32), times, axis=0)
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.standard_normal((16, 16)))
    for found in (rows, (rows @ turn).astype(np.float32), rows[random.permutation(len(rows))]):
        assert scores.vendi(found, 1.0, 2.0) == pytest.approx((kinds, kinds), rel=1e-4)
    assert scores.vendi(np.repeat(rows[:1], 9, axis=0)) == pytest.approx((1.0,))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 20), st.integers(2, 8), st.integers(0, 1000))
def test_vendi_of_a_doubled_set_is_that_of_the_set(rows: int, size: int, seed: int) -> None:
    found = units(np.random.default_rng(seed), rows, size)
    first, second = scores.vendi(found, 1.0, 2.0)
    assert scores.vendi(np.concatenate([found, found]), 1.0, 2.0) == pytest.approx((first, second), rel=1e-4)
    assert 1 - 1e-6 <= second <= first + 1e-6 <= min(rows, size) + 1e-4  # Hill numbers fall with their order


def test_vendi_is_the_papers_formula() -> None:
    found = units(np.random.default_rng(3), 7, 40)
    values = np.linalg.eigvalsh(found.astype(np.float64) @ found.T.astype(np.float64) / 7)
    assert scores.vendi(found) == pytest.approx((np.exp(-(values * np.log(values)).sum()),), rel=1e-6)
    padded = np.concatenate([found, np.zeros((3, 40), np.float32)])
    assert scores.vendi(padded) == pytest.approx(scores.vendi(found))  # nothing was said of those
    assert scores.vendi(np.zeros((3, 4), np.float32)) == (0.0,)


def test_coverage_is_whole_for_the_same_and_none_for_the_other_side() -> None:
    random = np.random.default_rng(0)
    here, there = units(random, 300, 8), units(random, 300, 8)
    a, b = here.copy(), there.copy()
    a[:, 4:] = b[:, :4] = 0
    assert scores.covered(a, a)[0].all()
    assert not scores.covered(a, b)[0].any()
    hit, density = scores.covered(here, there)
    assert hit.mean() == pytest.approx(1 - 2**-5, abs=0.05)  # Naeem et al. 2020, Lemma 2: alike sets of one size
    assert density == pytest.approx(1.0, abs=0.1)
    assert scores.covered(here, there[:20])[0].mean() < 0.5  # a few cannot cover many


def test_coverage_within_a_radius() -> None:
    reference = np.array([[1, 0], [0, 1]], np.float32)
    corpus = np.array([[0.8, 0.6], [0, 0]], np.float32)
    assert scores.covered(reference, corpus, radius=0.3)[0].tolist() == [True, False]
    assert scores.covered(reference, corpus, radius=0.5)[0].tolist() == [True, True]
    assert not scores.covered(reference, corpus[1:], radius=0.9)[0].any()  # a document without words covers nothing
    with pytest.raises(InputError, match="too few"):
        scores.covered(reference, corpus)
    with pytest.raises(InputError, match="2 and 3 numbers"):
        scores.covered(reference, np.ones((4, 3), np.float32), radius=0.1)


def test_distinct_n_by_hand() -> None:
    piece = np.array([1, 2, 1, 2, 1], np.uint64)  # 1-grams 2 of 5, 2-grams 2 of 4, 3-grams 2 of 3
    for n, wanted in ((1, 2 / 5), (2, 2 / 4), (3, 2 / 3)):
        assert scores.distinct([piece], n) == (pytest.approx(wanted), 0.0, 5)
    assert scores.distinct([piece[:2], piece[:2]], 2)[0] == 1 / 2  # no n-gram over the border of two texts
    assert scores.distinct([], 2) == (0.0, 0.0, 0)


def test_distinct_n_does_not_fall_with_the_size_of_the_corpus() -> None:
    few = [words(100, seed, kinds=3000) for seed in range(10)]
    many = few + [words(100, seed, kinds=3000) for seed in range(10, 400)]
    plain = len(np.unique(np.concatenate(many))) / sum(map(len, many))
    small, large = (scores.distinct(p, 1, words=1000)[0] for p in (few, many))
    assert large == pytest.approx(small, abs=0.03)
    assert plain < small / 4


def test_stretches_take_a_part_of_each_text_wherever_it_was_drawn() -> None:
    flat = np.arange(1000, dtype=np.uint64)
    ends = np.array([0, 700, 700, 1000])
    a, b, c = scores.stretches(flat, ends, np.array([500, 3, 101], np.uint64))
    assert a.tolist() == list(range(500, 700))
    assert len(b) == 0
    assert c.tolist() == list(range(700, 900))


def test_self_repetition_counts_the_other_texts() -> None:
    piece = words(50, 1)
    assert scores.self_repetition([piece, words(50, 2)]) == 0.0
    assert scores.self_repetition([piece, piece, piece]) == pytest.approx(np.log1p(47 * 2))
    assert scores.self_repetition([np.concatenate([piece[:4]] * 9)]) == 0.0  # within a text nothing counts


def test_compression_ratio_is_higher_for_what_repeats() -> None:
    random = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, 300)) for _ in range(50)]
    assert 1.2 < scores.compression_ratio(texts) < 2.0
    assert scores.compression_ratio(texts[:1] * 50) > 20
    assert scores.compression_ratio(["", ""]) == 0.0
