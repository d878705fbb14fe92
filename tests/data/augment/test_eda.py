from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.augment.children import make_children
from lamina.data.augment.eda import deletion, insertion, swap, synonyms
from lamina.kit.errors import ConfigError

Make = Callable[..., pa.RecordBatch]
TEXT = "The quick brown fox jumps over the lazy dog, and the keeper of the house was calm that morning.\n\n" * 4
OPERATIONS = ["synonyms", "insertion", "swap", "deletion"]


def run(name: str, batch: pa.RecordBatch, thesaurus: str, **parameters: Any) -> list[dict[str, Any]]:
    functions = {"synonyms": synonyms, "insertion": insertion, "swap": swap, "deletion": deletion}
    if name in ("synonyms", "insertion"):
        parameters["thesaurus"] = thesaurus
    rows: list[dict[str, Any]] = functions[name](batch, **parameters).to_pylist()
    return rows


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize(("alpha", "length", "changed"), [(0.1, 40, 4), (0.1, 39, 3), (0.05, 40, 2), (0.01, 40, 1)])
def test_synonyms_replace_the_papers_number_of_words(
    make: Make, thesaurus: str, alpha: float, length: int, changed: int
) -> None:
    text = " ".join(["quick", "house"] * 20)[: 6 * length - 1] if length == 40 else " ".join(["quick"] * length)
    (child,) = run("synonyms", make(text), thesaurus, alpha=alpha)
    different = [a for a, b in zip(text.split(), child["text"].split(), strict=True) if a != b]
    assert len(different) == changed == len(json.loads(child["detail"])["edits"])


def test_synonyms_are_drawn_from_all_or_from_the_commonest(make: Make, thesaurus: str) -> None:
    batch = make(" ".join(["quick"] * 200))
    (child,) = run("synonyms", batch, thesaurus, alpha=1.0)
    assert set(child["text"].split()) == {"fast", "speedy"}
    (child,) = run("synonyms", batch, thesaurus, alpha=1.0, choices=1)
    assert set(child["text"].split()) == {"fast"}


def test_stop_words_and_unknown_words_stay(make: Make, thesaurus: str) -> None:
    assert run("synonyms", make("the of and to brown over"), thesaurus, alpha=1.0) == []


def test_case_of_the_replaced_word_is_kept(make: Make, thesaurus: str) -> None:
    (child,) = run("synonyms", make("Quick thinking. EVERY QUICK DOG RUNS."), thesaurus, alpha=1.0, choices=1)
    assert child["text"] == "Fast thinking. EVERY FAST HOUND RUNS."


def test_articles_fit_the_new_word(make: Make, thesaurus: str) -> None:
    rows = run("synonyms", make("an apple " * 50), thesaurus, alpha=1.0)
    assert set(words(rows[0]["text"])) <= {"an", "apple", "orb"}
    assert rows[0]["text"].count("orb") > 40


def test_insertion_adds_n_words_and_takes_none(make: Make, thesaurus: str) -> None:
    (child,) = run("insertion", make(TEXT), thesaurus, alpha=0.1)
    parent, new = Counter(words(TEXT)), Counter(words(child["text"]))
    assert not parent - new
    assert (new - parent).total() == int(0.1 * len(words(TEXT)))


def test_swap_keeps_the_words_and_each_sentence(make: Make) -> None:
    rows = run("swap", make(TEXT), "", alpha=0.2, copies=3)
    for child in rows:
        assert Counter(words(child["text"].lower())) == Counter(words(TEXT.lower()))
        for before, after in zip(TEXT.split("\n\n"), child["text"].split("\n\n"), strict=True):
            assert Counter(words(before.lower())) == Counter(words(after.lower()))
            assert before[:1].isupper() == after[:1].isupper()


def test_deletion_leaves_out_alpha_of_the_words(make: Make) -> None:
    text = "every word of this long line counts for the measure " * 200
    (child,) = run("deletion", make(text), "", alpha=0.1)
    share = 1 - len(words(child["text"])) / len(words(text))
    assert 0.07 < share < 0.13
    assert "  " not in child["text"]


def test_deletion_leaves_a_word(make: Make) -> None:
    rows = run("deletion", make(*["only words here"] * 30), "", alpha=1.0)
    assert rows
    assert all(len(words(row["text"])) == 1 for row in rows)


