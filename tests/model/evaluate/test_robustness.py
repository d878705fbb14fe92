"""What perturbations cost, against plain differences."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lamina.kit.errors import InputError
from lamina.kit.statistics import paired_bootstrap
from lamina.model.evaluate.likelihood import Likelihoods
from lamina.model.evaluate.minimal_pairs import MinimalPair
from lamina.model.evaluate.multiple_choice import Choice, multiple_choice
from lamina.model.evaluate.robustness import robustness
from lamina.model.evaluate.score import Asked, Score, mean_score

ASKED = Asked(template="the text alone", begin="nothing", normalisation="letters a")
TEXTS = [f"{'a' * (n % 7 + 1)} {'b' * (n % 3)} {n}" for n in range(60)]


def share_of_a(texts) -> Score:
    values = [t.count("a") / len(t) for t in texts]
    return mean_score("a's", values, items=list(texts), asked=ASKED)


def slips(seed: int):
    def change(text: str) -> str:
        draws = random.Random(f"{seed} {text}")
        return "".join("x" if c == "a" and draws.random() < 0.3 else c for c in text)

    return change


def test_the_drop_is_the_mean_difference_over_draws():
    changes = [slips(seed) for seed in range(4)]
    [drop] = robustness(share_of_a, TEXTS, {"typos": changes})
    before = share_of_a(TEXTS)
    after = np.mean([share_of_a([c(t) for t in TEXTS]).values for c in changes], axis=0)
    wanted = paired_bootstrap(before.values, after, before.clusters)
    assert drop.loss == wanted
    assert drop.loss.low > 0
    assert drop.value == pytest.approx(after.mean())
    assert drop.seeds == 4
    assert 0.3 < drop.touched < 1
    for words in ("a's, typos", "4 draws", "letters a"):
        assert words in str(drop)


def test_what_changes_nothing_costs_nothing():
    [drop] = robustness(share_of_a, TEXTS, {"none": [lambda text: text]})
    assert (drop.loss.mean, drop.loss.low, drop.loss.high, drop.touched) == (0.0, 0.0, 0.0, 0.0)
    assert "could be chance" in str(drop)


def test_a_rise_of_what_should_be_low_is_a_loss():
    def errors(texts) -> Score:
        return mean_score("x's", [t.count("x") for t in texts], items=list(texts), asked=ASKED, better="lower")

    [drop] = robustness(errors, TEXTS, {"typos": [slips(0)]})
    assert drop.loss.mean > 0


def test_items_know_what_is_changed(opened):
    model, _, tokenizer = opened("gpt2")
    asked = Likelihoods(model, tokenizer)
    items = [Choice(f"the {w}", (" sea", " ship", " man"), n % 3) for n, w in enumerate("abcdefghijkl")]

    def measure(some) -> Score:
        return multiple_choice(asked, some, normalisation="sum")

    [drop] = robustness(measure, items, {"backwards": [lambda text: text[::-1]]})
    spoiled = measure([Choice(i.context[::-1], i.choices, i.answer) for i in items])
    assert drop.value == spoiled.value
    assert drop.touched == 1.0
    assert MinimalPair("a", "b", "g").changed(str.upper) == MinimalPair("A", "B", "g")


def test_of_pairs_the_first_is_changed_or_what_is_said():
    def first(items) -> Score:
        return share_of_a([text for text, _ in items])

    pairs = [(text, "label a") for text in TEXTS]
    [drop] = robustness(first, pairs, {"typos": [slips(0)]})
    assert drop.loss.mean > 0
    [other] = robustness(first, pairs, {"typos": [slips(0)]}, changed=lambda item, change: (item[0], change(item[1])))
    assert other.loss.mean == 0.0


def test_bad_input():
    with pytest.raises(InputError, match="typos"):
        robustness(share_of_a, TEXTS, {"typos": []})
    with pytest.raises(InputError, match="at least two"):
        robustness(share_of_a, [], {"typos": [slips(0)]})
    with pytest.raises(InputError, match="int"):
        robustness(lambda items: share_of_a(TEXTS), [1, 2], {"typos": [slips(0)]})
    with pytest.raises(InputError, match="not those"):
        robustness(lambda items: share_of_a(sorted(set(items))), ["a a", "b b", "b c"], {"cut": [lambda t: t[:1]]})
