from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.contracts.chat import Message
from lamina.contracts.corpus import DOCUMENTS
from lamina.data.tokenizer.train import train_tokenizer
from lamina.kit.errors import ConfigError, InputError
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer

TEXT = "The whale and the ship went to the island, and the keeper of the lighthouse saw them at 10 o'clock. "


def corpus(folder: Path, texts: list[str]) -> Path:
    (folder / "data").mkdir(parents=True)
    rows = [{"id": f"d{i}", "text": t, "source": "s", "split": "train"} for i, t in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), folder / "data" / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bpe")
    train_tokenizer(corpus(place / "c", [TEXT * 5, "Ein Wal. " * 20]), place / "t", vocabulary=400)
    return place / "t"


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> ModelTokenizer:
    return open_tokenizer(folder)


def test_words_of_the_corpus_are_few_tokens(tokenizer: ModelTokenizer) -> None:
    assert tokenizer.vocabulary <= 400
    assert len(tokenizer.encode(TEXT)) < len(TEXT) / 2.5
    assert len(tokenizer.encode("2024")) == 4


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(tokenizer: ModelTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & {0, 1, 2}  # control tokens never come from text


def test_ends_and_template(tokenizer: ModelTokenizer) -> None:
    assert tokenizer.end_ids == (tokenizer.id_of("<|endoftext|>"), tokenizer.id_of("<|im_end|>"))
    rendered = tokenizer.render([Message("user", "the whale"), Message("assistant", "the ship")])
    learned = [i for i, mark in zip(rendered.ids, rendered.learned, strict=True) if mark]
    assert learned == [*tokenizer.encode("the ship"), tokenizer.id_of("<|im_end|>")]


def test_transformers_opens_it_too(folder: Path, tokenizer: ModelTokenizer) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("transformers is not installed")
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(str(folder))
    assert theirs.encode(TEXT, add_special_tokens=False) == tokenizer.encode(TEXT)
    chat = [{"role": "user", "content": "the whale"}]
    ids = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert ids == tokenizer.render([Message("user", "the whale")], open_answer=True).ids


def test_training_is_deterministic(tmp_path: Path) -> None:
    place = corpus(tmp_path / "c", [TEXT * 5])
    for name in ("a", "b"):
        train_tokenizer(place, tmp_path / name, vocabulary=320)
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()


def test_one_long_document_does_not_decide(tmp_path: Path) -> None:
    place = corpus(tmp_path / "c", [("y" * 9 + " ") * 1000 + "zqzqzq " * 5000, "abc abc abc"])
    train_tokenizer(place, tmp_path / "t", vocabulary=300)
    assert len(open_tokenizer(tmp_path / "t").encode("zqzqzq")) == 6  # beyond the first 10,000 characters


def test_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="259"):
        train_tokenizer(corpus(tmp_path / "c", ["a"]), tmp_path / "t", vocabulary=200)
    with pytest.raises(InputError, match="no document"):
        train_tokenizer(tmp_path / "nothing", tmp_path / "t", vocabulary=300)
