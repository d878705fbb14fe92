"""A corpus against a reference, and the gaps in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lamina.data.variety.compare import compare
from lamina.data.variety.describe import in_words
from lamina.data.variety.gaps import percent
from lamina.data.variety.measure import data_files, measure
from lamina.kit.errors import InputError

Corpus = Callable[..., Path]
Rows = Callable[..., list[dict[str, Any]]]
Texts = Callable[..., list[str]]


def test_a_corpus_covers_another_of_its_kind(corpus: Corpus, theme_texts: Texts) -> None:
    files = []
    for seed in (0, 1):
        rows = [{"text": t} for theme in ("sea", "law") for t in theme_texts(theme, 60, seed=seed, size=30)]
        files.append(data_files(corpus(rows, name=f"c{seed}")))
    found = compare(measure(files[0]), files[1])
    assert found["coverage"] > 0.9
    assert found["density"] == pytest.approx(1.0, abs=0.25)
    assert found["gaps"] == []
    assert found["vendi"]["here"]["order_1"] == pytest.approx(found["vendi"]["reference"]["order_1"], rel=0.1)


def test_gaps_against_a_reference_in_words(corpus: Corpus, theme_texts: Texts, themes: Mapping[str, str]) -> None:
    def rows(theme: str, count: int, language: str, year: int, seed: int) -> list[dict[str, Any]]:
        when = datetime(year, 2, 1, tzinfo=UTC)
        return [
            {"text": t, "language": language, "created": when} for t in theme_texts(theme, count, seed=seed, size=40)
        ]

    here = corpus([*rows("sea", 199, "en", 2021, 0), *rows("sea", 1, "de", 2020, 3)], name="here")
    there = corpus(
        [*rows("sea", 160, "en", 2020, 1), *rows("law", 40, "de", 2024, 2), *rows("sea", 40, "en", 2025, 4)],
        name="there",
    )
    mine = measure(data_files(here))
    found = compare(mine, data_files(there))
    assert found["documents"] == 240
    gaps = found["gaps"]
    assert "no document of 2024 or later, 33 % in the reference" in gaps
    assert "language de: 0.5 % here, 17 % in the reference" in gaps
    topic = next(g for g in gaps if g.startswith("topic"))
    assert "(17 % of it) is not covered: 0 % of its documents" in topic
    assert set(topic.split("'")[1].split(", ")) <= set(themes["law"].split())
    words = in_words(mine.variety, found)
    assert all(f"gap: {gap}" in words for gap in gaps)
    assert f"coverage {percent(found['coverage'])}" in words


def test_gaps_of_a_corpus_by_itself(corpus: Corpus, theme_texts: Texts) -> None:
    texts = [*theme_texts("sea", 61), *theme_texts("law", 39)]
    rows = [
        {
            "text": text,
            "author": "Melville" if n < 61 else f"author {n}",
            "source": "books" if n < 80 else "posts",
            "created": datetime(2019, 1, 1, tzinfo=UTC),
        }
        for n, text in enumerate(texts)
    ]
    gaps = measure(data_files(corpus(rows, name="a"))).variety["gaps"]
    wrote = percent(sum(map(len, texts[:61])) / sum(map(len, texts)))
    makes = percent(sum(map(len, texts[:80])) / sum(map(len, texts)))
    assert gaps == [
        f"one author, 'Melville', wrote {wrote} of the characters",
        f"one source, 'books', makes {makes} of the characters",
        "no document of 2020 or later (collected in 2026)",
        "100 % of the documents have no language",
    ]
    again = [r | {"text": "a few words " + texts[0]} for r in rows[:10]]
    gaps = measure(data_files(corpus([*rows, *again], name="b"))).variety["gaps"]
    assert "10 % of the documents have a near duplicate among the others" in gaps


def test_no_gap_where_nothing_is_wrong(corpus: Corpus, mixed: Rows) -> None:
    rows = [r | {"created": datetime(2025, 1, 1, tzinfo=UTC)} for r in mixed()]
    found = measure(data_files(corpus(rows))).variety
    assert found["gaps"] == []
    assert "gaps: none found" in in_words(found)


def test_a_radius_and_too_little_to_compare(corpus: Corpus, mixed: Rows) -> None:
    mine = measure(data_files(corpus(mixed(20), name="a")))
    assert compare(mine, data_files(corpus(mixed(10), name="b")), radius=1.5)["coverage"] == 1.0
    with pytest.raises(InputError, match="reference: 3 documents are too few"):
        compare(mine, data_files(corpus(mixed(1), name="c")))


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0004, "under 0.1 %"), (0.003, "0.3 %"), (0.119, "12 %"), (0.9996, "over 99 %"), (1, "100 %")],
)
def test_percent(share: float, words: str) -> None:
    assert percent(share) == words
