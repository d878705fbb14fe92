"""What follows a few tokens most often in the documents: counted in bounded memory, and never trusted unread."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.deployment.engine import ngrams
from lamina.deployment.engine.ngrams import FILE, Ngrams, write_ngrams
from lamina.kit.errors import CorruptError


def written(folder: Path, documents: list[list[int]], **options) -> Ngrams:
    stream = np.asarray([token for one in documents for token in one], np.uint16)
    ends = np.cumsum([len(one) for one in documents]).astype(np.int64)
    write_ngrams(folder, stream, ends, **{"tokenizer": "t", "vocabulary": 1 << 16} | options)
    return Ngrams(folder)


def plainly(documents: list[list[int]]) -> dict[tuple[int, ...], int]:
    """The same by counting one after another."""
    after: dict[tuple[int, ...], Counter[int]] = {}
    for one in documents:
        for gram in (2, 3):
            for at in range(gram, len(one)):
                after.setdefault(tuple(one[at - gram : at]), Counter())[one[at]] += 1
    best = {context: min(seen, key=lambda token: (-seen[token], token)) for context, seen in after.items()}
    return {
        context: token
        for context, token in best.items()
        if after[context][token] >= 2 and after[context][token] >= 0.3 * after[context].total()
    }


@given(st.lists(st.lists(st.integers(0, 5), max_size=30), max_size=8), st.sampled_from([4, 7, 1 << 21]))
def test_as_counted_one_after_another(tmp_path_factory, documents, block) -> None:
    folder = tmp_path_factory.mktemp("ngrams")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ngrams, "_BLOCK", 1 << 21)
        known, wanted = written(folder, documents), plainly(documents)
        assert len(known) == len(wanted)
        for context, token in wanted.items():
            if len(context) == 3 or not any(longer[1:] == context for longer in wanted):
                assert known.follower(context) == token
        patched.setattr(ngrams, "_BLOCK", block)  # contexts across the edges of blocks are not counted, others are
        assert len(written(folder, documents)) <= len(wanted)


def test_longer_contexts_count_more_and_documents_end(tmp_path: Path) -> None:
    documents = [
        [1, 2, 3, 9],
        [1, 2, 3, 9],
        [7, 2, 3, 8],
        [7, 2, 3, 8],
        [6, 2, 3, 8],
        [50, 51],
        [52, 53],
        [50, 51],
        [52, 53],
    ]
    known = written(tmp_path, documents)
    assert known.follower([1, 2, 3]) == 9
    assert known.follower([7, 2, 3]) == 8
    assert known.follower([4, 2, 3]) == 8, "of two tokens, where the three are not known"
    assert known.follower([2, 3]) == 8
    assert known.follower([6, 2]) is None, "seen once"
    assert known.follower([50, 51]) is None, "another document follows"
    assert known.follower([3]) is None
    assert known.follower([]) is None


def test_the_same_documents_give_the_same_bytes_within_a_bound(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    documents = [chance.integers(0, 40, 200).tolist() for _ in range(40)]
    whole = written(tmp_path, documents)
    first = (tmp_path / FILE).read_bytes()
    written(tmp_path, documents)
    assert (tmp_path / FILE).read_bytes() == first
    small = written(tmp_path, documents, most=800)
    assert len(small) == 100 < len(whole)
    assert (tmp_path / FILE).stat().st_size < 800 + 400
    frequent = Counter(tuple(one[at - 2 : at + 1]) for one in documents for at in range(2, len(one)))
    (*context, token), _ = frequent.most_common(1)[0]
    if whole.follower(context) == token:
        assert small.follower(context) == token, "what was seen most stays"


def test_rare_pairs_go_where_memory_is_short(tmp_path: Path, monkeypatch) -> None:
    chance = np.random.default_rng(1)
    often = [1, 2, 3, 4] * 30
    documents = [[*often, *chance.integers(10, 60000, 400).tolist()] for _ in range(6)]
    monkeypatch.setattr(ngrams, "_BLOCK", 256)
    monkeypatch.setattr(ngrams, "_HELD", 300)
    held: list[int] = []
    added = ngrams._added
    monkeypatch.setattr(ngrams, "_added", lambda *a: (held.append(len(a[0])), added(*a))[1])
    known = written(tmp_path, documents)
    assert max(held) <= 300
    assert known.follower([1, 2, 3]) == 4


def test_of_very_much_text_blocks_at_equal_distances_are_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ngrams, "_BLOCK", 8)
    monkeypatch.setattr(ngrams, "_MOST", 16)
    told = [[n, n, n, n, n, n, n, n] for n in range(10)]
    known = written(tmp_path, told)
    counted = [n for n in range(10) if known.follower([n, n]) == n]
    assert counted == [0, 5]


def test_a_vocabulary_beyond_what_an_entry_holds_gives_none(tmp_path: Path) -> None:
    assert len(written(tmp_path, [[1, 2, 3]] * 4, vocabulary=(1 << 21) + 1)) == 0
    assert written(tmp_path, []).follower([1, 2, 3]) is None


def test_damage_is_refused(tmp_path: Path) -> None:
    known = written(tmp_path, [[1, 2, 3, 4]] * 4)
    assert known.tokenizer == "t"
    place, whole = tmp_path / FILE, (tmp_path / FILE).read_bytes()
    for damaged in (b"", whole[:6], whole[:40], whole[:-8], whole + whole[-8:], b"X" + whole[1:], whole[:-1] + b"\xff",
                    whole.replace(b'"entries": ', b'"entries":-')):  # fmt: skip
        place.write_bytes(damaged)
        with pytest.raises(CorruptError, match=FILE):
            Ngrams(tmp_path)
    place.unlink()
    with pytest.raises(FileNotFoundError):
        Ngrams(tmp_path)
