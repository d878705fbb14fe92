"""Scores, their errors and the jackknife against plain computations."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamina.kit.errors import InputError
from lamina.kit.statistics import standard_error
from lamina.model.evaluate import score as score_module
from lamina.model.evaluate.score import Asked, Score, jackknife, mean_score, ratio_values

ASKED = Asked(template="'{context} {choice}'", begin="<|endoftext|>", normalisation="Σ ln p per UTF-8 byte")


def test_a_score_says_how_it_was_asked():
    found = mean_score("arc", [1, 0, 1, 1], items=["a", "b", "c", "d"], asked=ASKED, details={"chance": 0.25})
    assert found.value == 0.75
    assert found.error == pytest.approx(np.std([1, 0, 1, 1], ddof=1) / 2)
    for word in ("arc: 0.7500 ± 0.2500", "n = 4", "{context}", "<|endoftext|>", "per UTF-8 byte", "chance 0.25"):
        assert word in str(found)
    assert len(repr(found)) < 400
    assert Score.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_items_drawn_together_count_once():
    values = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    clusters = ["a", "a", "b", "b", "c", "c"]
    found = mean_score("x", values, items=list("abcdef"), asked=ASKED, clusters=clusters)
    assert found.error == pytest.approx(np.std([1, 0, 1], ddof=1) / np.sqrt(3))
    assert standard_error([1.0, 2.0], ["a", "a"]) == float("inf")


@pytest.mark.parametrize("values", [[], [1.0]])
def test_too_few_items_are_refused(values):
    with pytest.raises(InputError, match="at least two"):
        mean_score("x", values, items=["a"] * len(values), asked=ASKED)


def test_one_cluster_is_refused():
    with pytest.raises(InputError, match="cluster"):
        mean_score("x", [1.0, 0.0], items=["a", "b"], asked=ASKED, clusters=["one", "one"])


def test_a_ratio_has_the_error_of_leaving_one_out():
    draws = np.random.default_rng(0)
    below = draws.uniform(1, 9, 500)
    above = below * draws.uniform(0.5, 1.5, 500)
    found = mean_score("x", ratio_values(above, below).tolist(), items=["i"] * 500, asked=ASKED)
    assert found.value == pytest.approx(above.sum() / below.sum())
    values, groups = jackknife(lambda kept: above[kept].sum() / below[kept].sum(), 500)
    assert standard_error(values, groups) == pytest.approx(found.error, rel=0.02)


def test_the_jackknife_of_a_mean_is_the_mean(monkeypatch):
    data = np.random.default_rng(1).normal(size=50)
    values, groups = jackknife(lambda kept: data[kept].mean(), 50)
    assert values == pytest.approx(data)
    assert len(set(groups)) == 50
    monkeypatch.setattr(score_module, "_GROUPS", 7)
    values, groups = jackknife(lambda kept: data[kept].mean(), 50)
    assert values.mean() == pytest.approx(data.mean())
    assert len(set(groups)) == 7
    first = [v for v, g in zip(values, groups, strict=True) if g == "0"]
    assert first == pytest.approx([np.mean(data[::7])] * len(first), abs=0.05)


def test_clusters_are_left_out_whole():
    data = np.arange(12.0)
    seen = []

    def figure(kept: np.ndarray) -> float:
        seen.append(kept.copy())
        return float(data[kept].max())

    _, groups = jackknife(figure, 12, ["a"] * 4 + ["b"] * 8)
    assert groups == ["a"] * 4 + ["b"] * 8
    assert [kept.sum() for kept in seen] == [12, 8, 4]
