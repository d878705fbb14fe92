"""Small folders of encoders and encoder-decoders with tokenizers, for the tests of what is served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lamina.deployment.compress.quantize import open_served
from lamina.deployment.texts.model import TextModel
from lamina.deployment.texts.opening import open_texts
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.architectures.presets import preset
from lamina.model.checkpoint import read_config, save_model
from lamina.model.spec import OutputSpec
from lamina.model.transformer import Transformer

WORDS = ("the", "a", "whale", "ship", "sea", "harbour", "old", "big", "quiet", "swims", "sails", "in", "near", "and")
WORDS += ("is", ".", "?")


def write_wordpiece(folder: Path) -> int:
    """A BERT tokenizer of whole words; its number of tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(97, 123)] + ["##" + chr(c) for c in range(97, 123)]
    vocabulary = {token: n for n, token in enumerate([*special, *WORDS, *(x for x in letters if x not in WORDS)])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(special)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(names | {"tokenizer_class": "BertTokenizer"}))
    return len(vocabulary)


def write_unigram(folder: Path, **named: Any) -> int:
    """A tokenizer of words with an end token round each text; its number of tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{w}", -3.0) for w in WORDS)]
    pieces += [("▁", -6.0), *((chr(c), -9.0) for c in range(97, 123)), (":", -9.0), (">", -9.0), (".", -9.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<pad>", "</s>", "<unk>"])
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | named))
    return len(pieces)


def wide(model: Transformer, by: float = 6.0) -> Transformer:
    """``model`` with weights so wide that its scores differ clearly."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(by)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model.eval()


def write_bert(
    folder: Path, *, outputs: tuple[OutputSpec, ...] = (), head: bool = True, seed: int = 0, **config: Any
) -> Path:
    """A BERT with these outputs."""
    count = write_wordpiece(folder)
    torch.manual_seed(seed)
    spec = preset("bert-nano", vocabulary=count)
    save_model(wide(Transformer(replace(spec, outputs=outputs, head=spec.head if head else None))), folder)
    return _tell(folder, config)


def write_decoder_of_classes(folder: Path) -> Path:
    """A GPT that classifies by its last token."""
    from lamina.model.train.outputs import for_classes

    count = write_unigram(folder)
    torch.manual_seed(0)
    save_model(wide(for_classes(Transformer(preset("nano", vocabulary=count)), 2)), folder)
    return _tell(folder, {"id2label": {"0": "no", "1": "yes"}})


def write_seq2seq(folder: Path, *, seed: int = 0, named: dict[str, Any] | None = None, **config: Any) -> Path:
    """An encoder-decoder of Marian's form."""
    count = write_unigram(folder, **(named or {}))
    torch.manual_seed(seed)
    model = wide(Transformer(preset("seq2seq-nano", vocabulary=count)))
    save_model(model, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    return _tell(folder, config)


def _tell(folder: Path, more: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(read_config(folder) | more))
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """One folder of each kind."""
    place = tmp_path_factory.mktemp("texts")
    classes = (OutputSpec(kind="pooler"), OutputSpec(kind="classify", labels=3))
    tags = (OutputSpec(kind="tag", labels=2),)
    return SimpleNamespace(
        masked=write_bert(place / "masked"),
        other=write_bert(place / "other", seed=1),
        classes=write_bert(
            place / "classes", outputs=classes, head=False, id2label={"0": "bad", "1": "fair", "2": "good"}
        ),
        decoder=write_decoder_of_classes(place / "decoder"),
        tags=write_bert(place / "tags", outputs=tags, head=False),
        writer=write_seq2seq(place / "writer", named={"source_lang": "en", "target_lang": "it"}),
        several=write_seq2seq(
            place / "several",
            task_specific_params={
                "translation_en_to_it": {"prefix": ">>it<< "},
                "translation_it_to_en": {"prefix": ">>en<< ", "num_beams": 2},
                "summarization": {"prefix": "summarize: ", "max_length": 7},
            },
        ),
    )


@pytest.fixture
def opened(folders: SimpleNamespace) -> Any:
    """``opened(name)``: the service of one of them."""
    made: list[TextModel] = []

    def open_one(name: str, **options: Any) -> TextModel:
        folder = getattr(folders, name)
        made.append(open_texts(open_served(folder), open_tokenizer(folder), folder, version="v1", **options))
        return made[-1]

    yield open_one
    for model in made:
        model.close()
