"""The gate's three verdicts."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.recipes.gate import Evidence, Judgement, Measured, judge

NOTHING = Measured(champion=(), challenger=(), clusters=())


def measured(gain: float, *, people: int = 20, each: int = 2, noise: float = 0.1, seed: int = 0) -> Measured:
    draw = np.random.default_rng(seed)
    champion = draw.normal(3.0, 0.5, people * each)
    challenger = champion - gain + draw.normal(0, noise, people * each)
    return Measured(champion=champion, challenger=challenger, clusters=[f"p{i // each}" for i in range(people * each)])


def verdict(**parts: Measured) -> Judgement:
    evidence = Evidence(**{"feedback": NOTHING, "learned": NOTHING, "documents": NOTHING, **parts})
    return judge(evidence, minimum=8, confidence=0.95, margin=0.03)


def test_a_sure_gain_without_harm_is_promoted() -> None:
    judgement = verdict(feedback=measured(0.5), documents=measured(0.0, noise=0.01))
    assert judgement.verdict == "promote"
    assert judgement.results["feedback"]["improvement"]["low"] > 0


def test_one_correction_is_inconclusive_and_says_what_is_missing() -> None:
    judgement = verdict(feedback=measured(2.0, people=1, each=1))
    assert judgement.verdict == "inconclusive"
    assert judgement.results["missing"] == 7
    assert "7 more" in judgement.reasons[0]


def test_no_held_out_feedback_at_all_is_inconclusive() -> None:
    assert verdict().verdict == "inconclusive"


def test_a_gain_that_could_be_chance_is_inconclusive() -> None:
    judgement = verdict(feedback=measured(0.01, noise=1.0))
    assert judgement.verdict == "inconclusive"
    assert "could be chance" in judgement.reasons[0]


def test_a_sure_loss_on_the_feedback_is_rejected() -> None:
    assert verdict(feedback=measured(-0.5)).verdict == "reject"


def test_harm_to_the_documents_is_rejected_whatever_the_feedback_says() -> None:
    judgement = verdict(feedback=measured(1.0), documents=measured(-0.4, noise=0.02))
    assert judgement.verdict == "reject"
    assert "held-out documents" in judgement.reasons[0]


def test_forgetting_what_was_learned_is_rejected() -> None:
    assert verdict(feedback=measured(0.5), learned=measured(-0.6, noise=0.05)).verdict == "reject"


def test_hedging_between_right_and_random_answers_is_rejected() -> None:
    """The mixture of old and new held-out answers gains, what was learned loses a little, and surely."""
    draw = np.random.default_rng(0)
    known = draw.uniform(0.01, 0.03, 20)
    learned = Measured(
        champion=known, challenger=known + draw.uniform(0.04, 0.07, 20), clusters=[f"p{i}" for i in range(20)]
    )
    judgement = verdict(feedback=measured(0.1, noise=0.05), learned=learned)
    assert judgement.verdict == "reject"
    assert "earlier feedback" in judgement.reasons[0]


def test_harm_is_told_even_with_too_few_labels() -> None:
    assert verdict(feedback=measured(1.0, people=2), documents=measured(-0.4, noise=0.02)).verdict == "reject"


def test_possible_harm_beyond_the_margin_holds_a_promotion_back() -> None:
    judgement = verdict(feedback=measured(0.5), documents=measured(-0.02, noise=0.3))
    assert judgement.verdict == "inconclusive"
    assert "cannot be ruled out" in judgement.reasons[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_without_a_difference_promotions_are_rare(seed: int) -> None:
    judgement = verdict(feedback=measured(0.0, noise=0.3, seed=seed))
    found = judgement.results["feedback"]
    assert (judgement.verdict == "promote") == (found["improvement"]["low"] > 0 and found["chance"] <= 0.05)


def apart(better: int, worse: int, people: int = 10) -> Measured:
    """``better`` of ``people`` get their answer for a bit less from the challenger, ``worse`` for a bit more."""
    gaps = np.array([1.0] * better + [-1.0] * worse + [0.0] * (people - better - worse))
    return Measured(champion=3.0 + gaps, challenger=np.full(people, 3.0), clusters=[f"p{n}" for n in range(people)])


def test_among_equals_a_winner_is_named_no_oftener_than_is_said() -> None:
    """Ten people whom two equal models serve alike with chance 0.65, else either may be better."""
    named = alone = 0.0
    for better in range(11):
        for worse in range(min(better, 10 - better) + 1):  # the other half is the mirror image
            chance = math.factorial(10) * 0.175 ** (better + worse) * 0.65 ** (10 - better - worse)
            chance /= math.factorial(better) * math.factorial(worse) * math.factorial(10 - better - worse)
            chance *= 1 if better == worse else 2
            judgement = verdict(feedback=apart(better, worse))
            interval = judgement.results["feedback"]["improvement"]
            named += chance * (judgement.verdict != "inconclusive")
            alone += chance * (interval["low"] > 0 or interval["high"] < 0)
    assert named <= 0.05
    assert alone > 0.1


def test_too_few_people_who_tell_the_two_apart_are_named_as_the_reason() -> None:
    judgement = verdict(feedback=apart(4, 0))
    assert judgement.verdict == "inconclusive"
    assert judgement.results["feedback"]["improvement"]["low"] > 0
    assert judgement.results["feedback"]["chance"] == 0.125
    assert judgement.results["missing"] == 5
    assert "of equal models 12% would differ so much" in judgement.reasons[0]
