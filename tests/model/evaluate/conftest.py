"""Tiny tokenizers of three kinds, for the tiny checkpoints (97 ids) of `tests/model/conftest.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.transformer import Transformer

TEXTS = [
    "the whale swims in the sea and the sea is deep",
    "a ship sails over the sea to the island of the whale",
    "call me what you like said the old man of the ship",
    "cats sit on mats while dogs bark at boxes filled with jam quickly vexing zebras",
]


def _write(folder: Path, tokenizer: Any, config: dict[str, str]) -> ModelTokenizer:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return open_tokenizer(folder)


def bpe(folder: Path) -> ModelTokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=90, special_tokens=["<|endoftext|>"]))
    return _write(folder, made, {"eos_token": "<|endoftext|>"})


def wordpiece(folder: Path) -> ModelTokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=95, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return _write(folder, made, names)


def unigram(folder: Path) -> ModelTokenizer:
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>")
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return _write(folder, made, {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"})


@pytest.fixture(scope="session")
def tokenizer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ModelTokenizer]:
    """ "bpe", "wordpiece" or "unigram"."""
    made: dict[str, ModelTokenizer] = {}

    def get(kind: str) -> ModelTokenizer:
        if kind not in made:
            folder = tmp_path_factory.mktemp("tokenizers") / kind
            made[kind] = {"bpe": bpe, "wordpiece": wordpiece, "unigram": unigram}[kind](folder)
        return made[kind]

    return get


@pytest.fixture
def opened(
    reference: Callable[[str], tuple[Path, Any]], tokenizer_of: Callable[[str], ModelTokenizer]
) -> Callable[[str], tuple[Transformer, Any, ModelTokenizer]]:
    """Variant -> (our model, the reference model of `transformers`, a tokenizer of its kind)."""

    def get(variant: str) -> tuple[Transformer, Any, ModelTokenizer]:
        folder, theirs = reference(variant)
        kind = {"bert": "wordpiece", "t5": "unigram", "marian": "unigram"}.get(variant.split("-")[0], "bpe")
        return open_model(folder), theirs, tokenizer_of(kind)

    return get
