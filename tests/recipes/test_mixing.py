"""``[data.mixture]`` from the stack file into a training run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lamina.contracts.corpus import SourceFile
from lamina.data.pipeline import SourceInput, build_corpus
from lamina.kit.errors import ConfigError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes import corpus as data_stages
from lamina.recipes import fresh, training
from lamina.recipes.mixing import check_mixture, mixture_stage
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack, open_stack

KINDS = {"books": 40, "chats": 4}
FILE = """
name = "x"
[[data.sources]]
use = "files"
name = "books"
from = "books"
[[data.sources]]
use = "files"
name = "chats"
from = "chats"
[data.mixture]
temperature = "uniform"
max_epochs = 50
%s
[model]
architecture = "gpt"
preset = "nano"
[model.train]
method = "full"
steps = 30
batch = 2
length = 32
replay = 0.25
"""


def open_with(folder: Path, text: str = "", *, name: str = "lamina.toml") -> Stack:
    for kind, count in KINDS.items():
        (folder / kind).mkdir(exist_ok=True)
        for number in range(count):
            words = f"This is number {number} of the {kind}. It speaks of the ship and of the sea. " * 6
            (folder / kind / f"{number}.txt").write_text(words)
    (folder / name).write_text(FILE % text)
    return open_stack(folder / name)


def test_a_run_is_trained_on_the_mixture(tmp_path: Path) -> None:
    stack = open_with(tmp_path)
    quiet = open_progress("quiet")
    corpus, tokenizer, tokens, base = (tmp_path / n for n in ("corpus", "tokenizer", "tokens", "base"))
    for folder in (corpus, tokenizer, tokens, base, tmp_path / "run", tmp_path / "work"):
        folder.mkdir()
    sources = [
        SourceInput(
            name=kind,
            use="files",
            files=tuple(SourceFile(name=f.name, path=f) for f in sorted((tmp_path / kind).iterdir())),
        )
        for kind in KINDS
    ]
    build_corpus(corpus, tmp_path / "w", sources=sources, steps=[], held_out=0.0, progress=quiet)
    data_stages.train_tokenizer(tokenizer, tmp_path, {"vocabulary": 300}, {"corpus": corpus}, quiet)
    both = {"corpus": corpus, "tokenizer": tokenizer}
    data_stages.tokenize(tokens, tmp_path, {"replay": True, "seed": 0, "context": {"reuse": None}}, both, quiet)
    fresh.fresh_model(base, tmp_path, {"preset": "nano", "seed": 0}, both, quiet)
    parameters, inputs = mixture_stage(stack, corpus)
    assert inputs == {"corpus": corpus}
    assert stack.model is not None
    given = {"train": stack.table["model"]["train"], **parameters, "context": {"stack": stack.table}}
    said = io.StringIO()
    inputs |= {"base": base, "tokens": tokens}
    training.train_on_documents(tmp_path / "run", tmp_path / "work", given, inputs, open_progress("plain", stream=said))
    assert "plan: mixture by source, uniform, at most 50 epochs" in said.getvalue()
    found = json.loads((tmp_path / "run" / "run.json").read_text())["mixture"]
    books, chats = found["groups"]
    assert (books["name"], books["documents"], chats["name"], chats["documents"]) == ("books", 40, "chats", 4)
    assert books["natural"] > 0.85
    assert books["share"] == chats["share"] == 0.5
    # 30 steps of 2 rows, a quarter of them chat rows; as many rows of either source
    state = json.loads(next((tmp_path / "work" / "checkpoints").rglob("*.json")).read_text())
    drawn = state["stream"]["drawn"] if "stream" in state else state["state"]["stream"]["drawn"]
    assert sum(drawn) == 60
    assert drawn[2] == 15
    assert abs(drawn[0] - drawn[1]) <= 2


def test_a_stack_without_a_mixture_has_the_key_that_it_had(tmp_path: Path) -> None:
    (tmp_path / "lamina.toml").write_text('name = "x"\n[[data.sources]]\nuse = "files"\nfrom = "."\n')
    assert mixture_stage(open_stack(tmp_path / "lamina.toml"), tmp_path) == ({}, {})


def test_unknown_groups_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    stack = open_with(tmp_path, "weights = { boks = 0.5 }")
    plan = Plan(stack, Workshop(tmp_path / "state", open_progress("quiet")), open_progress("quiet"))
    with pytest.raises(
        ConfigError, match=r"lamina.toml: data.mixture.weights: there is no source 'boks' \(did you mean"
    ):
        _ = plan.corpus
    check_mixture(open_with(tmp_path, "weights = { books = 0.5 }"), sources=["books", "chats"])


def test_languages_and_topics_are_checked_against_the_corpus(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "report.json").write_text(json.dumps({"sources": {}, "languages": {"en": 3, "fr": 1}}))
    (corpus / "variety.json").write_text(json.dumps({"topics": [{"name": "whale, sea, ship"}]}))
    check_mixture(open_with(tmp_path, 'by = "language"\nweights = { fr = 0.5 }'), corpus=corpus)
    check_mixture(open_with(tmp_path, 'by = "cluster"\nweights = { "whale, sea, ship" = 0.5 }'), corpus=corpus)
    with pytest.raises(ConfigError, match="there is no language 'de'"):
        check_mixture(open_with(tmp_path, 'by = "language"\nweights = { de = 0.5 }'), corpus=corpus)
    with pytest.raises(ConfigError, match=r"there is no cluster 'whale, sea' \(did you mean 'whale, sea, ship'"):
        check_mixture(open_with(tmp_path, 'by = "cluster"\nweights = { "whale, sea" = 0.5 }'), corpus=corpus)
    check_mixture(open_with(tmp_path, 'by = "cluster"\nweights = { x = 0.5 }'), corpus=tmp_path / "not yet")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cap = 2.0", "cap = 2 is no share"),
        ('by = "author"', "'author' is not one of 'source', 'language', 'cluster'"),
        ("max_epoch = 4", "did you mean 'max_epochs'"),
        ("weights = { books = -1 }", "weights are 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    text = FILE.replace("max_epochs = 50\n%s", text)
    (tmp_path / "lamina.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        open_stack(tmp_path / "lamina.toml")
