from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lamina.data.tokenizer.encode import Encoder, batches_of
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.kit.tokenizer_files import Settings

PRE, SPLIT = pre_tokenizers, "isolated"
LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "The whale isn't here, it's (there) at 10:45;  don't\n\nlook. x = foo_bar[12345] + 'y' \t\n  z",
    "naïve 日本語 の text 🐋 with\u00a0odd\u2003spaces and\u3000more ▁ of <0x41> them </s> [SEP]\r\n\r\nEnd'S  ",
]
PIECES = [
    *(
        "a",
        "B",
        "the",
        "don't",
        "'s",
        "'",
        '"',
        ".",
        ",",
        "(",
        "_",
        "<",
        ">",
        "1",
        "23",
        "4567",
        "é",
        "日本",
        "ß",
        "🐋",
    ),
    *(" ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u0301", "\u00a8", "▁", "\x01"),
    *("</s>", "<0x41>", "[SEP]", "<think>", "\ufeff", "\u0085", "\u1680", "\u180e", "\u205f", "ﷺ", "İ", "Σ"),
]
WORDS = st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


def byte_level(pre: Any, normalizer: Any = None, **model: Any) -> Tokenizer:
    backend: Any = Tokenizer(models.BPE(**model))
    backend.pre_tokenizer, backend.decoder = pre, decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    alphabet = PRE.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["</s>", "<|x|>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS * 9, trainer)
    return backend


def gpt2(**options: Any) -> Tokenizer:
    return byte_level(PRE.ByteLevel(add_prefix_space=False, **options))


def smollm() -> Tokenizer:
    return byte_level(PRE.Sequence([PRE.Digits(individual_digits=True), PRE.ByteLevel(add_prefix_space=False)]))


def split(pattern: str, normalizer: Any = None, **model: Any) -> Tokenizer:
    steps = [PRE.Split(Regex(pattern), SPLIT), PRE.ByteLevel(add_prefix_space=False, use_regex=False)]
    return byte_level(PRE.Sequence(steps), normalizer, **model)


def roberta() -> Tokenizer:
    return byte_level(PRE.ByteLevel(add_prefix_space=True))


def thinking() -> Tokenizer:
    backend = gpt2()
    backend.add_tokens([AddedToken("<think>", special=False)])
    return backend


def bert(lowercase: bool = True) -> Tokenizer:
    backend: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer, backend.decoder = PRE.BertPreTokenizer(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)
    return backend


def t5(scheme: str) -> Tokenizer:
    vocab = [("<unk>", 0.0), ("</s>", 0.0), *((c, -6.0) for c in sorted({c for t in TEXTS for c in t} - {" ", "▁"}))]
    vocab += [("▁", -4.0), ("▁the", -3.0), ("▁don", -5.0), ("'t", -4.0), ("\n\n", -4.0), ("he", -4.5)]
    backend: Any = Tokenizer(models.Unigram(vocab, 0))
    backend.pre_tokenizer = PRE.Metaspace(prepend_scheme=scheme)  # type: ignore[arg-type]
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<unk>", "</s>"])
    return backend


MADE: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": gpt2,
    "digits": smollm,
    "llama": lambda: split(LLAMA, ignore_merges=True),
    "qwen": lambda: split(LLAMA.replace("{1,3}", ""), normalizers.NFC()),
    "nfkc": lambda: byte_level(PRE.ByteLevel(add_prefix_space=False), normalizers.NFKC()),
    "roberta": roberta,
    "thinking": thinking,
    "bert": bert,
    "cased": lambda: bert(False),
    "t5": lambda: t5("always"),
    "first": lambda: t5("first"),
}
UNKNOWN: dict[str, Callable[[], Tokenizer]] = {
    "a pattern of its own": lambda: split(r"\w+\s|\W"),
    "no splitter": lambda: byte_level(PRE.ByteLevel(add_prefix_space=False, use_regex=False)),
    "dropout": lambda: byte_level(PRE.ByteLevel(add_prefix_space=False), dropout=0.1),
    "spaces removed": lambda: byte_level(PRE.ByteLevel(add_prefix_space=False), normalizers.StripAccents()),
}


