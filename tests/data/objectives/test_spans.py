"""Span corruption: nothing is lost, sizes are known ahead, and rows match on both sides."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import check_resume, shards, texts

from lamina.contracts.tokens import IGNORED
from lamina.data.batches import PackedBatches
from lamina.data.objectives.spans import Spans, sentinels_of
from lamina.kit.errors import ConfigError, InputError

START, END = 0, 1
SENTINELS = list(range(199, 99, -1))  # as T5's, they count down


def spans(**settings: Any) -> Spans:
    usual: dict[str, Any] = {"sentinels": SENTINELS, "start": START, "end": END, "source_length": 64}
    return Spans(**usual | settings)


def restored(source: list[int], target: list[int], sentinels: list[int]) -> list[int]:
    """The text of which these are the corrupted one and its spans."""
    assert source[-1] == target[-1] == END
    cut: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token in sentinels:
            name = token
            assert name not in cut, "a sentinel stands for two spans"
            cut[name] = []
        else:
            cut[name].append(token)
    assert all(cut.values()), "an empty span"
    assert [t for t in source if t in sentinels] == list(cut) == sentinels[: len(cut)], "sentinels out of order"
    return [t for token in source[:-1] for t in cut.get(token, [token])]


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(2, 300),
    noise=st.floats(0.01, 0.99),
    mean=st.floats(1, 12),
    count=st.integers(1, 100),
    seed=st.integers(0, 9),
)
def test_sources_and_targets_give_the_text_back(size: int, noise: float, mean: float, count: int, seed: int) -> None:
    form = spans(noise=noise, mean=mean, sentinels=SENTINELS[:count])
    ids = np.random.default_rng(seed).integers(200, 1000, size)
    source, target = form.corrupt(ids, np.random.default_rng(seed))
    assert restored(source.tolist(), target.tolist(), SENTINELS[:count]) == ids.tolist()
    assert len(source) == form._source(np.asarray(size))
    assert len(target) == form._target(size)


def test_shares_are_t5s() -> None:
    form = spans(source_length=512)
    ids = np.arange(200, 712)
    lengths: list[int] = []
    for seed in range(200):
        target = form.corrupt(ids, np.random.default_rng(seed))[1]
        inside = np.isin(target[:-1], SENTINELS)
        assert (~inside).sum() == 77  # 15 % of 512
        assert inside.sum() == 26  # in spans of 3
        lengths += np.diff([*np.flatnonzero(inside), len(inside)]).tolist()
    assert np.mean(lengths) - 1 == pytest.approx(77 / 26)
    assert max(lengths) > 8  # they vary
    assert (form._window(10**6), form.target_length()) == (568, 114)  # T5's for rows of 512


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=30), st.integers(8, 80), st.integers(0, 5))
def test_an_epoch_gives_every_document_back(lengths: list[int], source_length: int, seed: int) -> None:
    form = spans(source_length=source_length)
    random = np.random.default_rng(0)
    documents = [random.integers(200, 1000, n).tolist() for n in lengths]
    with tempfile.TemporaryDirectory() as folder:
        part = shards(Path(folder), documents)
        length = form.target_length()
        if max(lengths) < 2:
            with pytest.raises(InputError, match="nothing to learn"):
                PackedBatches([(part, 1.0)], batch=1, length=length, seed=seed, form=form)
            return
        stream = PackedBatches([(part, 1.0)], batch=1, length=length, seed=seed, form=form)
        windows: list[list[int]] = []
        for _ in range(stream.rows_per_epoch[0]):
            batch = next(stream)
            assert batch.sources is not None
            assert batch.source_segments is not None
            assert batch.sources.shape == (1, source_length)
            assert batch.segments.max() == batch.source_segments.max()
            for segment in range(1, int(batch.segments.max()) + 1):
                source = batch.sources[batch.source_segments == segment].tolist()
                target = batch.targets[batch.segments == segment].tolist()
                inputs = batch.inputs[batch.segments == segment].tolist()
                assert inputs == [START, *target[:-1]]
                windows.append(restored(source, target, SENTINELS))
            assert (batch.targets[batch.segments == 0] == IGNORED).all()
    window = max(map(len, windows))
    wanted = [d[at : at + window] for d in documents for at in range(0, len(d), window)]
    assert sorted(windows) == sorted(w for w in wanted if len(w) > 1)


def test_resume_is_exact(tmp_path: Path) -> None:
    part, form = shards(tmp_path, texts(50)), spans()
    check_resume(lambda: PackedBatches([(part, 1.0)], batch=3, length=form.target_length(), seed=4, form=form))


def test_spans_change_from_epoch_to_epoch(tmp_path: Path) -> None:
    part = shards(tmp_path, [list(range(200, 250))])
    stream = PackedBatches([(part, 1.0)], batch=1, length=20, seed=4, form=spans())
    assert len({next(stream).targets.tobytes() for _ in range(20)}) > 15


def test_a_place_of_another_form_is_refused(tmp_path: Path) -> None:
    part, form = shards(tmp_path, texts(50)), spans()
    place = PackedBatches([(part, 1.0)], batch=3, length=20, seed=4, form=form).state()
    with pytest.raises(InputError, match="another stream"):
        PackedBatches([(part, 1.0)], batch=3, length=20, seed=4, form=spans(noise=0.3)).restore(place)
    with pytest.raises(InputError, match="another stream"):
        PackedBatches([(part, 1.0)], batch=3, length=20, seed=4).restore(place)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"noise": 0.0}, "share"), ({"noise": 1.0}, "share"), ({"mean": 0.5}, "1 token"), ({"sentinels": []}, "unigram")],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        spans(**settings)


def test_rows_without_room_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no window"):
        PackedBatches([(shards(tmp_path, texts(3)), 1.0)], batch=1, length=2, seed=0, form=spans())


def test_sentinels_are_the_tokenizers() -> None:
    class Has:
        def id_of(self, token: str) -> int | None:
            return {"<extra_id_0>": 31, "<extra_id_1>": 30, "<extra_id_3>": 28}.get(token)

    assert sentinels_of(Has()) == [31, 30]  # type: ignore[arg-type]
