from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.tokens import IGNORED, Batch
from lamina.data.batches import PackedBatches
from lamina.data.forms import NextTokens
from lamina.data.shards import Shards, ShardWriter
from lamina.kit.errors import ConfigError, InputError

DOCUMENTS = st.lists(
    st.lists(st.booleans(), min_size=1, max_size=40).map(lambda marks: [False, *marks[1:]]), min_size=1, max_size=25
)


class Numbers:
    """Stands for a tokenizer; nothing is encoded here."""

    vocabulary = 60_000
    end_ids = (0,)

    def encode(self, text: str) -> list[int]:
        return [1]


def make(folder: Path, documents: list[list[bool]], first: int = 1) -> Shards:
    """Every token is a number that occurs once."""
    with ShardWriter(folder, Numbers()) as writer:  # type: ignore[arg-type]
        for number, marks in enumerate(documents):
            writer.add(list(range(first, first + len(marks))), marks, id=str(number), source="s")
            first += len(marks)
        return writer.close()


def same(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("inputs", "targets", "segments", "positions"))


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(1, 17), st.integers(0, 5))
def test_an_epoch_holds_every_learned_target_once(documents: list[list[bool]], length: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shards = make(Path(folder), documents)
        owner = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
        wanted = [t + 1 for t in np.flatnonzero(shards.loss) if t and owner[t] == owner[t - 1]]
        if not wanted:
            with pytest.raises(InputError):
                PackedBatches([(shards, 1.0)], batch=1, length=length, seed=seed)
            return
        stream = PackedBatches([(shards, 1.0)], batch=1, length=length, seed=seed)
        for _ in range(2):
            rows = [next(stream) for _ in range(stream.rows_per_epoch[0])]
            seen = np.concatenate([row.targets[row.targets != IGNORED] for row in rows])
            assert sorted(seen.tolist()) == wanted
            inputs = np.concatenate([row.inputs[row.segments > 0] for row in rows])
            assert len(set(inputs.tolist())) == len(inputs)  # nothing is shown twice
        assert stream.epochs == (2.0,)
        for row in rows:
            check(row, owner)


def check(row: Batch, owner: np.ndarray) -> None:
    """A segment is a stretch of one document, positions count from 0, targets are the tokens after, padding is last."""
    inputs, targets, segments, positions = (x[0] for x in (row.inputs, row.targets, row.segments, row.positions))
    used = segments > 0
    assert not used[int(used.sum()) :].any()
    assert (targets[~used] == IGNORED).all()
    assert sorted(set(segments[used])) == list(range(1, segments.max() + 1))
    for segment in range(1, segments.max() + 1):
        place = np.flatnonzero(segments == segment)
        assert (np.diff(place) == 1).all()
        assert positions[place].tolist() == list(range(len(place)))
        stretch = inputs[place]
        assert (np.diff(stretch) == 1).all()
        assert len({int(owner[t - 1]) for t in stretch}) == 1
        learned = targets[place] != IGNORED
        assert (targets[place][learned] == stretch[learned] + 1).all()
        assert all(owner[t - 1] == owner[stretch[0] - 1] for t in targets[place][learned])


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.integers(1, 3), st.integers(2, 9), st.integers(0, 30), st.integers(1, 20))
def test_resumed_equals_uninterrupted(
    a: list[list[bool]], b: list[list[bool]], batch: int, length: int, before: int, after: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a, b = [[False, True], *a], [[False, True], *b]
        parts = [(make(Path(folder) / "a", a), 0.7), (make(Path(folder) / "b", b, 2000), 0.3)]
        whole = PackedBatches(parts, batch=batch, length=length, seed=7)
        for _ in range(before):
            next(whole)
        state = json.loads(json.dumps(whole.state()))
        resumed = PackedBatches(parts, batch=batch, length=length, seed=7)
        next(resumed)
        resumed.restore(state)
        for _ in range(after):
            assert same(next(whole), next(resumed))


def test_weights_are_shares_of_the_rows(tmp_path: Path) -> None:
    parts = [
        (make(tmp_path / n, [[False] + [True] * 8] * 9, first), w) for n, first, w in (("a", 1, 3.0), ("b", 500, 1.0))
    ]
    stream = PackedBatches(parts, batch=4, length=8, seed=0)
    for _ in range(10):
        inputs = next(stream).inputs[:, 0]
        assert (inputs < 500).sum() == 3


def test_seeds_and_epochs_differ_and_arguments_alone_decide(tmp_path: Path) -> None:
    shards = make(tmp_path, [[False] + [True] * 8] * 40)

    def rows(seed: int, count: int = 80) -> list[int]:
        stream = PackedBatches([(shards, 1.0)], batch=1, length=8, seed=seed)
        return [int(next(stream).inputs[0, 0]) for _ in range(count)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    assert rows(1)[:40] != rows(1)[40:]
    assert sorted(rows(1)[:40]) == sorted(rows(1)[40:])


def test_the_last_token_is_learned_and_the_next_document_is_not_its_target(tmp_path: Path) -> None:
    shards = make(tmp_path, [[False, True, True], [False, True]])
    row = next(PackedBatches([(shards, 1.0)], batch=1, length=8, seed=0))
    assert row.inputs[0].tolist() == [1, 2, 4, 0, 0, 0, 0, 0]
    assert row.targets[0].tolist() == [2, 3, 5, *[IGNORED] * 5]
    assert row.segments[0].tolist() == [1, 1, 2, 0, 0, 0, 0, 0]
    assert row.positions[0].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
    assert row.inputs.dtype == row.targets.dtype == np.int64
    assert row.learned == 3


@pytest.mark.parametrize("change", [{"seed": 2}, {"length": 9}, {"batch": 2}])
def test_a_place_of_another_stream_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    parts = [(make(tmp_path, [[False, True, True]]), 1.0)]
    settings_ = {"batch": 1, "length": 8, "seed": 1}
    state = PackedBatches(parts, **settings_).state()
    with pytest.raises(InputError, match="another stream"):
        PackedBatches(parts, **(settings_ | change)).restore(state)


def test_what_cannot_be(tmp_path: Path) -> None:
    shards = make(tmp_path / "a", [[False, True]])
    nothing = make(tmp_path / "b", [[False, False]])
    with pytest.raises(InputError):
        PackedBatches([], batch=1, length=8, seed=0)
    with pytest.raises(ConfigError):
        PackedBatches([(shards, -1.0)], batch=1, length=8, seed=0)
    with pytest.raises(ConfigError):
        PackedBatches([(shards, 1.0)], batch=1, length=0, seed=0)
    assert next(PackedBatches([(shards, 0.5), (nothing, 0.5)], batch=4, length=8, seed=0)).learned == 4


def test_every_token_can_be_learned(tmp_path: Path) -> None:
    shards = make(tmp_path, [[False, True, False, False, True], [False, False, True]])
    streams = [
        PackedBatches([(shards, 1.0)], batch=1, length=8, seed=0, form=f) for f in (None, NextTokens(every=True))
    ]
    answers, every = (next(stream).targets for stream in streams)
    assert sorted(answers[answers != IGNORED]) == [2, 5, 8]
    assert sorted(every[every != IGNORED]) == [2, 3, 4, 5, 7, 8]
    with pytest.raises(InputError, match="another stream"):
        streams[1].restore(streams[0].state())
