"""Next-sentence pairs: half of them follow, the others are of another text."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streams import check_resume, shards

from lamina.contracts.tokens import IGNORED
from lamina.data.batches import PackedBatches
from lamina.data.objectives.masking import MaskedBatches, Masking, special_tokens
from lamina.data.objectives.sentences import NextSentence, write_sentences
from lamina.data.shards import Shards
from lamina.kit.errors import ConfigError, InputError

CLS, SEP, MASK = 101, 102, 103


def corpus(folder: Path, texts: int = 12) -> Shards:
    """Every token occurs once; text n's sentences have tokens from 200 + 60 n on."""
    random, documents, ids = np.random.default_rng(0), [], []
    for text in range(texts):
        at = 200 + 60 * text
        while at < 200 + 60 * text + 50:
            size = int(random.integers(1, 9))
            documents.append(list(range(at, at + size)))
            ids.append(str(text))
            at += size
    return shards(folder, documents, ids=ids)


def stream(part: Shards, *, length: int = 24, batch: int = 6, seed: int = 0) -> PackedBatches:
    form = NextSentence(first=CLS, last=SEP)
    return PackedBatches([(part, 1.0)], batch=batch, length=length, seed=seed, form=form)


@pytest.mark.parametrize("length", [5, 9, 24, 100])
def test_half_follow_and_the_others_are_of_another_text(tmp_path: Path, length: int) -> None:
    pairs = stream(corpus(tmp_path), length=length)
    follow = total = 0
    for _ in range(200):
        batch = next(pairs)
        assert batch.kinds is not None
        assert batch.labels is not None
        for row in range(6):
            real = batch.segments[row] > 0
            ids, kinds = batch.inputs[row][real].tolist(), batch.kinds[row][real]
            assert len(ids) <= length
            assert (ids[0], ids[-1]) == (CLS, SEP)
            middle = ids.index(SEP)
            assert kinds.tolist() == [0] * (middle + 1) + [1] * (len(ids) - middle - 1)
            first, second = ids[1:middle], ids[middle + 1 : -1]
            assert first == list(range(first[0], first[-1] + 1))
            assert second == list(range(second[0], second[-1] + 1))
            same = (first[0] - 200) // 60 == (second[0] - 200) // 60
            assert same == (batch.labels[row] == 0)
            if batch.labels[row] == 0:
                assert second[0] == first[-1] + 1, "what is said to follow does not"
            follow += int(batch.labels[row] == 0)
            total += 1
    assert abs(follow - total / 2) < 4 * math.sqrt(total / 4)


def test_with_masks_tokens_and_labels_are_learned(tmp_path: Path) -> None:
    special = special_tokens([0, CLS, SEP, MASK], 1000)
    batch = next(MaskedBatches(stream(corpus(tmp_path)), Masking(mask=MASK, special=special), seed=0))
    assert batch.learned_labels == 6
    assert batch.learned_tokens >= 6
    assert batch.learned == batch.learned_labels + batch.learned_tokens
    hit = batch.targets != IGNORED
    assert not special[batch.targets[hit]].any()
    assert batch.kinds is not None


def test_resume_is_exact(tmp_path: Path) -> None:
    part, special = corpus(tmp_path), special_tokens([0, CLS, SEP, MASK], 1000)
    check_resume(lambda: stream(part))
    check_resume(lambda: MaskedBatches(stream(part), Masking(mask=MASK, special=special), seed=3))


def test_one_text_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one text alone"):
        stream(shards(tmp_path / "one", [[1, 2], [3]], ids=["a", "a"]))
    with pytest.raises(InputError, match="no text has two sentences"):
        stream(shards(tmp_path / "short", [[1, 2], [3]], ids=["a", "b"]))
    with pytest.raises(ConfigError, match="no pair of texts"):
        stream(corpus(tmp_path / "many"), length=4)


class Letters:
    vocabulary, end_ids = 300, (0,)

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]


def test_sentences_of_a_corpus(tmp_path: Path) -> None:
    rows = {"id": ["a", "b"], "source": ["s", "s"], "text": ["Call me Ishmael. So Mr. Ahab came! Gone?", "One alone."]}
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "data" / "train-00000.parquet")
    made = write_sentences(tmp_path, tmp_path / "shards", Letters())  # type: ignore[arg-type]
    said = ["".join(map(chr, made.tokens(i).tolist())) for i in range(made.documents)]
    assert said == ["Call me Ishmael.", "So Mr. Ahab came!", "Gone?", "One alone."]
    ids = pq.read_table(tmp_path / "shards" / "documents.parquet")["id"].to_pylist()
    assert ids == ["a", "a", "a", "b"]
