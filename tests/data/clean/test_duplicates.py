from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest

from lamina.data.clean.duplicates import duplicates, jaccard
from lamina.data.clean.words import LETTERS, find_words, shingles
from lamina.kit.errors import ConfigError

WORDS = [f"w{i}" for i in range(4000)]


def batches(texts: dict[str, str], size: int = 3) -> list[pa.RecordBatch]:
    rows = pa.record_batch({"id": list(texts), "text": list(texts.values())})
    return [rows.slice(i, size) for i in range(0, rows.num_rows, size)]


def find(texts: dict[str, str], **parameters: Any) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in duplicates(batches(texts), **parameters).to_pylist()}


def prose(seed: int, words: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def true_jaccard(a: str, b: str) -> float:
    sets = [{tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_and_near_copies_fall_to_the_longest_with_evidence() -> None:
    text = prose(1)
    near = [*text[:100], "other", *text[101:]]
    longer = " ".join([*text, "and", "more"])
    found = find({"b": " ".join(text), "a": " ".join(text), "c": " ".join(near), "d": longer, "e": " ".join(prose(2))})
    assert {i for i, row in found.items() if row["drop"]} == {"a", "b", "c"}
    assert {found[i]["drop"] for i in "abc"} == {"near duplicate"}  # like "d", which none of them equals
    evidence = json.loads(found["c"]["detail"])
    assert evidence["keeper"] == "d"
    assert evidence["jaccard"] == pytest.approx(true_jaccard(longer, " ".join(near)), abs=1e-4)
    assert found["d"]["duplicates"] == 3
    assert {found[i]["duplicate_cluster"] for i in "abcd"} == {"a"}
    assert found["e"]["duplicate_cluster"] == "e"


def test_the_smallest_id_is_kept_among_equals() -> None:
    found = find({"b": "the same words all over again", "a": "the same words all over again"})
    assert [found[i]["drop"] for i in "ab"] == [None, "exact duplicate"]


def test_case_punctuation_and_accents_do_not_matter_but_figures_do() -> None:
    found = find({"a": "Café prices rose by 5 percent, they said.", "b": "cafe prices rose by 5 PERCENT they said"})
    assert found["b"]["drop"] == "near duplicate"
    found = find({"a": "prices rose by 5 percent they said", "b": "prices rose by 7 percent they said"})
    assert not any(row["drop"] for row in found.values())


def test_what_only_shares_boilerplate_is_kept() -> None:
    boilerplate = " ".join(prose(9, 60))
    texts = {f"d{i:02d}": f"{boilerplate} {' '.join(prose(100 + i, 60))} {boilerplate}" for i in range(30)}
    assert not any(row["drop"] for row in find(texts).values())


def test_many_unrelated_long_texts_are_kept() -> None:
    texts = {f"book{i:02d}": " ".join(prose(i, 5000)) for i in range(20)}
    assert not any(row["drop"] for row in find(texts).values())


def test_a_chain_of_likenesses_does_not_join_what_is_unlike() -> None:
    """Each text resembles the next; only what resembles its keeper may fall to it."""
    base = prose(5, 260)
    texts = {f"t{i}": " ".join(base[i * 12 : i * 12 + 200]) for i in range(6)}
    found = find(texts, threshold=0.8)
    for i, row in found.items():
        if row["drop"]:
            keeper = json.loads(row["detail"])["keeper"]
            assert true_jaccard(texts[i], texts[keeper]) >= 0.8
            assert found[keeper]["drop"] is None
    assert sum(row["drop"] is None for row in found.values()) >= 3


def test_related_texts_share_a_cluster_and_are_both_kept() -> None:
    text = prose(3)
    found = find({"a": " ".join(text), "b": " ".join([*text[:188], *prose(4, 12)])}, threshold=0.95, related=0.5)
    assert found["a"]["drop"] is None is found["b"]["drop"]
    assert found["a"]["duplicate_cluster"] == found["b"]["duplicate_cluster"] == "a"


def test_planted_near_duplicates_are_found() -> None:
    texts = {f"o{i:03d}": prose(i, 150) for i in range(100)}
    for i in range(100):
        copy = list(texts[f"o{i:03d}"])
        copy[i % 150] = "changed"
        texts[f"p{i:03d}"] = copy
    found = find({i: " ".join(t) for i, t in texts.items()})
    assert sum(row["drop"] is not None for row in found.values()) >= 98


def test_short_empty_and_no_texts() -> None:
    found = find({"a": "hi", "b": "hi", "c": "", "d": "ok then", "e": "ok now", "f": "!!", "g": "??"})
    assert [i for i, row in found.items() if row["drop"]] == ["b"]
    assert duplicates([]).num_rows == 0


def test_order_of_the_rows_means_nothing() -> None:
    texts = {f"t{i}": " ".join([*prose(i // 3, 100), *["x"] * (i % 3)]) for i in range(12)}
    backwards = dict(reversed(texts.items()))
    assert find(texts) == find(backwards)


def test_shares_are_checked() -> None:
    with pytest.raises(ConfigError):
        duplicates([], threshold=80)


def test_shingles_by_hand() -> None:
    import polars as pl

    values, ends = shingles(find_words(pl.Series(["a b c d e f", "a b c d e", "a b", "", "b a"]), LETTERS), 5)
    assert ends.tolist() == [0, 2, 3, 4, 4, 5]
    sets = [values[ends[i] : ends[i + 1]] for i in range(5)]
    assert jaccard(sets[0], sets[1]) == 0.5
    assert jaccard(sets[2], sets[4]) == 0.0
    assert jaccard(sets[3], sets[3]) == 0.0
