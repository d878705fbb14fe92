from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.data.clean.duplicates import duplicates
from lamina.data.clean.frames import warnings_of
from lamina.data.duplicates.index import identity
from lamina.data.duplicates.search import Search, search
from lamina.kit.errors import ConfigError

WORDS = [f"w{i}" for i in range(4000)]
Find = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def find(as_batches: Callable[..., Any]) -> Find:
    def run(
        texts: dict[str, str], units: int = 2, columns: dict[str, Any] | None = None, **parameters: Any
    ) -> dict[str, dict[str, Any]]:
        rows = {"id": list(texts), "text": list(texts.values()), **(columns or {})}
        return {row["id"]: row for row in duplicates(as_batches(rows, units), **parameters).to_pylist()}

    return run


def prose(seed: int, words: int = 200) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def true_jaccard(a: str, b: str) -> float:
    sets = [{tuple(t.split()[i : i + 5]) for i in range(max(len(t.split()) - 4, 1))} for t in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_and_near_copies_fall_to_the_longest_with_evidence(find: Find) -> None:
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


def test_the_smallest_id_is_kept_among_equals(find: Find) -> None:
    found = find({"b": "the same words all over again", "a": "the same words all over again"})
    assert [found[i]["drop"] for i in "ab"] == [None, "exact duplicate"]


def test_case_punctuation_and_accents_do_not_matter_but_figures_do(find: Find) -> None:
    found = find({"a": "Café prices rose by 5 percent, they said.", "b": "cafe prices rose by 5 PERCENT they said"})
    assert found["b"]["drop"] == "near duplicate"
    found = find({"a": "prices rose by 5 percent they said", "b": "prices rose by 7 percent they said"})
    assert not any(row["drop"] for row in found.values())


def test_what_only_shares_boilerplate_is_kept(find: Find) -> None:
    boilerplate = " ".join(prose(9, 60))
    texts = {f"d{i:02d}": f"{boilerplate} {' '.join(prose(100 + i, 60))} {boilerplate}" for i in range(30)}
    assert not any(row["drop"] for row in find(texts).values())


def test_many_unrelated_long_texts_are_kept(find: Find) -> None:
    texts = {f"book{i:02d}": " ".join(prose(i, 5000)) for i in range(20)}
    assert not any(row["drop"] for row in find(texts).values())


def test_a_chain_of_likenesses_does_not_join_what_is_unlike(find: Find) -> None:
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


def test_related_texts_share_a_cluster_and_are_both_kept(find: Find) -> None:
    text = prose(3)
    found = find({"a": " ".join(text), "b": " ".join([*text[:188], *prose(4, 12)])}, threshold=0.95, related=0.5)
    assert found["a"]["drop"] is None is found["b"]["drop"]
    assert found["a"]["duplicate_cluster"] == found["b"]["duplicate_cluster"] == "a"


def test_planted_near_duplicates_are_found(find: Find) -> None:
    texts = {f"o{i:03d}": prose(i, 150) for i in range(100)}
    for i in range(100):
        copy = list(texts[f"o{i:03d}"])
        copy[i % 150] = "changed"
        texts[f"p{i:03d}"] = copy
    found = find({i: " ".join(t) for i, t in texts.items()})
    assert sum(row["drop"] is not None for row in found.values()) >= 98


def test_short_empty_and_no_texts(find: Find) -> None:
    found = find({"a": "hi", "b": "hi", "c": "", "d": "ok then", "e": "ok now", "f": "!!", "g": "??"})
    assert [i for i, row in found.items() if row["drop"]] == ["b"]


def test_order_of_the_rows_means_nothing(find: Find) -> None:
    texts = {f"t{i}": " ".join([*prose(i // 3, 100), *["x"] * (i % 3)]) for i in range(12)}
    backwards = dict(reversed(texts.items()))
    assert find(texts) == find(backwards)


def test_shares_are_checked(find: Find) -> None:
    with pytest.raises(ConfigError):
        find({"a": "b"}, threshold=80)


def edited(words: list[str], changes: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    copy = list(words)
    for place in draw.sample(range(len(copy)), changes):
        copy[place] = f"changed{draw.randrange(10**6)}"
    return copy


def test_planted_pairs_at_many_levels_of_likeness(find: Find) -> None:
    texts: dict[str, str] = {}
    alike: dict[str, float] = {}
    for i in range(400):
        words = prose(i, 250)
        texts[f"o{i:03d}"] = " ".join(words)
        texts[f"p{i:03d}"] = " ".join(edited(words, 1 + i % 16, i))
        alike[f"p{i:03d}"] = true_jaccard(texts[f"o{i:03d}"], texts[f"p{i:03d}"])
    found = find(texts, units=3)
    gone = {i for i, row in found.items() if row["drop"]}
    hit = {i for i in alike if gone & {i, i.replace("p", "o")}}
    wanted = {i for i, j in alike.items() if j >= 0.8}
    assert 120 < len(wanted) < 280
    assert hit <= wanted  # every pair was measured: precision is 1
    assert len(hit) >= 0.95 * len(wanted)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_dropped_document_resembles_a_kept_one(find: Find, data: st.DataObject) -> None:
    threshold = data.draw(st.sampled_from([0.5, 0.7, 0.8, 0.95]))
    draw = random.Random(data.draw(st.integers(0, 10**6)))
    bases = [draw.choices(WORDS[:300], k=draw.choice([3, 5, 8, 40])) for _ in range(3)]
    texts = {}
    for i in range(24):
        words = list(draw.choice(bases))
        for _ in range(draw.choice([0, 0, 1, 2])):
            words[draw.randrange(len(words))] = draw.choice(WORDS[:300])
        texts[f"t{i:02d}"] = " ".join(words)
    found = find(texts, threshold=threshold)
    shuffled = list(texts.items())
    draw.shuffle(shuffled)
    assert find(dict(shuffled), units=draw.choice([1, 3, 5]), threshold=threshold) == found
    for i, row in found.items():
        if row["drop"]:
            evidence = json.loads(row["detail"])
            assert found[evidence["keeper"]]["drop"] is None
            likeness = true_jaccard(texts[i], texts[evidence["keeper"]])
            assert likeness >= threshold
            assert evidence["jaccard"] == pytest.approx(likeness, abs=1e-4)
            assert (row["drop"] == "exact duplicate") == (texts[i] == texts[evidence["keeper"]])
            assert row["duplicate_cluster"] == found[evidence["keeper"]]["duplicate_cluster"]
    assert sum(row["duplicates"] for row in found.values()) == sum(row["drop"] is not None for row in found.values())


def test_the_keeper_is_chosen_by_the_policy(find: Find) -> None:
    text = prose(1)
    texts = {"a": " ".join(text), "b": " ".join([*text, "more"]), "c": " ".join([*text[:-1], "else"])}
    columns = {
        "created": pa.array([datetime(2020, 1, 1, tzinfo=UTC), None, datetime(2024, 1, 1, tzinfo=UTC)]),
        "license": ["CC-BY-4.0", None, "LicenseRef-x"],
        "grade": [0.1, 0.2, None],
    }

    def kept(keep: str, **parameters: Any) -> set[str]:
        return {i for i, row in find(texts, columns=columns, keep=keep, **parameters).items() if row["drop"] is None}

    assert kept("longest") == {"b"}
    assert kept("first") == {"a"}
    assert kept("newest") == {"c"}
    assert kept("oldest") == {"a"}
    assert kept("license") == {"a"}
    assert kept("license", licenses=("LicenseRef-x",)) == {"c"}
    assert kept("grade") == {"b"}
    with pytest.raises(ConfigError, match="no column 'grad'"):
        kept("grad")
    with pytest.raises(ConfigError, match="no number"):
        kept("text")


def test_a_bucket_with_a_whole_crawl_in_it_is_not_quadratic(as_batches: Callable[..., Any]) -> None:
    """30,000 pages that differ from one another in a word at most: a few comparisons each."""
    words = prose(1, 100)
    texts = [" ".join([*words, f"visitor{i % 20_000}"]) for i in range(30_000)]
    rows = {"id": [f"{i:05d}" for i in range(len(texts))], "text": texts}
    begin = time.monotonic()
    found, _ = search(as_batches(rows, 2, 5000), Search(threshold=0.8, related=0.5, keep="longest"))
    assert (found.keeper != found.keeper[0]).sum() == 0
    assert found.measured < 30_000
    # ... and the same where all of them are unlike, but have much in common.
    begin = time.monotonic()
    texts = [" ".join([*words, *prose(i, 80)]) for i in range(3000)]
    rows = {"id": [f"{i:05d}" for i in range(len(texts))], "text": texts}
    found, _ = search(as_batches(rows, 2, 5000), Search(threshold=0.8, related=0.5, keep="longest"))
    assert (found.keeper == range(3000)).all()
    assert found.measured < 3000 * 14 * 32
    assert time.monotonic() - begin < 30


def test_ids_that_occur_twice_are_never_dropped(as_batches: Callable[..., Any]) -> None:
    text = " ".join(prose(1))
    rows = {"id": ["a", "b", "a"], "text": [text, text, text]}
    found = {row["id"]: row for row in duplicates(as_batches(rows, 2)).to_pylist()}
    assert found["a"]["drop"] is None
    assert found["b"]["drop"] == "exact duplicate"
    assert found["a"]["duplicates"] == 1


def test_texts_that_are_missing_empty_or_without_spaces(find: Find) -> None:
    han = "我们的船在大海上航行了很多天终于看到了白色的鲸鱼"
    found = find(
        {"a": "", "b": "", "c": "!!", "d": "!!", "e": han, "f": han, "g": han[:-6] + "看不到一条黑色的狗", "h": "word"},
    )
    assert [i for i, row in found.items() if row["drop"]] == ["d", "f"]
    found = find({"a": None, "b": None, "c": "word"})
    assert not any(row["drop"] for row in found.values())
    assert find({}) == {}


def test_a_source_that_loses_too_much_is_named(as_batches: Callable[..., Any]) -> None:
    texts = [" ".join(prose(i % 15)) for i in range(60)]
    rows = {"id": [f"{i:02d}" for i in range(60)], "text": texts, "source": ["copies"] * 45 + ["other"] * 15}
    assert warnings_of(duplicates(as_batches(rows, 2)).schema) == [
        "source 'copies' lost 67% of its documents to duplicates (30 of 45; the alarm is set at 50%)"
    ]
    assert warnings_of(duplicates(as_batches(rows, 2), alarm=0.9).schema) == []


def test_a_later_run_is_compared_with_the_index_of_an_earlier_one(as_batches: Callable[..., Any]) -> None:
    old = {f"old{i}": " ".join(prose(i)) for i in range(6)}
    old["old0copy"] = old["old0"] + " and"
    first = as_batches({"id": list(old), "text": list(old.values())}, 2)
    table = duplicates(first, index=True)
    assert sum(r["drop"] is not None for r in table.to_pylist()) == 1
    place = first.work / "keep"
    news = {
        "new1": old["old1"],
        "new2": " ".join([*prose(2)[:176], *prose(99, 24)]),  # related to old2
        "new3": " ".join(edited(prose(3), 2, 1)) + " longer than its original by far",
        "new9": " ".join(prose(9)),
    }
    second = as_batches({"id": list(news), "text": list(news.values())}, 2)
    found = {r["id"]: r for r in duplicates(second, against=(str(place),)).to_pylist()}
    assert set(found) == set(news)
    assert [found[i]["drop"] for i in news] == ["exact duplicate", None, "near duplicate", None]
    assert json.loads(found["new1"]["detail"]) == {"keeper": "old1", "jaccard": 1.0, "index": str(place)}
    assert json.loads(found["new3"]["detail"])["keeper"] == "old3"
    assert found["new2"]["duplicate_cluster"] == "old2"  # goes to its side of the split
    assert found["new9"]["duplicate_cluster"] == "new9"
    assert len(identity(place)) == 64
    with pytest.raises(ConfigError, match="was made with"):
        duplicates(second, against=(str(place),), bands=10)
    with pytest.raises(ConfigError, match="no index"):
        duplicates(second, against=(str(place.parent),))


def test_many_unrelated_books_that_share_their_licence_are_kept(find: Find) -> None:
    licence = " ".join(prose(77, 3000))
    texts = {f"book{i:02d}": f"{licence} {' '.join(prose(200 + i, 4000))} {licence}" for i in range(30)}
    assert not any(row["drop"] for row in find(texts).values())


def test_a_later_build_goes_on_from_the_index_of_the_one_before(as_batches: Any) -> None:
    words = [
        "whale",
        "ship",
        "sea",
        "harbour",
        "lantern",
        "rope",
        "sail",
        "storm",
        "island",
        "letter",
        "morning",
        "compass",
        "river",
        "stone",
        "bread",
    ]
    texts = [" ".join(words[(i * 7 + j * (i + 2)) % 15] + str((i * j) % 11) for j in range(120)) for i in range(6)]

    def rows(ids: list[str], some: list[str]) -> dict[str, list[Any]]:
        return {"id": ids, "source": ["s"] * len(ids), "text": some}

    first = as_batches(rows(["a", "b", "c"], texts[:3]))
    assert duplicates(first, against=("earlier",), plant=0)["drop"].to_pylist() == [None] * 3
    # "b" is gone, "new" is almost "a", "old" is almost what "b" was, "d" is like nothing.
    later = [texts[0], texts[2], texts[0] + " more", texts[1] + " more", texts[4]]
    second = as_batches(rows(["a", "c", "new", "old", "d"], later))
    second.earlier = first.work / "keep"
    found = duplicates(second, against=("earlier",), plant=0)
    said = dict(zip(found["id"].to_pylist(), found["drop"].to_pylist(), strict=True))
    assert said == {"a": None, "c": None, "d": None, "new": "near duplicate", "old": "near duplicate"}
