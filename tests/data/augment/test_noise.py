from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.augment.keyboards import LAYOUTS, OCR, neighbours
from lamina.data.augment.noise import noise
from lamina.kit.errors import ConfigError

Make = Callable[..., pa.RecordBatch]
KINDS = ["keyboard", "ocr", "spelling", "case", "punctuation", "spacing"]
TEXT = "The keeper of the lighthouse climbed the stairs, as he had done every morning; nothing changed here. " * 5


def run(batch: pa.RecordBatch, *kinds: Any, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = noise(batch, kinds=kinds, **parameters).to_pylist()
    return rows


def edits(child: dict[str, Any]) -> list[list[Any]]:
    return list(json.loads(child["detail"])["edits"])


def test_keyboard_slips_hit_a_key_beside(make: Make) -> None:
    beside = set(neighbours("qwerty"))
    (child,) = run(make(TEXT), "keyboard", rate=1.0)
    assert len(edits(child)) > 50
    for first, last, new in edits(child):
        assert (TEXT[first:last].lower(), new.lower()) in beside
        assert TEXT[first:last].isupper() == new.isupper()


def test_keyboards_lie_as_they_do() -> None:
    assert ("g", "h") in neighbours("qwerty")
    assert ("g", "z") in neighbours("qwertz")
    assert ("a", "z") in neighbours("azerty")
    assert ("l", "ñ") in neighbours("spanish")
    assert ("q", "p") not in neighbours("qwerty")
    for layout in LAYOUTS:
        pairs = set(neighbours(layout))
        assert all((b, a) in pairs for a, b in pairs)


def test_layout_follows_the_language_or_the_parameter(make: Make) -> None:
    text = "zzzz " * 60
    german = {e[2] for e in edits(run(make(text, language="de"), "keyboard", rate=1.0)[0])}
    english = {e[2] for e in edits(run(make(text), "keyboard", rate=1.0)[0])}
    assert german == {b for a, b in neighbours("qwertz") if a == "z"} != english
    named = {e[2] for e in edits(run(make(text), "keyboard", rate=1.0, layout="qwertz")[0])}
    assert named == german


def test_ocr_slips_are_in_the_table(make: Make) -> None:
    (child,) = run(make(TEXT), "ocr", rate=1.0)
    assert edits(child)
    assert all((TEXT[first:last], new) in OCR for first, last, new in edits(child))
    (child,) = run(make("modern corner barn " * 20), "ocr", rate=1.0)
    assert any(len(new) != last - first for first, last, new in edits(child))  # rn and m, too


def test_spelling_doubles_drops_or_exchanges_letters(make: Make) -> None:
    (child,) = run(make("lighthouse " * 100), "spelling", rate=1.0)
    found = set(child["text"].split())
    lengths = {len(word) for word in found}
    assert lengths == {9, 10, 11}
    assert all(word[0] == "l" and set(word) <= set("lighthouse") for word in found)


def test_known_misspellings_are_used(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text('# common\nrecieve->receive, receives\n"teh->the",\nseperate\tseparate\n')
    (child,) = run(make("Receive separate goods. " * 60), "spelling", rate=1.0, misspellings=str(file))
    assert "Recieve" in child["text"]
    assert "seperate" in child["text"]
    with pytest.raises(ConfigError, match="misspellings"):
        run(make("word"), "spelling", misspellings=str(tmp_path / "none.txt"))


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_the_kind_says_changes(make: Make, kind: str) -> None:
    for child in run(make(TEXT), kind, rate=0.5, copies=3):
        new = child["text"]
        if kind == "case":
            assert new != TEXT
            assert new.lower() == TEXT.lower()
        if kind == "spacing":
            assert new != TEXT
            assert new.replace(" ", "") == TEXT.replace(" ", "")
        if kind == "punctuation":
            marks = str.maketrans("", "", ",.;:!?")
            assert new != TEXT
            assert new.translate(marks) == TEXT.translate(marks)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_is_kept(make: Make, kind: str) -> None:
    text = "many different words stand together here, " * 300
    (child,) = run(make(text), kind, rate=0.1)
    touched = len({first for first, _, _ in edits(child)})
    more = json.loads(child["detail"]).get("more", 0)
    words = len(text.split())
    assert 0.03 * words < touched + more < (0.26 if kind == "spelling" else 0.13) * words


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_slips(make: Make, kind: str) -> None:
    first = run(make(TEXT, ids=["x"]), kind, seed=3, copies=2, rate=0.3)
    assert first == run(make(TEXT, ids=["x"]), kind, seed=3, copies=2, rate=0.3)
    assert first[0]["text"] != first[1]["text"]
    assert first != run(make(TEXT, ids=["x"]), kind, seed=4, copies=2, rate=0.3)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), kinds=st.sets(st.sampled_from(KINDS), min_size=1), rate=st.floats(0.1, 1.0))
def test_any_text_survives(make: Make, redo: Callable[..., str], text: str, kinds: set[str], rate: float) -> None:
    text = text.encode("utf-8", "ignore").decode() + " Wörter und ein Haus"
    for child in run(make(text), *sorted(kinds), rate=rate, copies=2):
        assert redo(text, edits(child)) == child["text"]
        assert [c for c in child["text"] if c in "\r\n"] == [c for c in text if c in "\r\n"]


def test_wrong_parameters_are_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="rate"):
        run(make("a"), "ocr", rate=1.5)
    with pytest.raises(ConfigError, match="kinds"):
        noise(make("a"), kinds=())
