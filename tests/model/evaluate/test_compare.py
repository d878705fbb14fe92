"""Comparisons: a winner only beyond the noise, whatever it comes from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lamina.kit.errors import InputError
from lamina.kit.statistics import paired_bootstrap
from lamina.model.evaluate.compare import compare
from lamina.model.evaluate.score import Asked, Score, mean_score

ASKED = Asked(template="'{context} {choice}'", begin="</s>", normalisation="Σ ln p")


def scored(values: np.ndarray, *, items: str = "same", **more: object) -> Score:
    return mean_score("task", values.tolist(), items=[f"{items} {n}" for n in range(len(values))], asked=ASKED, **more)  # type: ignore[arg-type]


def models(draws: np.random.Generator, *, seeds: int, items: int, by_seed: float, ability: float = 0.0) -> list[Score]:
    """Right or wrong answers of models whose ability varies by seed; the items' difficulty is the same for all."""
    difficulty = np.random.default_rng(99).normal(size=items)
    found = []
    for _ in range(seeds):
        skill = ability + by_seed * draws.normal()
        chance = 1 / (1 + np.exp(difficulty - skill))
        found.append(scored((draws.random(items) < chance).astype(float)))
    return found


@pytest.mark.parametrize(
    ("seeds", "items", "by_seed"),
    [((1, 1), 10, 0.0), ((1, 1), 100, 0.0), ((3, 3), 150, 0.3), ((2, 5), 50, 0.1), ((3, 3), 150, 1.0)],
)
def test_equal_models_are_seldom_told_apart(seeds, items, by_seed):
    """A winner in at most 5 % of draws (of 200 here: up to 5 % and two and a half standard errors)."""
    draws = np.random.default_rng(7)
    wins = 0
    for _ in range(200):
        ours, theirs = (models(draws, seeds=n, items=items, by_seed=by_seed) for n in seeds)
        wins += compare(ours, theirs, resamples=400).winner is not None
    assert wins / 200 <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize(("items", "differ"), [(10, 0.4), (100, 0.04), (100, 0.1)])
def test_few_answers_that_differ_are_no_winner(items, differ):
    """Equal models that nearly always agree: the interval alone would name a winner in up to one draw of seven."""
    draws, wins = np.random.default_rng(4), 0
    for _ in range(200):
        base = (draws.random(items) < 0.5).astype(float)
        sides = [np.where(draws.random(items) < differ / 2, 1 - base, base) for _ in range(2)]
        wins += compare(*map(scored, sides), resamples=400).winner is not None
    assert wins / 200 <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 200)


def test_chance_is_how_often_signs_agree():
    gaps = np.zeros(40)
    gaps[:5] = 1.0
    found = compare(scored(gaps), scored(np.zeros(40)))
    assert found.difference.low > 0
    assert found.chance == pytest.approx(2 / 2**5, rel=0.1)
    assert found.winner is None
    assert "few items tell the two apart" in str(found)
    gaps[:8] = 1.0
    assert compare(scored(gaps), scored(np.zeros(40))).winner == "ours"


def test_seeds_alone_can_be_the_noise():
    """A thousand items would name a winner; three seeds that differ as much as the two sides do not."""
    draws = np.random.default_rng(3)
    ours = models(draws, seeds=3, items=1000, by_seed=0.6, ability=0.3)
    theirs = models(draws, seeds=3, items=1000, by_seed=0.6)
    pooled = [scored(np.mean([s.values for s in side], axis=0)) for side in (ours, theirs)]
    assert compare(*pooled).winner is not None
    found = compare(ours, theirs)
    assert found.winner is None
    assert found.items_needed is None
    assert found.seeds_needed
    assert "seeds a side would tell" in str(found)


def test_a_real_difference_is_named():
    draws = np.random.default_rng(0)
    ours = models(draws, seeds=3, items=500, by_seed=0.05, ability=1.0)
    theirs = models(draws, seeds=3, items=500, by_seed=0.05)
    found = compare(ours, theirs, names=("tuned", "base"))
    assert found.winner == "tuned"
    assert "tuned is better" in str(found)
    assert compare(theirs, ours, names=("base", "tuned")).winner == "tuned"
    assert (found.items_needed, found.seeds_needed) == (0, 0)


def test_lower_is_better_where_the_score_says_so():
    draws = np.random.default_rng(0)
    low, high = draws.normal(1.0, 0.1, 50), draws.normal(1.5, 0.1, 50)
    found = compare(scored(low, better="lower"), scored(high, better="lower"))
    assert found.winner == "ours"
    assert found.difference.mean == pytest.approx(high.mean() - low.mean())


def test_the_same_items_are_paired():
    draws = np.random.default_rng(1)
    base = draws.normal(size=200)
    ours, theirs = base + 0.05 + 0.1 * draws.normal(size=200), base
    found = compare(scored(ours), scored(theirs))
    assert (found.paired, found.winner) == (True, "ours")
    wanted = paired_bootstrap(ours, theirs, [str(n) for n in range(200)])
    assert (found.difference.low, found.difference.high) == pytest.approx((wanted.low, wanted.high))
    apart = compare(scored(ours), scored(theirs, items="other"))
    assert (apart.paired, apart.winner) == (False, None)
    width = 1.96 * np.hypot(ours.std(ddof=1), theirs.std(ddof=1)) / np.sqrt(200)
    assert apart.difference.high - apart.difference.mean == pytest.approx(width, rel=0.1)
    assert "items a side" in str(apart)


def test_the_items_that_are_said_to_be_needed_are_about_enough():
    draws = np.random.default_rng(5)
    base, noise = draws.normal(size=100), draws.normal(size=100)
    noise = 0.3 * (noise - noise.mean()) / noise.std(ddof=1)
    found = compare(scored(base + 0.04 + noise), scored(base))
    assert found.winner is None
    need = found.difference.n_clusters + found.items_needed
    effect, named = found.difference.mean, 0
    for _ in range(100):
        base = draws.normal(size=need)
        named += (
            compare(scored(base + effect + 0.3 * draws.normal(size=need)), scored(base), resamples=400).winner == "ours"
        )
    assert 65 <= named <= 95  # of the 80 that are promised
    assert f"{found.items_needed:,} more items" in str(found)


def test_few_items_decide_nothing():
    found = compare(scored(np.ones(9)), scored(np.zeros(9)))
    assert found.winner is None
    assert "fewer than 10" in str(found)
    assert compare(scored(np.ones(10)), scored(np.zeros(10))).winner == "ours"


def test_equal_scores():
    found = compare(scored(np.ones(20)), scored(np.ones(20)))
    assert found.winner is None
    assert found.items_needed is None
    assert "neither" in str(found)


def test_one_seed_each_says_what_that_means():
    found = compare(scored(np.arange(20.0)), scored(np.zeros(20)))
    assert "these two models, not of how they were made" in str(found)


def test_what_is_not_compared():
    one = scored(np.arange(20.0))
    with pytest.raises(InputError, match="no score"):
        compare([], [one])
    with pytest.raises(InputError, match="different items"):
        compare([one, scored(np.arange(20.0), items="other")], one)
    with pytest.raises(InputError, match="other"):
        compare(one, dataclasses.replace(one, name="other"))
    for what in ("template", "normalisation"):
        with pytest.raises(InputError, match=what):
            compare(one, dataclasses.replace(one, asked=dataclasses.replace(ASKED, **{what: "else"})))
    assert compare(one, dataclasses.replace(one, asked=dataclasses.replace(ASKED, begin="<s>"))).winner is None
