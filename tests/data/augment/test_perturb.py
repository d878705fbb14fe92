"""Texts as the world sends them: by other tables than those that training's noise draws from."""

from __future__ import annotations

import pytest

from lamina.data.augment.keyboards import OCR, neighbours
from lamina.data.augment.perturb import _MISREAD, CONDITIONS, _far_keys, paraphrase, perturb

TEXTS = [
    "The keeper of the lighthouse climbed the stairs, and in order to see more he lit a number of lamps.\n\n"
    "However, nothing moved at https://example.org/harbour in 1998.",
    "A calm sea usually pleases people.",
] * 10


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_same_seed_gives_the_same_damage(condition: str) -> None:
    one, two = (perturb(TEXTS, condition, seed=s, language="en") for s in (1, 2))
    assert one == perturb(TEXTS, condition, seed=1, language="en")
    assert (one == two) == (condition in ("clean", "paraphrase"))
    assert len(one) == len(TEXTS)
    assert (one == TEXTS) == (condition == "clean")


def test_damage_leaves_addresses_numbers_and_layout() -> None:
    for condition in ("typos", "OCR errors"):
        for text in perturb(TEXTS[:1] * 20, condition, seed=3, language="en"):
            assert "https://example.org/harbour" in text
            assert "1998" in text
            assert text.count("\n\n") == 1


def test_slips_are_not_those_of_training() -> None:
    assert _far_keys()
    assert not set(_far_keys()) & set(neighbours("qwerty"))
    misread = {tuple(pair.split(">")) for pair in _MISREAD.split()}
    assert not misread & set(OCR)


def test_casing_changes_whole_texts_and_nothing_else() -> None:
    found = perturb(TEXTS, "casing", seed=5)
    assert {text.isupper() for text in found} == {True, False}
    assert all(text in (before.upper(), before.lower()) for text, before in zip(found, TEXTS, strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("In order to see it", "To see it"),
        ("He did not want a lot of them.", "He didn't wish for plenty of them."),
        ("It is a type of fish, such as cod", "It's a type of fish, like cod"),
        ("startle abigail", "startle abigail"),
        ("IN GENERAL people agree", "As a rule persons agree"),
    ],
)
def test_paraphrase_is_by_phrases(text: str, said: str) -> None:
    assert paraphrase(text) == said


def test_about_a_fifth_of_the_words_slip() -> None:
    text = " ".join(["keeper lighthouse stairs morning harbour lantern"] * 40)
    for condition in ("typos", "OCR errors"):
        (found,) = perturb([text], condition, seed=1, language="en")
        changed = sum(a != b for a, b in zip(text.split(), found.split(), strict=False))
        assert 0.1 < changed / 240 < 0.3
