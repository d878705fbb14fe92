from __future__ import annotations

import pytest

from lamina.data.readers.replies import trimmed


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Yes.\n\nOn Tue, 1 May 2024 at 10:00, Ann <a@x>\nwrote:\n> Will it?\n> Really?", "Yes."),
        ("Ja.\n\nAm 1. Mai 2024 um 10:00 schrieb Ann:\n> Wird es?", "Ja."),
        ("Oui.\n\nLe 1 mai 2024 à 10:00, Ann a écrit :\n> Quoi ?", "Oui."),
        ("> First?\n\nOne.\n\n> Second?\nTwo.", "One.\n\nTwo."),
        ("Words.\n-- \nAnn\nhead of lamps", "Words."),
        ("Words.\n\n-----Original Message-----\nFrom: Bob\nSubject: x\n\nold", "Words."),
        ("Words.\n\nFrom: Bob <b@x>\nSent: Monday\nTo: Ann\nSubject: x\n\nold", "Words."),
        ("Words.\n_______________________________________________\nThe mailing list\nhttp://x/listinfo", "Words."),
        ("a -- b\n\n--not a mark\n\nHe wrote:\n\nwords", "a -- b\n\n--not a mark\n\nHe wrote:\n\nwords"),
        ("5 > 3 and\nFrom: here on it is text", "5 > 3 and\nFrom: here on it is text"),
    ],
)
def test_what_is_repeated_goes_and_the_rest_stays(text: str, left: str) -> None:
    assert trimmed(text) == left
