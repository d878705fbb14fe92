"""Which word vectors a stack serves, under which names, and how texts become their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamina.data.tokenizer.train import train_tokenizer
from lamina.kit.errors import ConfigError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.vector_files import write_vectors
from lamina.recipes.current import Current, remember
from lamina.recipes.fresh import FILE, pieces_of
from lamina.recipes.rows import _write_texts
from lamina.recipes.served_vectors import EMBEDDING, served_vectors, words_of
from lamina.recipes.stack import Stack, open_stack

FRESH = """
[data]
[[data.sources]]
use = "files"
from = "notes"
[data.tokenizer]
use = "wordpiece"
[model]
architecture = "bert"
preset = "bert-nano"
[model.embedding]
init = "%s"
[model.train]
objective = "masked-lm"
method = "full"
"""


def opened(folder: Path, text: str) -> Stack:
    (folder / "lamina.toml").write_text(f'name = "pequod"\n{text}')
    return open_stack(folder / "lamina.toml")


def keyed(*words: str) -> KeyedVectors:
    return KeyedVectors(words, np.eye(len(words), 8, dtype=np.float32) + 0.1)


def test_files_by_their_names(tmp_path: Path) -> None:
    write_vectors(keyed("whale", "sea"), tmp_path / "one.bin")
    write_vectors(keyed("Whale", "sea"), tmp_path / "two.txt", form="text")
    given = '[model]\nbase = "b"\n[deployment.vectors]\nwords = "one.bin"\nnames = "two.txt"\n'
    first, second = served_vectors(opened(tmp_path, given))
    assert (first.name, second.name) == ("words", "names")
    lower, upper = first.embed(["Whale!", "whale"]).vectors
    assert np.array_equal(lower, upper)
    assert not np.array_equal(*second.embed(["Whale sea", "sea"]).vectors)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('pequod = "v.bin"', "taken"),
        ('tuned = "v.bin"', "taken"),
        ('champion = "v.bin"', "taken"),
        ('words = "none.bin"', "no file"),
    ],
)
def test_names_that_are_taken_and_files_that_are_not_there(tmp_path: Path, line: str, what: str) -> None:
    write_vectors(keyed("whale", "sea"), tmp_path / "v.bin")
    adapters = '[deployment.adapters]\ntuned = "a"\n'
    stack = opened(tmp_path, f'[model]\nbase = "b"\n{adapters}[deployment.vectors]\n{line}\n')
    with pytest.raises(ConfigError, match=what) as raised:
        served_vectors(stack)
    assert "deployment.vectors." in str(raised.value)


@pytest.mark.parametrize("init", ["glove", "mine.bin"])
def test_those_of_the_embedding_layer(tmp_path: Path, init: str) -> None:
    stack = opened(tmp_path, FRESH % init)
    assert served_vectors(stack) == []
    base, made = stack.state / "bases" / "b", stack.state / "vectors" / "v"
    made.mkdir(parents=True)
    _write_texts(tmp_path / "data", [{"text": "the whale swims in the sea near the old harbour"}])
    train_tokenizer(tmp_path, base, use="wordpiece", vocabulary=300)
    remember(stack, Current(base="b", vectors="v"))
    assert served_vectors(stack) == [], "it went with what was forgotten"
    tokenizer = open_tokenizer(base)
    words = pieces_of(tokenizer) if init == "glove" else ["whale", "sea"]
    write_vectors(KeyedVectors(words, np.eye(len(words), dtype=np.float32)), made / FILE)
    (found,) = served_vectors(stack)
    told = found.embed(["whale sea"])
    assert told.version == EMBEDDING
    where = set(np.flatnonzero(told.vectors[0]).tolist())
    assert where == (set(tokenizer.encode("whale sea")) if init == "glove" else {0, 1})


def test_words_are_cut_as_in_training() -> None:
    assert words_of(keyed("sea", "whale"))("The WHALE's 2 seas, 海中") == ["the", "whale", "s", "2", "seas", "海", "中"]
    assert words_of(keyed("Sea", "whale"))("The WHALE") == ["The", "WHALE"]
