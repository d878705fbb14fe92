from __future__ import annotations

import pyarrow as pa
import pytest

from lamina.data.clean.language import detect, language

GERMAN = "Der Wal taucht langsam aus dem Wasser auf und atmet."


def run(texts: list[str | None], declared: list[str | None]) -> dict[str, list[object]]:
    rows = pa.record_batch({"text": pa.array(texts, pa.string()), "language": pa.array(declared, pa.string())})
    return language(rows).to_pydict()


def test_finds_the_language_and_fills_it_in() -> None:
    found = run(["The whale comes up slowly and breathes.", GERMAN, "", None], [None] * 4)
    assert found["language"] == found["language_detected"] == ["en", "de", None, None]
    assert found["language_score"][0] > 0.8
    assert found["language_score"][2:] == [None, None]


def test_the_score_is_that_of_the_declared_language() -> None:
    found = run([GERMAN, GERMAN], ["en-GB", "de-AT"])
    assert found["language"] == ["en-GB", "de-AT"]
    assert found["language_detected"] == ["de", "de"]
    assert found["language_score"][0] < 0.2
    assert found["language_score"][1] > 0.8


def test_looks_further_than_eighty_characters() -> None:
    text = "OK 1234 " * 12 + GERMAN * 20
    assert detect([text])[0][0][0] == "de"


@pytest.mark.parametrize("text", ["\r\n\x85\u2028", "\x00", "a\rb"])
def test_odd_characters_do_no_harm(text: str) -> None:
    assert len(detect([text])) == 1
