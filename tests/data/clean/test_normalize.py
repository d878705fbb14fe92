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
