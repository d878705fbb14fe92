"""What users reported of nlpaug, as tests of our operations on the very inputs of the reports.

Issue 143: marks stand apart from their words, so that "192.168.1.1" becomes "192 . 168 . 1 . 1". Issue 272: spaces
before marks are lost. Issue 171: small letters throughout, and quotes and hyphens set apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.augment.eda import deletion, insertion, swap, synonyms
from lamina.data.augment.noise import noise

Make = Callable[..., pa.RecordBatch]
SPACES = re.compile(r"\s+")
MARKS = re.compile(r"[^\w\s]")
OUTER = re.compile(r"(?<!\w)[^\w\s]|[^\w\s](?!\w)")  # hyphens within a word go where the word goes

#: Inputs of issue 143.
DOTTED = [
    "0.0.16",
    "192.168.1.1",
    "Just released version 0.0.0.16",
    "My IP address is 192.168.1.1. Ping it for me.",
    "This is a sentence?",
]
#: The input of issue 272.
SPACED = "Hello . Test  ? Testing ! And this : Not this + "
#: Inputs of issue 171; words of them are given synonyms here.
QUOTED = [
    "Many older U.S. adults don't get needed cardiac rehab after a heart attack",
    "Even `non-problem' drinking by parents tied to mental health problems in kids",
]
SYNONYMS = {
    "older": ["elderly"],
    "adults": ["grownups"],
    "attack": ["seizure"],
    "heart": ["ticker"],
    "drinking": ["boozing"],
    "parents": ["elders"],
    "mental": ["psychic"],
    "problems": ["troubles"],
    "problem": ["trouble"],
    "sentence": ["phrase"],
    "version": ["edition"],
    "released": ["published"],
    "address": ["location"],
    "ping": ["poke"],
    "test": ["trial"],
    "testing": ["trying"],
}
#: Slips within words: what the reports used (random swaps, misread letters, keys beside).
WITHIN = ["keyboard", "ocr", "spelling"]


@pytest.fixture(scope="module")
def thesaurus(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("issues") / "th_en_issues.json"
    path.write_text(json.dumps(SYNONYMS))
    return str(path)


def children(name: str, batch: pa.RecordBatch, thesaurus: str, *, copies: int = 20, seed: int = 0) -> list[str]:
    """Texts of many children by an operation that spares nothing it may touch."""
    made: Any
    if name in WITHIN:
        made = noise(batch, kinds=(name,), rate=1.0, copies=copies, seed=seed)
    elif name in ("synonyms", "insertion"):
        function = synonyms if name == "synonyms" else insertion
        made = function(batch, thesaurus=thesaurus, alpha=1.0, copies=copies, seed=seed)
    else:
        made = {"swap": swap, "deletion": deletion}[name](batch, alpha=0.5, copies=copies, seed=seed)
    return [str(text) for text in made["text"].to_pylist()]


@pytest.mark.parametrize("name", [*WITHIN, "synonyms", "insertion", "swap", "deletion"])
@pytest.mark.parametrize("text", DOTTED)
def test_143_marks_stay_with_their_words(make: Make, thesaurus: str, name: str, text: str) -> None:
    numbers = re.findall(r"\d+(?:\.\d+)+", text)
    found = children(name, make(text), thesaurus)
    assert bool(found) == bool(re.search(r"[a-z]{3}", text)), "a number alone has no children, a sentence has"
    for child in found:
        assert re.findall(r"\d+(?:\.\d+)+", child) == numbers
        assert not re.search(r"\s[.?]", child), "no space before a mark"
        assert MARKS.findall(child) == MARKS.findall(text)
        assert child[-1] == text[-1]


@pytest.mark.parametrize("name", [*WITHIN, "synonyms"])
def test_272_spaces_before_marks_stay(make: Make, thesaurus: str, name: str) -> None:
    found = children(name, make(SPACED), thesaurus)
    assert found
    for child in found:
        assert SPACES.findall(child) == SPACES.findall(SPACED)
        assert MARKS.findall(child) == MARKS.findall(SPACED)
        assert [bool(MARKS.fullmatch(piece)) for piece in child.split()] == [
            bool(MARKS.fullmatch(piece)) for piece in SPACED.split()
        ]


@pytest.mark.parametrize("name", ["swap", "deletion", "insertion"])
def test_272_words_that_move_leave_the_marks_where_they_were(make: Make, thesaurus: str, name: str) -> None:
    text = "Hello again . Test this  ? Testing it once ! And this one : Not this one either + "
    found = children(name, make(text), thesaurus)
    assert found
    for child in found:
        assert MARKS.findall(child) == MARKS.findall(text)
        assert not re.search(r"\w[.?!:+]", child), "no mark has moved to a word"


@pytest.mark.parametrize("name", ["synonyms", "keyboard", "ocr", "spelling", "swap"])
@pytest.mark.parametrize("text", QUOTED)
def test_171_capitals_quotes_and_hyphens_stay(make: Make, thesaurus: str, name: str, text: str) -> None:
    found = children(name, make(text), thesaurus)
    assert found
    for child in found:
        slip = "'" if name == "spelling" else ""  # "dont'" is a slip of its own
        assert [mark for mark in OUTER.findall(child) if mark != slip] == [m for m in OUTER.findall(text) if m != slip]
        assert child.count("-") == text.count("-")
        assert not re.search(r"\s[.'’-]\s", child), "nothing is set apart"
        assert child[0].isupper()
        assert ("U.S." in child) == ("U.S." in text)
        assert "u.s." not in child


def test_171_only_the_replaced_words_differ(make: Make, thesaurus: str) -> None:
    for child in children("synonyms", make(QUOTED[0]), thesaurus):
        assert child == "Many elderly U.S. grownups don't get needed cardiac rehab after a ticker seizure"
    for child in children("synonyms", make(QUOTED[1]), thesaurus):
        assert child.startswith("Even `non-")
        assert child.endswith("' boozing by elders tied to psychic health troubles in kids")
