from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.clean.normalize import normalize


def clean(*texts: str | None, **parameters: object) -> list[str | None]:
    return normalize(pa.record_batch({"text": pa.array(texts, pa.string())}), **parameters).column("text").to_pylist()


def test_writes_each_character_in_one_way_and_keeps_null() -> None:
    assert clean("cafe\u0301", None, "") == ["café", None, ""]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("a\u00a0b\u2003\u2003c   d", "a b c d"),
        ("a \n\n\n\n b \t\n", "a\n\n b"),
        ("def f():\n    return  1", "def f():\n    return 1"),  # indentation means something
        ("so\u00adft \ufeffzero\u200bwidth \x00\x1b[0m", "soft zerowidth [0m"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),  # a joined emoji is one picture
    ],
)
def test_white_space_and_control_characters(text: str, wanted: str) -> None:
    assert clean(text) == [wanted]


def test_repairs_text_that_was_decoded_wrongly_and_only_that() -> None:
    damaged = "It’s a café — naïve".encode().decode("windows-1252", "ignore")
    assert clean(damaged)[0] == "It’s a café — naïve"
    fine = "Ångström, Ärger, “quoted”, 12 °C, São Paulo, À la carte"
    assert clean(fine) == [fine]
    assert clean(damaged, mojibake=False)[0] != "It’s a café — naïve"


def test_text_that_would_grow_too_much_stays() -> None:
    ligature = "\ufdfa" * 200  # one character that NFKC writes with eighteen
    assert clean(ligature, form="NFKC") == [ligature]
    assert clean("\ufb01ne", form="NFKC") == ["fine"]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_twice_is_once_and_no_controls_are_left(text: str) -> None:
    once = clean(text, mojibake=False)[0]
    assert once is not None
    assert clean(once, mojibake=False) == [once]
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in once)


@pytest.mark.parametrize(
    ("choice", "text", "wanted"),
    [
        ({"quotes": "plain"}, "“Call me ‘Ishmael’”, «he» said", '"Call me \'Ishmael\'", "he" said'),
        ({"dashes": "plain"}, "so — he said – 1–2 well‑known", "so - he said - 1-2 well-known"),
        ({"hyphenation": True}, "the har-\npooneer, New-\nYork, 19-\n20", "the harpooneer, New-\nYork, 19-\n20"),
        ({"numbers": "ascii"}, "٣٫٥ of १२ and ４２", "3٫5 of 12 and 42"),
        (
            {"numbers": "plain"},
            "1,234,567.89; 1,234.5; 1,234; 12,34; 1,234,567",
            "1234567.89; 1234.5; 1,234; 12,34; 1234567",
        ),
        ({"dates": "iso"}, "on 3rd of March 1851, Nov. 24, 2026, 5. Mai 1999", "on 1851-03-03, 2026-11-24, 1999-05-05"),
        (
            {"dates": "iso"},
            "24.11.2026, 2026/1/5, 3/4/2020 and version 1.2.3",
            "2026-11-24, 2026-01-05, 3/4/2020 and version 1.2.3",
        ),
    ],
)
def test_ways_to_write_are_a_choice(choice: dict[str, object], text: str, wanted: str) -> None:
    assert clean(text, **choice) == [wanted]
    assert clean(text) == [text]
