"""Masked language modelling: what is hidden, how much of it, and whole words."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streams import check_resume, shards, texts
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lamina.contracts.tokens import IGNORED, Batch
from lamina.data.batches import PackedBatches
from lamina.data.objectives.masking import MaskedBatches, Masking, masking_of, special_tokens
from lamina.data.objectives.texts import WholeTexts
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.tokenizer import ModelTokenizer
from lamina.kit.tokenizer_files import Settings

MASK, FRAME = 103, ((101,), (102,))
SPECIAL = special_tokens([0, 101, 102, MASK], 1000)


def stream(folder: Path, *, batch: int = 4, length: int = 32, seed: int = 0, **rule: Any) -> MaskedBatches:
    folder.mkdir(exist_ok=True)
    where = folder / "shards"
    from lamina.data.shards import Shards

    part = Shards(where) if where.exists() else shards(where, texts(60, edged=True), edged=True)
    packed = PackedBatches([(part, 1.0)], batch=batch, length=length, seed=seed, form=WholeTexts(FRAME))
    return MaskedBatches(packed, Masking(mask=MASK, special=SPECIAL, **rule), seed=seed)


def within(count: int, of: int, share: float, sigmas: float = 4.0) -> bool:
    """Whether so many successes are what a binomial distribution gives."""
    return abs(count - of * share) <= sigmas * math.sqrt(of * share * (1 - share))


def test_an_epoch_holds_every_token_once_each_window_in_its_frame(tmp_path: Path) -> None:
    documents = texts(40, longest=70, edged=True)
    part = shards(tmp_path / "s", documents, edged=True)
    packed = PackedBatches([(part, 1.0)], batch=1, length=24, seed=3, form=WholeTexts(FRAME))
    windows: list[list[int]] = []
    for _ in range(packed.rows_per_epoch[0]):
        row = next(packed)
        assert np.array_equal(row.targets[row.segments > 0], row.inputs[row.segments > 0])
        for segment in range(1, int(row.segments.max()) + 1):
            ids = row.inputs[row.segments == segment].tolist()
            assert row.positions[row.segments == segment].tolist() == list(range(len(ids)))
            assert (ids[0], ids[-1]) == (101, 102)
            windows.append(ids[1:-1])
    wanted = sorted(tokens[1:-1][at : at + 22] for tokens in documents for at in range(0, len(tokens) - 2, 22))
    assert sorted(windows) == wanted


def test_shares_are_berts(tmp_path: Path) -> None:
    whole = MaskedBatches(
        PackedBatches(
            [(shards(tmp_path / "s", texts(400, edged=True), edged=True), 1.0)],
            batch=16,
            length=128,
            seed=1,
            form=WholeTexts(FRAME),
        ),
        Masking(mask=MASK, special=SPECIAL),
        seed=1,
    )
    chosen = ordinary = masked = kept = other = 0
    for _ in range(20):
        batch = next(whole)
        hit = batch.targets != IGNORED
        assert not SPECIAL[batch.targets[hit]].any(), "a special token is to be said"
        assert not hit[batch.segments == 0].any()
        real = (batch.segments > 0) & ((batch.inputs < 101) | (batch.inputs > 102))
        ordinary += int(real.sum())
        chosen += int(hit.sum())
        masked += int((hit & (batch.inputs == MASK)).sum())
        kept += int((hit & (batch.inputs == batch.targets)).sum())
        other += int((hit & (batch.inputs != batch.targets) & (batch.inputs != MASK)).sum())
        assert not SPECIAL[batch.inputs[hit & (batch.inputs != MASK)]].any(), "a special token was put in"
        assert (batch.inputs[~hit & (batch.segments > 0)] != MASK).all()
    assert chosen / ordinary == pytest.approx(0.15, abs=0.005)
    assert within(masked, chosen, 0.8)
    assert within(kept, chosen, 0.1 + 0.1 / 800)  # a token may be put in for itself
    assert within(other, chosen, 0.1)


def test_masks_change_from_epoch_to_epoch_and_with_the_seed(tmp_path: Path) -> None:
    one, two = next(stream(tmp_path, seed=1)), next(stream(tmp_path, seed=2))
    assert not np.array_equal(one.targets, two.targets)
    first = stream(tmp_path)
    rows = [next(first).targets.tobytes() for _ in range(200)]
    assert len(set(rows)) == 200


def test_resume_is_exact(tmp_path: Path) -> None:
    check_resume(lambda: stream(tmp_path))


def test_a_place_of_other_masks_is_refused(tmp_path: Path) -> None:
    place = stream(tmp_path).state()
    with pytest.raises(InputError, match="other masks"):
        stream(tmp_path, share=0.3).restore(place)
    with pytest.raises(InputError, match="another stream"):
        stream(tmp_path, length=31).restore(place)


def test_one_token_is_hidden_at_least(tmp_path: Path) -> None:
    part = shards(tmp_path / "s", [[101, 500, 102]], edged=True)
    packed = PackedBatches([(part, 1.0)], batch=1, length=16, seed=0, form=WholeTexts(FRAME))
    batch = next(MaskedBatches(packed, Masking(mask=MASK, special=SPECIAL), seed=0))
    assert batch.learned == 1
    assert batch.targets[0, 1] == 500


def test_documents_without_a_token_of_their_own_are_refused(tmp_path: Path) -> None:
    part = shards(tmp_path / "s", [[101, 102], [101, 102]], edged=True)
    with pytest.raises(InputError, match="nothing to learn"):
        PackedBatches([(part, 1.0)], batch=1, length=16, seed=0, form=WholeTexts(FRAME))


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"share": 1.0}, {"replaced": 0.9, "random": 0.2}])
def test_shares_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Masking(mask=MASK, special=SPECIAL, **settings)


def test_rows_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    part = shards(tmp_path / "s", texts(3, edged=True), edged=True)
    with pytest.raises(ConfigError, match="hold no text"):
        PackedBatches([(part, 1.0)], batch=1, length=2, seed=0, form=WholeTexts(FRAME))


WORDS = "the unbelievable whale swims, and un-believable whales' swimming is 12,345 believing waves"


def tokenizer(kind: str) -> ModelTokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind == "wordpiece":
        backend: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        backend.train_from_iterator([WORDS], trainers.WordPieceTrainer(vocab_size=60, special_tokens=special))
        backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        backend.train_from_iterator(
            [WORDS], trainers.BpeTrainer(vocab_size=275, special_tokens=special, initial_alphabet=alphabet)
        )
    names = {"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    return ModelTokenizer(backend.to_str(), Settings(names=names))


def words_of(pieces: list[str]) -> list[int]:
    """Of which word each token is, told from the text that they make."""
    text = "".join(pieces)
    ends = [match.end() for match in re.finditer(r"[a-z0-9]+|[^a-z0-9\s]", text)]
    reached = np.cumsum([len(piece) for piece in pieces])
    return [int(number) for number in np.searchsorted(ends, reached)]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_whole_words_are_hidden_whole(kind: str) -> None:
    made = tokenizer(kind)
    ids = np.asarray([made.encode(WORDS)])
    assert made.pieces is not None
    words = words_of([made.pieces[token].decode() for token in ids[0].tolist()])
    assert len(set(words)) == 18
    ids = np.concatenate([[[2]], ids, [[3]]], axis=1)
    batch = Batch(inputs=ids, targets=ids, segments=np.ones_like(ids), positions=np.arange(ids.shape[1])[None])
    whole, plain = (masking_of(made, share=0.3, whole_words=choice) for choice in (True, False))
    hidden, parts, apart = np.zeros(len(words)), 0, np.zeros(17)
    for seed in range(300):
        hit, other = (rule.hide(batch, np.random.default_rng(seed)).targets[0] != IGNORED for rule in (whole, plain))
        assert not hit[[0, -1]].any()
        for word in set(words):
            of_word = hit[1:-1][np.asarray(words) == word]
            assert of_word.all() or not of_word.any()
            of_word = other[1:-1][np.asarray(words) == word]
            parts += bool(of_word.any() and not of_word.all())
        hidden += hit[1:-1]
        firsts = hit[1:-1][np.unique(words, return_index=True)[1]]
        apart += firsts[1:] != firsts[:-1]
    assert apart.min() > 30, "neighbours are hidden one without the other"
    assert hidden.min() > 30, "every word is hidden at times"
    assert parts > 300, "without the rule, words are hidden in parts"


def test_a_word_without_end_is_hidden_in_parts() -> None:
    opens = closes = np.zeros(1000, np.bool_)
    rule = Masking(mask=MASK, special=SPECIAL, opens=opens, closes=closes)
    ids = np.full((1, 200), 300)
    batch = Batch(inputs=ids, targets=ids, segments=np.ones_like(ids), positions=np.arange(200)[None])
    hit = rule.hide(batch, np.random.default_rng(0)).targets[0] != IGNORED
    assert 16 <= hit.sum() <= 30


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    backend: Any = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(ConfigError, match="no mask token"):
        masking_of(ModelTokenizer(backend.to_str(), Settings()))
