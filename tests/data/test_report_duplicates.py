"""Planted copies and alarms, in the printed report and on the page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.data.report import describe
from lamina.data.report_duplicates import search_in_words
from lamina.data.report_page import report_page
from lamina.kit.progress import open_progress

WORDS = [f"sea{i}" for i in range(900)]
ALARM = "source 'copies' lost 67% of its documents to duplicates (30 of 45; the alarm is set at 50%)"


def prose(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=80))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("duplicates")
    texts = {"copies": [prose(i % 15) for i in range(45)], "<other>": [prose(100 + i) for i in range(20)]}
    sources = []
    for number, (name, some) in enumerate(texts.items()):
        file = folder / f"{number}.jsonl"
        file.write_text("".join(json.dumps({"text": text, "id": str(n)}) + "\n" for n, text in enumerate(some)))
        sources.append(SourceInput(name=name, use="files", files=(SourceFile(name=file.name, path=file),)))
    out = folder / "corpus"
    out.mkdir()
    build_corpus(
        out,
        folder / "work",
        sources=sources,
        steps=[{"pass": "duplicates", "plant": 40}],
        held_out=0.0,
        progress=open_progress("quiet"),
        workers=1,
    )
    return out


def test_the_printed_report_says_how_good_the_search_was_and_who_lost_too_much(corpus: Path) -> None:
    report = json.loads((corpus / "report.json").read_bytes())
    search = report["passes"]["01 pass duplicates"]["search"]
    words = describe(report, corpus)
    assert f"01 pass duplicates: found {search['found']} of {search['planted']} planted copies (recall " in words
    assert f"and took {search['wrongly']} of {search['look_alikes']} look-alikes for copies (precision 100%)" in words
    assert f"note: {ALARM}" in words
    assert words.count("lost 67%") == 1


def test_the_page_shows_both_and_what_each_source_lost(corpus: Path) -> None:
    page = report_page(corpus)
    assert "The search, measured" in page
    assert "look-alikes for copies (precision 100%)" in page
    assert "<td>words replaced</td>" in page
    assert ALARM.replace("'", "&#x27;") in page
    assert "<td>copies</td><td" in page
    assert "66.7%" in page
    assert "30 documents were folded into 15 others" in page
    assert "<other>" not in page


def said(search: dict[str, Any] | None) -> str:
    return search_in_words({"passes": {"05 pass duplicates": {"search": search}, "01 pass lines": {}}})[0]


def test_what_was_not_measured_is_said_so() -> None:
    assert said(None) == "05 pass duplicates: not measured on planted copies, for no kept document is long enough"
    nothing = {"planted": 0, "found": 0, "look_alikes": 3, "wrongly": 0, "recall": None, "precision": None}
    assert said({**nothing, "promised": None}) == (
        "05 pass duplicates: no planted copy was alike enough to be looked for and took 0 of 3 look-alikes for copies"
    )
    assert search_in_words({}) == []


def test_only_all_of_it_is_a_hundred_percent() -> None:
    found = {"planted": 3000, "found": 2999, "look_alikes": 1, "wrongly": 0, "recall": 0.9997, "precision": 1.0}
    assert said({**found, "promised": 0.98}) == (
        "05 pass duplicates: found 2,999 of 3,000 planted copies (recall 99.9%; 98.0% to be expected)"
        " and took 0 of 1 look-alikes for copies (precision 100%)"
    )
