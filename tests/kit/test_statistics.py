from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.kit.errors import InputError
from lamina.kit.statistics import (
    exchange_chance,
    labels_needed,
    paired_bootstrap,
    student_quantile,
    vote_evidence,
    wilson,
)


def people(rng: np.random.Generator, count: int, effect: float, skewed: bool) -> tuple[np.ndarray, list[int]]:
    """Differences of ``count`` people, each with one to five items and a leaning of their own."""
    clusters = np.repeat(np.arange(count), rng.integers(1, 6, count))
    leaning = rng.exponential(1, count) - 1 if skewed else rng.normal(0, 1, count)
    return leaning[clusters] + rng.normal(0, 0.5, len(clusters)) + effect, clusters.tolist()


@pytest.mark.parametrize(("count", "skewed"), [(8, False), (30, False), (30, True), (100, True)])
def test_the_interval_covers_the_truth_as_often_as_it_says(count: int, skewed: bool) -> None:
    rng = np.random.default_rng(7)
    inside = 0
    for n in range(400):
        values, clusters = people(rng, count, 0.3, skewed)
        interval = paired_bootstrap(values, np.zeros(len(values)), clusters, resamples=400, seed=n)
        inside += interval.low <= 0.3 <= interval.high
    assert 0.905 <= inside / 400 <= 0.985  # nominal 0.95, four standard errors


def test_items_of_one_person_are_no_independent_evidence() -> None:
    rng = np.random.default_rng(1)
    by_person = np.repeat(rng.normal(0, 1, 10), 50)
    zeros = np.zeros(500)
    honest = paired_bootstrap(by_person, zeros, np.repeat(np.arange(10), 50).tolist())
    naive = paired_bootstrap(by_person, zeros, list(range(500)))
    assert honest.n_clusters == 10
    assert honest.high - honest.low > 4 * (naive.high - naive.low)


def test_the_sign_is_that_of_a_minus_b_and_the_seed_decides() -> None:
    rng = np.random.default_rng(2)
    a, clusters = people(rng, 40, 2.0, False)
    one = paired_bootstrap(a, np.zeros(len(a)), clusters)
    assert one.low > 0
    assert one == paired_bootstrap(a, np.zeros(len(a)), clusters)
    assert one != paired_bootstrap(a, np.zeros(len(a)), clusters, seed=1)
    other = paired_bootstrap(np.zeros(len(a)), a, clusters)
    assert other.mean == -one.mean
    assert other.high < 0
    wide = paired_bootstrap(a, np.zeros(len(a)), clusters, confidence=0.99)
    assert wide.low < one.low < one.high < wide.high


def test_names_of_clusters_may_be_anything() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    assert paired_bootstrap(values, [0.0] * 4, ["x", "y", "x", "z"]) == paired_bootstrap(
        values, [0.0] * 4, [5, 1, 5, 0]
    )


def test_edges() -> None:
    alone = paired_bootstrap([1.0, 2.0], [0.0, 0.0], ["a", "a"])
    assert (alone.mean, alone.low, alone.high, alone.n_clusters) == (1.5, -math.inf, math.inf, 1)
    same = paired_bootstrap([0.1] * 7, [0.0] * 7, list("abcdefg"))
    assert same.low == same.high == pytest.approx(0.1)
    rare = paired_bootstrap([1.0] + [0.0] * 9, [0.0] * 10, list(range(10)))
    assert math.isfinite(rare.low)
    assert math.isfinite(rare.high)
    assert rare.low <= rare.mean <= rare.high
    for a, b, clusters in (([], [], []), ([1.0], [1.0, 2.0], [1]), ([1.0], [1.0], [1, 2]), ([math.nan], [0.0], [1])):
        with pytest.raises(InputError):
            paired_bootstrap(a, b, clusters)
    with pytest.raises(InputError, match="confidence"):
        paired_bootstrap([1.0], [0.0], [1], confidence=95)


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 6)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_mean_lies_inside(rows: list[tuple[float, int]]) -> None:
    values, clusters = [r[0] for r in rows], [r[1] for r in rows]
    interval = paired_bootstrap(values, [0.0] * len(rows), clusters, resamples=200)
    assert interval.n_clusters == len(set(clusters))
    assert not math.isnan(interval.low)
    assert interval.low <= interval.high


