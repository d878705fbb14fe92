"""Translation pairs, texts that are alike, labelled texts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from streams import Numbers, check_resume, shards, texts

from lamina.contracts.tokens import IGNORED
from lamina.data.batches import PackedBatches, Part
from lamina.data.objectives.labelled import write_labelled
from lamina.data.objectives.pairs import Pairs, write_pairs
from lamina.data.objectives.texts import Alike, Labelled
from lamina.kit.errors import ConfigError, InputError

START, END = 0, 1
FRAME = ((101,), (102,))


def written(tmp_path: Path, count: int = 40) -> tuple[list[tuple[list[int], list[int]]], Part]:
    sides = list(zip(texts(count, seed=1), texts(count, longest=30, seed=2), strict=True))
    rows = [(" ".join(map(str, a)), " ".join(map(str, b))) for a, b in sides]
    sources, targets = write_pairs(rows, tmp_path, Numbers())  # type: ignore[arg-type]
    return sides, Part(shards=targets, sources=sources, weight=1.0)


def test_an_epoch_holds_every_pair_once_with_its_source(tmp_path: Path) -> None:
    sides, part = written(tmp_path)
    form = Pairs(start=START, end=END, source_length=64)
    stream = PackedBatches([part], batch=1, length=48, seed=0, form=form)
    found = []
    for _ in range(stream.rows_per_epoch[0]):
        batch = next(stream)
        assert batch.sources is not None
        assert batch.source_segments is not None
        for segment in range(1, int(batch.segments.max()) + 1):
            source = batch.sources[batch.source_segments == segment].tolist()
            target = batch.targets[batch.segments == segment].tolist()
            assert batch.inputs[batch.segments == segment].tolist() == [START, *target[:-1]]
            assert batch.positions[batch.segments == segment].tolist() == list(range(len(target)))
            assert source[-1] == target[-1] == END
            found.append((source[:-1], target[:-1]))
    assert sorted(found) == sorted(sides)
    assert stream.rows_per_epoch[0] < 30, "nothing was packed"
    assert stream.tokens_per_epoch == (sum(len(b) + 1 for _, b in sides),)


def test_pairs_longer_than_a_row_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sides, part = written(tmp_path)
    stream = PackedBatches([part], batch=1, length=21, seed=0, form=Pairs(start=START, end=END, source_length=24))
    kept = [(a, b) for a, b in sides if len(a) < 24 and len(b) < 21]
    assert 0 < len(kept) < len(sides)
    assert stream.tokens_per_epoch == (sum(len(b) + 1 for _, b in kept),)
    assert f"{len(sides) - len(kept)} of {len(sides)} pairs are longer" in caplog.text
    with pytest.raises(InputError, match="nothing to learn"):
        PackedBatches([part], batch=1, length=1, seed=0, form=Pairs(start=START, end=END, source_length=64))


def test_the_edges_that_write_shards_puts_are_left_out(tmp_path: Path) -> None:
    sources = shards(tmp_path / "a", [[101, 300, 301, 102]], edged=True)
    targets = shards(tmp_path / "b", [[101, 400, 102]], edged=True)
    part = Part(shards=targets, sources=sources, weight=1.0)
    batch = next(PackedBatches([part], batch=1, length=4, seed=0, form=Pairs(start=START, end=END, source_length=4)))
    assert batch.sources is not None
    assert batch.sources.tolist() == [[300, 301, END, 0]]
    assert batch.targets.tolist() == [[400, END, IGNORED, IGNORED]]


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    part = Part(shards=shards(tmp_path / "a", texts(3)), sources=shards(tmp_path / "b", texts(4)), weight=1.0)
    with pytest.raises(InputError, match="3 texts have 4"):
        PackedBatches([part], batch=1, length=64, seed=0, form=Pairs(start=START, end=END, source_length=64))
    with pytest.raises(InputError, match="3 texts have no"):
        PackedBatches(
            [(part.shards, 1.0)], batch=1, length=64, seed=0, form=Pairs(start=START, end=END, source_length=64)
        )


def test_rows_that_are_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 1"):
        write_pairs([("1", "2"), ("1", None)], tmp_path / "a", Numbers())  # type: ignore[arg-type, list-item]
    with pytest.raises(InputError, match="no pair"):
        write_pairs([("", "2"), ("x", "")], tmp_path / "b", Numbers())  # type: ignore[arg-type]
    sources, targets = write_pairs([("", "2"), ("7", "8")], tmp_path / "c", Numbers())  # type: ignore[arg-type]
    assert (sources.stream.tolist(), targets.stream.tolist()) == ([7], [8])


def labelled(tmp_path: Path) -> Part:
    rows = [(" ".join(map(str, tokens)), "even" if tokens[0] % 2 == 0 else "odd") for tokens in texts(60)]
    return write_labelled(rows, tmp_path / "labelled", Numbers(), names=["even", "odd"])  # type: ignore[arg-type]


def test_labelled_texts_come_one_a_row_with_their_label(tmp_path: Path) -> None:
    part = labelled(tmp_path)
    stream = PackedBatches([part], batch=4, length=20, seed=0, form=Labelled(FRAME, labels=2))
    assert stream.rows_per_epoch == (60,)
    seen = []
    for _ in range(15):
        batch = next(stream)
        assert batch.labels is not None
        assert batch.learned == batch.learned_labels == 4
        assert batch.inputs.shape[1] == batch.segments.sum(axis=1).max() <= 20, "columns of padding are cut off"
        for row, label in zip(batch.inputs, batch.labels.tolist(), strict=True):
            real = [token for token in row.tolist() if token]
            assert (real[0], real[-1]) == (101, 102)
            assert real[1] % 2 == label
            seen.append(real[1:-1])
    assert sorted(seen) == sorted(tokens[:18] for tokens in texts(60))


@pytest.mark.parametrize("label", ["neither", 2, math.nan, None])
def test_labels_that_are_none_are_refused(tmp_path: Path, label: Any) -> None:
    with pytest.raises(InputError, match="row 1"):
        write_labelled([("1", 0), ("2", label)], tmp_path, Numbers(), names=[0, 1])  # type: ignore[arg-type]


def test_labels_out_of_range_are_refused(tmp_path: Path) -> None:
    part = labelled(tmp_path)
    with pytest.raises(InputError, match="has label 1; there are 0 to 0"):
        PackedBatches([part], batch=4, length=20, seed=0, form=Labelled(labels=1))
    bare = Part(shards=part.shards, weight=1.0)
    with pytest.raises(InputError, match="needs a label"):
        PackedBatches([bare], batch=4, length=20, seed=0, form=Labelled(labels=2))
    with pytest.raises(ConfigError, match="hold no text"):
        PackedBatches([part], batch=4, length=2, seed=0, form=Labelled(FRAME, labels=2))


def test_alike_texts_come_side_by_side(tmp_path: Path) -> None:
    sides, part = written(tmp_path)
    stream = PackedBatches([part], batch=5, length=16, seed=0, form=Alike(FRAME))
    found = []
    for _ in range(8):
        batch = next(stream)
        assert batch.sources is not None
        assert batch.labels is not None
        assert batch.labels.tolist() == [0, 1, 2, 3, 4]
        for target, source in zip(batch.inputs, batch.sources, strict=True):
            found.append([[t for t in row.tolist() if t][1:-1] for row in (source, target)])
    assert sorted(map(tuple, found)) == sorted((a[:14], b[:14]) for a, b in sides)


@pytest.mark.parametrize("kind", ["pairs", "labelled", "alike"])
def test_resume_is_exact(tmp_path: Path, kind: str) -> None:
    part = labelled(tmp_path) if kind == "labelled" else written(tmp_path)[1]
    form: Any = {
        "pairs": Pairs(start=START, end=END, source_length=64),
        "labelled": Labelled(FRAME, labels=2),
        "alike": Alike(FRAME),
    }[kind]
    check_resume(lambda: PackedBatches([part], batch=7, length=48, seed=5, form=form))


def test_other_labels_or_sources_are_another_stream(tmp_path: Path) -> None:
    part = labelled(tmp_path)
    assert part.labels is not None
    other = Part(shards=part.shards, weight=1.0, labels=1 - part.labels)

    def make(one: Part) -> PackedBatches:
        return PackedBatches([one], batch=4, length=20, seed=0, form=Labelled(labels=2))

    with pytest.raises(InputError, match="another stream"):
        make(other).restore(make(part).state())
    pair = written(tmp_path)[1]
    assert pair.digest != Part(shards=pair.shards, weight=1.0).digest
