"""``lamina data tokenizers`` and ``lamina data export`` on a small corpus, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamina.kit.errors import ConfigError, InputError, ModelFileError, NotFoundError
from lamina.kit.tokenizer import open_tokenizer
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.tokenizers import compare, export, listed, sizes
from lamina.recipes.up import build_data

HEAD = """name = "x"
[data]
steps = []
held_out = 0.3
[[data.sources]]
use = "files"
name = "sea"
from = "sea"
[[data.sources]]
use = "files"
name = "land"
from = "land"
[data.tokenizer]
"""
SENTENCES = ["The whale swam round the island {}.", "A keeper of the lighthouse saw {} ships at night.", "Wale {} mal."]


def stack_of(folder: Path, tokenizer: str, more: str = "") -> Stack:
    (folder / "lamina.toml").write_text(HEAD + tokenizer + more)
    return open_stack(folder / "lamina.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizers")
    for source in ("sea", "land"):
        (place / source).mkdir()
        for n in range(12):
            text = " ".join(s.format(n) for s in SENTENCES * (3 + n % 3))
            (place / source / f"{n}.txt").write_text(f"{source} {n}. {text}")
    build_data(stack_of(place, 'use = "bpe"\nvocabulary = 300\n'), json=True)
    return place


def test_candidates_are_trained_measured_and_kept(folder: Path) -> None:
    stack = stack_of(folder, 'use = "bpe"\nvocabulary = 300\n')
    told = compare(stack, uses=["bpe", "wordpiece"], as_json=True)
    assert told["measured"]["held_out"] is True
    figures = {t["name"]: t for t in told["tokenizers"]}
    assert list(figures) == ["bpe 300", "wordpiece 300"]
    for found in figures.values():
        assert set(found["sources"]) == {"land", "sea"}
        assert found["bytes_per_token"] > 1
        assert found["embedding_parameters"] == found["vocabulary"] * 768
    assert figures["bpe 300"]["comes_back"] == 1.0
    assert told["verdict"][0].startswith("300 ids: ")
    kept = set((stack.state / "tokenizers").iterdir())
    text = compare(stack, uses=["bpe"], vocabularies=[300], held_out=False)
    assert set((stack.state / "tokenizers").iterdir()) == kept, "nothing is trained twice"
    assert text.splitlines()[0].split()[:5] == ["tokenizer", "ids", "bytes/token", "land", "sea"]


def test_tokenizers_that_are_there_already(folder: Path) -> None:
    stack = stack_of(folder, 'use = "bpe"\nvocabulary = 300\n')
    compare(stack, uses=["bpe"])
    made = next((stack.state / "tokenizers").iterdir())
    for place in (made, made / "tokenizer.json"):
        told = compare(stack, uses=["bpe"], places=[str(place)], as_json=True)
        assert told["tokenizers"][1]["name"] == str(place)
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(ModelFileError, match=r"holds no tokenizer\.json"):
        compare(stack, uses=["bpe"], places=[str(folder / "empty")])


def test_tokens_for_another_trainer(folder: Path) -> None:
    stack = stack_of(folder, 'use = "bpe"\nvocabulary = 300\n')
    told = export(stack, folder / "out", format="nanogpt", as_json=True)
    assert [Path(file).name for file in told["files"]] == ["meta.json", "train.bin", "val.bin"]
    assert told["splits"]["train"]["documents"] + told["splits"]["held-out"]["documents"] == 24
    tokenizer = open_tokenizer(next((stack.state / "tokenizers").glob("*/ranks.tiktoken")).parent)
    ids = np.fromfile(folder / "out" / "train.bin", "<u2").tolist()
    meta = json.loads((folder / "out" / "meta.json").read_text())
    assert ids.count(meta["eot_token"]) == told["splits"]["train"]["documents"]
    assert "whale swam round the island" in tokenizer.decode(ids)
    assert "bytes" in export(stack, folder / "out2", format="megatron")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: compare(s, uses=["morse"]), "there is no tokenizer 'morse'"),
        (lambda s: export(s, Path("nowhere"), format="csv"), "there is no format 'csv'"),
        (lambda s: sizes("8k"), "'8k' is no list of numbers"),
    ],
)
def test_wrong_words(folder: Path, change: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        change(stack_of(folder, 'use = "bpe"\nvocabulary = 300\n'))
    assert (listed("a, b,"), sizes("1,2")) == (["a", "b"], [1, 2])


def test_what_a_stack_cannot_ask_for(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none is trained"):
        export(stack_of(folder, 'use = "base"\n'), tmp_path / "o", format="olmo")
    gpt = '[model]\narchitecture = "gpt"\npreset = "tiny"\n[model.train]\nmethod = "full"\nsteps = 1\n'
    stack = stack_of(folder, 'use = "wordpiece"\nvocabulary = 300\n', gpt)
    with pytest.raises(ConfigError, match="WordPiece does not give text back"):
        export(stack, tmp_path / "o", format="olmo")
    (folder / "lamina.toml").write_text(HEAD.replace("held_out = 0.3", "held_out = 0.0"))
    nothing = open_stack(folder / "lamina.toml")
    with pytest.raises(NotFoundError, match="is not built"):
        compare(nothing)
    build_data(nothing, json=True)
    with pytest.raises(InputError, match="no held-out documents"):
        compare(nothing)
