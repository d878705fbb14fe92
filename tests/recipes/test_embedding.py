"""Embedding layers that begin as word vectors, from a stack file to the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamina.kit.errors import ConfigError, InputError
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.vectors.keyed_vectors import KeyedVectors
from lamina.model.vectors.vector_files import read_vectors, write_vectors
from lamina.recipes.fresh import FILE, pieces_of
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import bring_up

STACK = """
name = "embedded"
[data]
held_out = 0.2
steps = [{ transform = "normalize" }]
[[data.sources]]
use = "files"
name = "notes"
from = "notes"
[data.tokenizer]
use = "%(use)s"
vocabulary = 400
[model]
architecture = "%(architecture)s"
preset = "%(preset)s"
[model.embedding]
init = "%(init)s"
epochs = 2
train = %(train)s
[model.train]
objective = "%(objective)s"
method = "full"
steps = 3
batch = 2
length = 32
"""
GPT = {"use": "bpe", "architecture": "gpt", "preset": "nano", "objective": "causal-lm", "init": "word2vec"}
BERT = {"use": "wordpiece", "architecture": "bert", "preset": "bert-nano", "objective": "masked-lm", "init": "glove"}


def write(folder: Path, **settings: Any) -> Path:
    (folder / "notes").mkdir()
    for number in range(12):
        words = f"The whale number {number} swims in the cold sea and the gull flies over the warm harbour. " * 6
        (folder / "notes" / f"{number}.txt").write_text(words)
    (folder / "lamina.toml").write_text(STACK % ({"train": "true"} | settings))
    return folder / "lamina.toml"


def built(file: Path) -> Stack:
    bring_up(file, [], places=[], serve=False, json=False)
    return open_stack(file)


def only(folder: Path) -> Path:
    (found,) = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return found


@pytest.mark.parametrize(("settings", "train"), [(GPT, "true"), (BERT, "false")])
def test_a_model_begins_as_its_vectors(tmp_path: Path, settings: dict[str, str], train: str) -> None:
    stack = built(write(tmp_path, **settings, train=train))
    state = stack.state
    vectors = read_vectors(only(state / "vectors") / FILE)
    bases = [path for path in (state / "bases").iterdir() if (path / "config.json").is_file()]
    (base,) = bases
    table = open_model(base).stack.embeddings.token.weight.detach()
    pieces = pieces_of(open_tokenizer(base))
    known = [n for n, piece in enumerate(pieces) if piece in vectors]
    assert len(known) > 20
    # Angles are the vectors': how alike any two rows are follows how alike the words are. The table is centred over all
    # rows that vectors gave, parts of words among them, so both are centred over the same ones here.
    words = np.stack([vectors[pieces[n]] for n in known])
    given = table[known].numpy()[:, : words.shape[1]]
    mine, theirs = (rows @ rows.T for rows in (given - given.mean(axis=0), words - words.mean(axis=0)))
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.999
    assert table.std().item() == pytest.approx(0.02, rel=0.2)
    runs = state / "runs"
    assert torch.equal(trained(only(runs)), table) == (train == "false")
    if train == "true":  # the same once more, with what stands but for the training
        before = only(runs)
        bring_up(tmp_path / "lamina.toml", ["model.embedding.train=false"], places=[], serve=False, json=False)
        assert len(list((state / "vectors").glob("[!.]*"))) == 1
        (after,) = [run for run in runs.glob("[!.]*") if run.is_dir() and run != before]
        assert torch.equal(trained(after), table)


def trained(run: Path) -> torch.Tensor:
    return open_model(run / "model").stack.embeddings.token.weight.detach()


def test_vectors_from_a_file(tmp_path: Path) -> None:
    given = KeyedVectors(["whale", "gull"], np.eye(2, 64, dtype=np.float32))
    write_vectors(given, tmp_path / "mine.bin")
    stack = built(write(tmp_path, **BERT | {"init": "mine.bin"}))
    base = only(stack.state / "bases")
    table, tokenizer = open_model(base).stack.embeddings.token.weight.detach(), open_tokenizer(base)
    whale, gull = (table[tokenizer.encode(word)[0]] for word in ("whale", "gull"))
    assert torch.nn.functional.cosine_similarity(whale[:64], gull[:64], dim=0) < -0.9  # centred, two stand opposite


def test_what_does_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no-such\.bin"):
        built(write(tmp_path, **BERT | {"init": "no-such.bin"}))
    (tmp_path / "lamina.toml").write_text('name = "x"\n[model]\nbase = "b"\n[model.embedding]\ninit = "glove"\n')
    with pytest.raises(ConfigError, match="a base has its embeddings"):
        open_stack(tmp_path / "lamina.toml")