def test_the_number_of_labels_named_gives_the_power_promised() -> None:
    rng = np.random.default_rng(3)
    values, clusters = people(rng, 40, 0.0, False)
    more = labels_needed(values, clusters, effect=0.5)
    assert more is not None
    total = 40 + more
    found = 0
    for n in range(300):
        sample, who = people(rng, total, 0.5, False)
        found += paired_bootstrap(sample, np.zeros(len(sample)), who, resamples=300, seed=n).low > 0
    assert 0.68 <= found / 300 <= 0.92, f"power 0.8 was promised for {total} people"


def test_labels_needed_in_simple_cases() -> None:
    rng = np.random.default_rng(4)
    values, clusters = people(rng, 50, 0.0, False)
    small, large = (labels_needed(values, clusters, effect=e) for e in (0.05, 0.5))
    assert small is not None
    assert large is not None
    assert small > 50 * max(large, 1)
    assert labels_needed(values, clusters, effect=20.0) == 0
    assert labels_needed(values, clusters, effect=0.0) is None
    assert labels_needed([0.0, 0.0], ["a", "b"]) is None
    assert labels_needed([1.0, 1.0], ["a", "a"]) is None
    assert labels_needed([0.2, 0.2, 0.2], ["a", "b", "c"]) == 0
    assert labels_needed([1.0, -1.0], ["a", "b"], effect=1e-12) is None


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        interval = wilson(successes, trials)
        assert interval.low == pytest.approx(low, abs=1e-4)
        assert interval.high == pytest.approx(high, abs=1e-4)
    assert wilson(29, 29).high == 1.0
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    with pytest.raises(InputError):
        wilson(3, 2)


def test_students_quantiles_are_those_of_the_tables() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 10: 2.228, 29: 2.045, 30: 2.042, 120: 1.980, 5000: 1.960}
    for degrees, value in table.items():
        assert student_quantile(0.975, degrees) == pytest.approx(value, abs=6e-4)
    assert student_quantile(0.8, 5) == pytest.approx(0.920, abs=6e-4)
    assert student_quantile(0.2, 5) == -student_quantile(0.8, 5)
    assert student_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)


def test_evidence_of_votes() -> None:
    assert vote_evidence(0, 0) == pytest.approx(1.0)
    assert vote_evidence(30, 10) == vote_evidence(10, 30)
    assert vote_evidence(10**6, 0) == math.inf
    assert vote_evidence(1, 0) == pytest.approx(1.0), "one vote is no evidence either way"
    with pytest.raises(InputError):
        vote_evidence(-1, 0)


def test_looking_after_each_vote_is_seldom_fooled_and_finds_a_real_difference() -> None:
    rng = np.random.default_rng(5)

    def decided(share: float, votes: int) -> bool:
        wins = np.cumsum(rng.random(votes) < share)
        return any(vote_evidence(int(w), n + 1 - int(w)) >= 20 for n, w in enumerate(wins))

    assert sum(decided(0.5, 250) for _ in range(200)) / 200 <= 0.05 + 0.03
    assert sum(decided(0.7, 250) for _ in range(60)) / 60 >= 0.95


def test_exchanging_equal_sides_is_as_rare_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(400):
        values, clusters = people(rng, 9, 0.0, False)
        found.append(exchange_chance(values, np.zeros(len(values)), clusters))
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.08


def test_exchanges_are_all_tried_where_there_are_few_and_drawn_where_there_are_many() -> None:
    four = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert exchange_chance(four, [0.0] * 6, range(6)) == 2 / 16
    assert exchange_chance([0.0] * 6, four, range(6)) == 2 / 16
    assert exchange_chance([1.0] * 6, [0.0] * 6, [0, 0, 0, 1, 1, 1]) == 2 / 4  # two people, whatever they said
    assert exchange_chance([0.5] * 6, [0.5] * 6, range(6)) == 1.0
    values = [1.0] * 10 + [-1.0] * 4
    exact = sum(math.comb(14, n) for n in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)) / 2**14
    assert exchange_chance(values, [0.0] * 14, range(14)) == pytest.approx(exact, abs=0.012)
