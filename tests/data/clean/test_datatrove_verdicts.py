"""Decisions of the recipe "fineweb" beside those of datatrove 0.10.1, which `datatrove_verdicts.json` keeps."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.clean.recipes import recipe
from lamina.data.marking import run_marked
from lamina.data.steps import plan

pytestmark = pytest.mark.material
_spec = importlib.util.spec_from_file_location("datatrove_verdicts", Path(__file__).with_name("datatrove_verdicts.py"))
assert _spec is not None
assert _spec.loader is not None
verdicts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(verdicts)

#: How docs/how-to/clean.md names a difference: (filter, what datatrove said, what we said), "" for a text that is kept.
KINDS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "an n-gram that occurs once": (
        ("repetition", "top_2_gram", ""),
        ("repetition", "top_3_gram", ""),
        ("repetition", "top_4_gram", ""),
    ),
    "n-grams that overlap": (("repetition", "", "duplicate_5_grams"), ("repetition", "", "duplicate_8_grams")),
    "white space round lines": (
        ("fineweb", "line_punct_ratio", ""),
        ("fineweb", "", "fineweb_duplicate_characters"),
    ),
    "where a word ends": (
        ("repetition", "duplicated_6_n_grams", ""),
        ("fineweb", "", "fineweb_newlines_per_word"),
    ),
    "Han characters inside words": (("quality", "", "mean_word_length"),),
}
COUNTS = {
    "an n-gram that occurs once": 100,
    "n-grams that overlap": 16,
    "white space round lines": 11,
    "where a word ends": 2,
    "Han characters inside words": 1,
}


def rows_of(texts: Mapping[str, str]) -> pa.RecordBatch:
    columns = {"id": list(texts), "text": list(texts.values()), "source": ["s"] * len(texts)}
    columns["language"] = ["en"] * len(texts)
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(len(texts), field.type)
        for field in DOCUMENTS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENTS)


def filters() -> dict[str, str]:
    """The filter of datatrove's that has each rule."""
    reasons = [str(step["reason"]) for step in recipe("fineweb") if "reason" in step]
    names = {"Gopher": "repetition", "C4": "c4", "FineWeb": "fineweb"}
    found = {reason: names[reason.split(": ")[0]] for reason in reasons}
    gopher = [reason for reason in reasons if reason.startswith("Gopher")]
    return found | dict.fromkeys(gopher[gopher.index("Gopher: words") :], "quality")


@pytest.fixture(scope="module")
def texts(material: Callable[[str], Path]) -> dict[str, str]:
    """Those that have a word: others are no document of ours, whatever the rules."""
    found: dict[str, str] = verdicts.documents(material)
    assert json.loads(verdicts.VERDICTS.read_text())["texts"] == verdicts.stamp(found), (
        "other texts: ask datatrove again"
    )
    return {key: text for key, text in found.items() if text.strip()}


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[str]]:
    told: dict[str, str] = json.loads(verdicts.VERDICTS.read_text())
    return {reason: keys.split() for reason, keys in told.items()}


@pytest.fixture(scope="module")
def differences(texts: dict[str, str], theirs: dict[str, list[str]]) -> Counter[tuple[str, str, str]]:
    """What each filter says of each text by itself, where we say otherwise."""
    # Without the edit of C4 every rule sees every text as it was.
    ours = run_marked(plan([{"recipe": "fineweb", "without": ["c4_lines"]}])[0], rows_of(texts))
    mine: dict[tuple[str, str], str] = {}
    names = filters()
    for label, verdict in ours.verdicts.items():
        reason = label.split(" decide ")[1] if ": " in label else ""
        for key, kept in zip(texts, verdict.to_pylist(), strict=True):
            if reason and kept is False:
                mine.setdefault((names[reason], key), reason.split(": ")[1])
    told = {
        (reason.split(": ")[0], key): reason.split(": ")[1]
        for reason, keys in theirs.items()
        if ": " in reason
        for key in keys
        if key in texts
    }
    return Counter(
        (place[0], told.get(place, ""), mine.get(place, ""))
        for place in {*mine, *told}
        if (place in mine) != (place in told)
    )


def test_the_recipe_keeps_what_datatrove_keeps(texts: dict[str, str], theirs: dict[str, list[str]]) -> None:
    ours = set(run_marked(plan([{"recipe": "fineweb"}])[0], rows_of(texts)).kept().column("id").to_pylist())
    assert len(texts) > 1600
    assert len(ours) > 400
    assert 1 - len(ours ^ set(theirs["kept"])) / len(texts) >= 0.98
    assert len(ours ^ set(theirs["kept"])) == 1  # Han characters inside words


def test_each_filter_decides_alike_but_for_n_grams_that_occur_once(
    texts: dict[str, str], differences: Counter[tuple[str, str, str]]
) -> None:
    for name in ("repetition", "quality", "c4", "fineweb"):
        apart = sum(
            count
            for kind, count in differences.items()
            if kind[0] == name and kind not in KINDS["an n-gram that occurs once"]
        )
        assert 1 - apart / len(texts) >= 0.98


def test_every_difference_is_of_a_kind_that_the_docs_explain(differences: Counter[tuple[str, str, str]]) -> None:
    known = {pair: kind for kind, pairs in KINDS.items() for pair in pairs}
    assert set(differences) == set(known)
    counted: Counter[str] = Counter()
    for pair, count in differences.items():
        counted[known[pair]] += count
    assert counted == COUNTS
    docs = (verdicts.ROOT / "docs" / "how-to" / "clean.md").read_text()
    for kind, count in COUNTS.items():
        assert f"| {kind} | {count} |" in docs
