"""``[[data.augment]]`` from the stack file into a corpus, and ``lamina data augment``, as a person runs it."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lamina.cli import main
from lamina.data.labelling import propose
from lamina.data.tokenizer.sample import draw
from lamina.kit.errors import ConfigError
from lamina.kit.progress import open_progress
from lamina.kit.stages import Workshop
from lamina.recipes.corpus_tools import corpus_folder
from lamina.recipes.plan import Plan
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import build_data

HEAD = """name = "x"
[data]
workers = 1
held_out = 0.25
steps = []
[[data.sources]]
use = "files"
name = "notes"
from = "notes"
license = "MIT"
language = "en"
[[data.sources]]
use = "files"
name = "letters"
from = "letters"
language = "en"
"""
AUGMENT = """[data.augmentation]
max_share = %s
seed = %s
[[data.augment]]
use = "swap"
alpha = %s
copies = 2
[[data.augment]]
use = "noise"
sources = ["notes"]
"""
USED = AUGMENT % (0.4, 7, 0.3)
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(seed: str, count: int = 40) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(count)).capitalize() + "."


def write(folder: Path) -> None:
    for source in ("notes", "letters"):
        (folder / source).mkdir()
        for number in range(30):
            (folder / source / f"{number}.txt").write_text(prose(f"{source} {number}"))


def opened(folder: Path, text: str, name: str = "lamina.toml") -> Stack:
    (folder / name).write_text(HEAD + text)
    return open_stack(folder / name)


def key(stack: Stack) -> str:
    progress = open_progress("quiet")
    workshop = Workshop(stack.state, progress)
    return workshop.key(Plan(stack, workshop, progress).corpus)


def documents(corpus: Path, split: str = "*") -> list[dict[str, Any]]:
    return [r for f in sorted((corpus / "data").glob(f"{split}-*.parquet")) for r in pq.read_table(f).to_pylist()]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("augment")
    write(folder)
    found = opened(folder, USED)
    build_data(found, json=True)
    return found


@pytest.fixture(scope="module")
def children(stack: Stack) -> list[dict[str, Any]]:
    return [row for row in documents(corpus_folder(stack)) if row["parent_id"]]


def test_children_are_those_of_training_documents_alone(stack: Stack, children: list[dict[str, Any]]) -> None:
    corpus = corpus_folder(stack)
    originals = {row["id"]: row for row in documents(corpus) if not row["parent_id"]}
    held_out = documents(corpus, "held_out")
    assert len(originals) == 60
    assert 10 <= len(held_out) <= 20
    assert {row["split"] for row in held_out} == {"held-out"}
    assert not [row for row in held_out if row["parent_id"]]
    assert len(children) > 20
    assert {originals[child["parent_id"]]["split"] for child in children} == {"train"}


def test_children_carry_where_they_come_from(stack: Stack, children: list[dict[str, Any]]) -> None:
    originals = {row["id"]: row for row in documents(corpus_folder(stack)) if not row["parent_id"]}
    for child in children:
        parent = originals[child["parent_id"]]
        assert child["split"] == "train"
        assert [child[name] for name in ("source", "license", "group_id")] == [
            parent[name] for name in ("source", "license", "group_id")
        ]
        assert child["text"] != parent["text"]
        told = json.loads(child["meta"])["augmented"]
        assert set(told) == {"operation", "parameters", "seed", "copy"}
        assert told["seed"] == 7
        if told["operation"] == "swap":
            assert told["parameters"]["alpha"] == 0.3
            assert told["copy"] in (0, 1)
    by_operation = {
        name: {c["source"] for c in children if json.loads(c["meta"])["augmented"]["operation"] == name}
        for name in ("swap", "noise")
    }
    assert by_operation == {"swap": {"notes", "letters"}, "noise": {"notes"}}


def test_the_budget_of_characters_holds(stack: Stack, children: list[dict[str, Any]]) -> None:
    train = sum(len(row["text"]) for row in documents(corpus_folder(stack), "train"))
    assert 0.33 < sum(len(child["text"]) for child in children) / train <= 0.4
    told = json.loads((corpus_folder(stack) / "report.json").read_bytes())["augmentation"]
    assert told["children"] == len(children)
    assert told["over_budget"] > 0, "more could have been made"


def test_other_parts_take_documents_alone(stack: Stack, children: list[dict[str, Any]]) -> None:
    corpus = corpus_folder(stack)
    proposed, _ = propose(corpus, [], 1000)
    assert len({row["id"] for row in proposed}) == 60
    assert not {row["id"] for row in proposed} & {child["id"] for child in children}
    assert json.loads((corpus / "variety.json").read_bytes())["documents"] == 60
    sample = draw(sorted((corpus / "data").glob("train-*.parquet")))
    assert sample.total == sum(len(row["text"]) for row in documents(corpus, "train") if not row["parent_id"])


@pytest.mark.parametrize(
    "text",
    [
        AUGMENT % (0.3, 7, 0.3),
        AUGMENT % (0.4, 8, 0.3),
        AUGMENT % (0.4, 7, 0.2),
        USED + 'kinds = ["ocr"]\n',
        USED.replace('sources = ["notes"]', 'sources = ["letters"]'),
        USED + '[[data.augment]]\nuse = "deletion"\n',
        "",
    ],
    ids=["max_share", "seed", "alpha", "kinds", "sources", "another", "none"],
)
def test_a_change_of_augmentation_makes_the_corpus_stale(stack: Stack, text: str) -> None:
    changed = opened(stack.folder, text, "changed.toml")
    assert key(changed) != key(stack)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("workers = 1", "workers = 2"),
        ('use = "swap"', 'use="swap"   # exchanges words'),
        ("max_share = 0.4\nseed = 7", "seed = 7\nmax_share = 0.40"),
        ('[data.augmentation]', '[interface]\nport = 8123\n[data.augmentation]'),
    ],
    ids=["workers", "comment", "order", "port"],
)  # fmt: skip
def test_nothing_else_does(stack: Stack, old: str, new: str) -> None:
    text = (HEAD + USED).replace(old, new, 1)
    assert text != HEAD + USED
    (stack.folder / "same.toml").write_text(text)
    same = open_stack(stack.folder / "same.toml")
    assert key(same) == key(stack)


def test_what_a_table_reads_counts_by_its_content(tmp_path: Path) -> None:
    write(tmp_path)
    words = tmp_path / "words.json"
    table = '[[data.augment]]\nuse = "synonyms"\nthesaurus = "words.json"\n'
    words.write_text('{"sea": ["ocean"]}')
    first = key(opened(tmp_path, table))
    os.utime(words, (1, 1))
    assert key(opened(tmp_path, table)) == first, "its time is nothing"
    words.write_text('{"sea": ["waters"]}')
    assert key(opened(tmp_path, table)) != first
    (tmp_path / "notes" / "0.txt").write_text(prose("another"))
    words.write_text('{"sea": ["ocean"]}')
    assert key(opened(tmp_path, table)) != first, "the documents are its input"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[data.augment]]\nuse = "swop"\n', r"lamina\.toml: data\.augment\.0: .*'swop'.*did you mean 'swap'"),
        ('[[data.augment]]\nalpha = 0.1\n', r"data\.augment\.0: the key 'use' is missing \(known: .*swap"),
        ('[[data.augment]]\nuse = "swap"\nalfa = 0.1\n', r"data\.augment\.0.*alfa.*did you mean 'alpha'"),
        ('[[data.augment]]\nuse = "swap"\nalpha = 0\n', r"data\.augment\.0: alpha is 0"),
        ('[[data.augment]]\nuse = "swap"\ncopies = 0\n', r"data\.augment\.0: copies is 0"),
        ('[[data.augment]]\nuse = "swap"\nseed = 1\n', r"'seed' stands in no table .*data\.augmentation\.seed"),
        ('[[data.augment]]\nuse = "swap"\nsources = ["note"]\n', r"data\.augment\.0\.sources: .*did you mean 'notes'"),
        (USED.replace("0.4", "1.5"), r"data\.augmentation: max_share is 1\.5"),
        (USED.replace("max_share", "maxshare"), r"augmentation.*maxshare.*did you mean 'max_share'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError, match=said):
        build_data(opened(tmp_path, text), json=True)
    assert not (tmp_path / ".lamina" / "corpora").exists()


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """``lamina data augment`` in this process: exit code, what it wrote, what it complained of."""
    monkeypatch.setattr(sys, "argv", ["lamina", "data", "augment", *words])
    before = signal.getsignal(signal.SIGTERM)
    try:
        main()
        code: Any = 0
    except SystemExit as end:
        code = end.code
    finally:
        signal.signal(signal.SIGTERM, before)
    told = capsys.readouterr()
    return int(code or 0), told.out, told.err


def test_the_command_shows_what_would_be(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(p for p in stack.state.rglob("*") if "stages" not in p.parts)
    code, out, _ = run(capsys, monkeypatch, "--stack", str(stack.file))
    assert code == 0
    assert "nothing was kept" in out
    assert "swap (alpha = 0.3, copies = 2)" in out
    assert out.count("\n  - ") == out.count("\n  + ") == 4
    code, out, _ = run(capsys, monkeypatch, "--stack", str(stack.file), "--json", "--set", "data.augmentation.seed=9")
    told = json.loads(out)
    assert (code, told["seed"], told["max_share"]) == (0, 9, 0.4)
    assert [o["operation"] for o in told["operations"]] == ["swap", "noise"]
    assert sorted(p for p in stack.state.rglob("*") if "stages" not in p.parts) == before


def test_the_command_judges(stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--stack", str(stack.file), "--verdict", "--seeds", "2")
    code, out, _ = run(capsys, monkeypatch, *words, "--json")
    told = json.loads(out)
    assert (code, told["metric"], told["seeds"]) == (0, "bits per byte", 2)
    assert [trial["label"] for trial in told["trials"]][:2] == ["swap", "noise"]
    for trial in told["trials"]:
        assert all(f["better"][1] <= f["better"][0] <= f["better"][2] for f in trial["findings"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--seeds", "3"], 2, "add --verdict"),
        (["--verdict", "--seeds", "many"], 2, "valid integer"),
        (["--verdict", "--seeds", "1"], None, "from 2 (one says nothing of chance) to 50"),
        (["--verdict", "--label", "topic", "--seeds", "2"], None, "with a 'topic'"),
        (["--verdict", "--lable", "topic"], 2, "No such option"),
        (["--set", "data.augment=[]"], None, "has no [[data.augment]] table"),
        (["--set", 'data.augment=[{use = "swop"}]'], None, "did you mean 'swap'?"),
        (["--set", "data.held_out=0.5"], None, "the corpus is not built"),
    ],
)
def test_the_command_says_what_is_wrong(
    stack: Stack,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int | None,
    said: str,
) -> None:
    got, out, err = run(capsys, monkeypatch, "--stack", str(stack.file), *words)
    assert got == code if code else got > 0
    assert said in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in out + err