@pytest.mark.parametrize("name", OPERATIONS)
def test_edit_rate_stays_within_alpha(make: Make, thesaurus: str, name: str) -> None:
    text = TEXT * 10
    count = len(words(text))
    for child in run(name, make(text), thesaurus, alpha=0.1, copies=4):
        edits = len(json.loads(child["detail"])["edits"])
        assert 0 < edits <= count * (0.2 if name == "swap" else 0.16 if name == "deletion" else 0.1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_same_seed_and_id_same_children_whatever_stands_beside(make: Make, thesaurus: str, name: str) -> None:
    alone = run(name, make(TEXT, ids=["b"]), thesaurus, copies=2, seed=7)
    beside = run(name, make("quick fox of the house", TEXT, ids=["a", "b"]), thesaurus, copies=2, seed=7)
    texts = [row["text"] for row in alone]
    assert texts == [row["text"] for row in beside if row["parent"] == 1]
    assert texts[0] != texts[1]
    assert texts != [row["text"] for row in run(name, make(TEXT, ids=["b"]), thesaurus, copies=2, seed=8)]
    assert texts != [row["text"] for row in run(name, make(TEXT, ids=["c"]), thesaurus, copies=2, seed=7)]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    "text",
    [
        # nlpaug issues 143, 272, 171 and 82: line breaks, case, quotes and marks were lost or moved
        "Line one of the quick test.\nLine two: the lazy dog!\n\n\tIndented, isn't it?",
        'He said: "the quick fox, the dog" (and left...) — twice; 3.14 times.',
        "ALL IN CAPS: THE QUICK FOX. Title Case Of The House. iPhone and McDonald stay.",
        "Spaces  are   kept.   \r\nAnd the quick windows\r\nlines of the house\ttabs too ",
        "email the dog at a.b+c@example.org or see https://example.org/quick/fox?dog=house#lazy, quick!",
    ],
)
def test_layout_and_marks_are_kept(make: Make, thesaurus: str, name: str, text: str) -> None:
    for child in run(name, make(text), thesaurus, alpha=0.3, copies=5):
        new = child["text"]
        assert re.findall(r"[\r\n\t]", new) == re.findall(r"[\r\n\t]", text)
        assert re.findall(r"[^\w\s'’]", new) == re.findall(r"[^\w\s'’]", text)


@pytest.mark.parametrize("name", OPERATIONS)
def test_empty_and_wordless_texts_have_no_children(make: Make, thesaurus: str, name: str) -> None:
    assert run(name, make("", "  \n", "...", "42", "https://example.org"), thesaurus) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_copies_no_children(make: Make, thesaurus: str, name: str) -> None:
    assert run(name, make(TEXT), thesaurus, copies=0) == []


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=200), name=st.sampled_from(OPERATIONS), alpha=st.floats(0.05, 1.0))
def test_edits_tell_exactly_what_was_done_to_any_text(
    make: Make, thesaurus: str, redo: Callable[..., str], text: str, name: str, alpha: float
) -> None:
    text = "quick лес " + text.encode("utf-8", "ignore").decode() + " lazy dog"
    for child in run(name, make(text), thesaurus, alpha=alpha, copies=2):
        assert redo(text, json.loads(child["detail"])["edits"]) == child["text"] != ""
        assert child["text"].count("\n") == text.count("\n")
        assert [c for c in child["text"] if c.isdigit()] == [c for c in text if c.isdigit()]


def test_wrong_parameters_are_refused(make: Make, thesaurus: str) -> None:
    with pytest.raises(ConfigError, match="alpha is 0"):
        swap(make(TEXT), alpha=0.0)
    with pytest.raises(ConfigError, match="no such thesaurus"):
        synonyms(make(TEXT), thesaurus="/nowhere")
    with pytest.raises(ConfigError, match="choices"):
        synonyms(make(TEXT), thesaurus=thesaurus, choices=0)


def test_long_texts_list_their_first_edits_and_count_the_rest(make: Make) -> None:
    (child,) = run("deletion", make("word " * 30_000), "", alpha=0.5)
    detail = json.loads(child["detail"])
    assert len(detail["edits"]) == 1000
    assert detail["more"] > 10_000


def test_children_come_in_the_order_of_their_parents() -> None:
    batch = pa.RecordBatch.from_pydict(
        {"id": ["a", "b", "c"], "text": ["one two three"] * 3, "language": ["fr", "de", None]}
    )
    made = swap(batch, copies=2)
    assert made["parent"].to_pylist() == sorted(made["parent"].to_pylist())
    assert set(made["parent"].to_pylist()) == {0, 1, 2}
    assert make_children.__doc__
