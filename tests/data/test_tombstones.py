from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.duplicates.likeness import LEAST_WORDS, Likeness, shingles
from lamina.data.tombstones import FILE, FOLDER, Draft, Tombstones, matcher_of
from lamina.kit.errors import CorruptError

WORDS = [f"w{i}" for i in range(500)]
MASK = (np.uint64(0x9E3779B97F4A7C15), np.uint64(12345))


def prose(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def draft(*texts: str, **keys: set[str]) -> Draft:
    made = Draft(texts=list(texts))
    for kind, values in keys.items():
        made.keys[kind] |= values
    return made


def batch(**columns: list[str | None]) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_the_log_names_nobody_and_only_grows(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path)
    assert (stones.digest, stones.removals) == (None, ())
    secret = "Jane Q. Public wrote this about the whale and the sea and the ship and more"
    first = stones.add(draft(secret, author={"Jane Q. Public"}, url={"https://a.org/x"}), id="r1", reason="asked")
    before = (tmp_path / FILE).read_bytes()
    stones.finish(first, {"versions": ["v1"]})
    second = stones.add(draft(id={"seventh"}), id="r2", reason="asked again")
    data = (tmp_path / FILE).read_bytes()
    assert data.startswith(before)
    for word in ("Jane", "Public", "a.org", "whale", "seventh"):
        assert word.encode() not in data
        assert all(word.encode() not in path.read_bytes() for path in (tmp_path / FOLDER).iterdir())
    again = Tombstones(tmp_path)
    assert [r.id for r in again.removals] == ["r1", "r2"]
    assert (again.removals[0].done or {})["versions"] == ["v1"]
    assert [r.id for r in again.pending] == ["r2"]
    assert (again.removals[0].before, again.removals[1].before) == (None, first.line)
    assert again.digest == second.line
    assert (tmp_path / FOLDER / "key").stat().st_mode & 0o777 == 0o600


def test_finishing_changes_nothing_of_what_is_forgotten(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path)
    removal = stones.add(draft(id={"a"}), id="r1", reason="x")
    digest = stones.digest
    stones.finish(removal, {})
    assert Tombstones(tmp_path).digest == digest


@pytest.mark.parametrize("what", ["line", "key", "sets", "order"])
def test_what_was_changed_by_hand_is_refused(tmp_path: Path, what: str) -> None:
    stones = Tombstones(tmp_path)
    stones.add(draft(prose(1), id={"a"}), id="r1", reason="x")
    stones.add(draft(id={"b"}), id="r2", reason="y")
    if what == "line":
        (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes().replace(b'"reason":"x"', b'"reason":"z"'))
    elif what == "order":
        (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes().splitlines(keepends=True)[1])
    else:
        (tmp_path / FOLDER / {"key": "key", "sets": "r1.parquet"}[what]).unlink()
    with pytest.raises(CorruptError):
        Tombstones(tmp_path).matcher()


def test_documents_are_known_by_id_address_author_and_source(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path)
    keys = {"id": {"d1"}, "url": {"https://Example.org/a?utm_source=x", "books/one.epub"}, "author": {"Jane  Doe"}}
    stones.add(draft(**keys, source={"leaks"}), id="r1", reason="x")
    matcher = matcher_of(str(tmp_path), str(stones.digest))
    rows = batch(
        id=["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", None],
        url=[None, "http://example.org/a#top", "books/one.epub#3", "books/one.epub.bak", None, None, None, None, None],
        author=[None, None, None, None, "jane doe", None, None, "Jane", None],
        source=["s", "s", "s", "s", "s", "leaks", "s", "s", None],
        meta=[None, None, None, "{}", None, None, '{"authors": ["Bob", "JANE DOE"]}', '{"authors": 3}', "no JSON"],
    )
    assert matcher.named(rows).tolist() == [True, True, True, False, True, True, True, False, False]
    assert matcher.has_address("https://example.org/a")
    assert not matcher.has_address("https://example.org/b")


def true_jaccard(a: str, b: str) -> float:
    sets = [{tuple(t.split()[i : i + 5]) for i in range(max(len(t.split()) - 4, 1))} for t in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), threshold=st.sampled_from([0.5, 0.8, 1.0]))
def test_likeness_is_that_of_the_words(seed: int, threshold: float) -> None:
    draw = random.Random(seed)
    few = [draw.choices(WORDS[:40], k=draw.choice([8, 12, 60])) for _ in range(4)]
    many = []
    for _ in range(20):
        words = list(draw.choice(few)) if draw.random() < 0.8 else draw.choices(WORDS, k=30)
        for _ in range(draw.choice([0, 1, 3])):
            words[draw.randrange(len(words))] = draw.choice(WORDS)
        many.append(" ".join(words))
    mask = (np.uint64(draw.randrange(2**63) * 2 + 1), np.uint64(draw.randrange(2**64)))
    known = Likeness(shingles([" ".join(w) for w in few], mask), [threshold] * 4, mask)
    hit, alike = known.of(pa.array(many))
    for text, found, score in zip(many, hit, alike, strict=True):
        best = max(true_jaccard(text, " ".join(words)) for words in few)
        assert found == (best >= threshold)
        assert score == pytest.approx(best if found else 0.0)


def test_a_beginning_counts_by_the_share_that_is_known() -> None:
    mask = MASK
    text = prose(1, 400)
    known = Likeness(shingles([text], mask), [0.8], mask)
    beginning = pa.array([" ".join(text.split()[:50]), prose(2, 50), " ".join(text.split()[:4])])
    assert known.of(beginning)[0].tolist() == [False, False, False]
    assert known.of(beginning, begun=True)[0].tolist() == [True, False, False]


def test_few_words_are_nobodys_own() -> None:
    mask = MASK
    short = " ".join(WORDS[: LEAST_WORDS - 1])
    assert shingles([short, "", prose(3)], mask)[0].size > 3
    assert len(shingles([short, ""], mask)) == 0
    assert not Likeness([], [], mask).of(pa.array([short]))[0].any()


def test_the_reason_is_kept_and_keys_are_of_this_stack_alone(tmp_path: Path) -> None:
    lines = []
    for name in ("a", "b"):
        stones = Tombstones(tmp_path / name)
        stones.add(draft(id={"same"}), id="r", reason="asked by mail")
        lines.append(json.loads((tmp_path / name / FILE).read_bytes()))
    assert lines[0]["reason"] == "asked by mail"
    assert lines[0]["keys"]["id"] != lines[1]["keys"]["id"]
    assert re.fullmatch("[0-9a-f]{32}", lines[0]["keys"]["id"][0])