def opened(backend: Tokenizer) -> ModelTokenizer:
    return ModelTokenizer(backend.to_str(), Settings(names={"eos_token": "</s>"}))


def rows(encoder: Encoder, texts: list[str | None], **edges: int) -> list[list[int]]:
    ids, ends = encoder.encode(pa.array(texts, pa.string()), **edges)
    return [part.tolist() for part in np.split(ids, ends[:-1])] if texts else []


@pytest.fixture(scope="module")
def encoders() -> dict[str, tuple[ModelTokenizer, Encoder]]:
    made = {name: opened(make()) for name, make in MADE.items()}
    return {name: (tokenizer, Encoder(tokenizer, room=64)) for name, tokenizer in made.items()}


@pytest.mark.parametrize("name", MADE)
@given(texts=st.lists(st.one_of(WORDS, st.text(max_size=30)), min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_a_remembered_chunk_gives_what_the_whole_gives(
    encoders: dict[str, tuple[ModelTokenizer, Encoder]], name: str, texts: list[str]
) -> None:
    """With room for so little that the table fills, and is emptied, again and again."""
    tokenizer, encoder = encoders[name]
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    assert rows(encoder, [*texts]) == [tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize("use", ["bpe", "wordpiece", "unigram"])
@given(texts=st.lists(WORDS, min_size=1, max_size=4))
@settings(max_examples=120, deadline=None)
def test_our_own_kinds_too(trained: Callable[..., Path], use: str, texts: list[str]) -> None:
    tokenizer = _known(trained(use))
    assert tokenizer.cuts is not None
    assert rows(Encoder(tokenizer, room=64), [*texts]) == [tokenizer.encode(text) for text in texts]


def _known(folder: Path, known: dict[Path, ModelTokenizer] = {}) -> ModelTokenizer:  # noqa: B006
    if folder not in known:
        known[folder] = open_tokenizer(folder)
    return known[folder]


@pytest.mark.parametrize("name", UNKNOWN)
def test_of_other_tokenizers_nothing_is_assumed(name: str) -> None:
    tokenizer = opened(UNKNOWN[name]())
    assert tokenizer.cuts is None
    if name != "dropout":
        assert rows(Encoder(tokenizer), [*TEXTS]) == [tokenizer.encode(text) for text in TEXTS]


def test_most_text_is_looked_up(trained: Callable[..., Path]) -> None:
    """The tokenizer sees each different chunk once."""
    tokenizer = open_tokenizer(trained("bpe"))
    seen: list[str] = []
    batch = tokenizer.encode_batch

    def watched(texts: list[str], *, further: bool = False) -> list[list[int]]:
        seen.extend(texts)
        return batch(texts, further=further)

    tokenizer.encode_batch = watched  # type: ignore[assignment,method-assign]
    encoder = Encoder(tokenizer)
    text = "The whale and the ship, and the whale. " * 50
    assert rows(encoder, [text, text]) == [batch([text])[0]] * 2
    assert len(seen) == len(set(seen)) == 9  # The, " whale", " and", " the", " ship", ",", ".", " ", " The"
    rows(encoder, [text])
    assert len(seen) == 9


def test_edges_and_missing_texts(trained: Callable[..., Path]) -> None:
    tokenizer = open_tokenizer(trained("bpe"))
    encoder = Encoder(tokenizer)
    whale = tokenizer.encode("whale")
    assert rows(encoder, ["whale", None, ""], first=1, last=2) == [[1, *whale, 2], [1, 2], [1, 2]]
    assert rows(encoder, ["whale"], last=2) == [[*whale, 2]]
    ids, ends = encoder.encode(pa.array([], pa.string()))
    assert (len(ids), len(ends)) == (0, 0)


def test_batches_are_of_bytes() -> None:
    texts = pa.array(["a" * 10, "b" * 10, None, "c" * 50, "d"])
    parts = [part.to_pylist() for part in batches_of(texts, 25)]
    assert [text for part in parts for text in part] == texts.to_pylist()
    assert [len(part) for part in parts] == [3, 2]
