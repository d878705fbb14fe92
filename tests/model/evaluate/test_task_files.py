"""Tasks as files: every kind read and measured; wrong lines are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamina.kit.errors import ConfigError, InputError, NotFoundError
from lamina.model.evaluate.minimal_pairs import MinimalPair
from lamina.model.evaluate.multiple_choice import Choice
from lamina.model.evaluate.task_files import read_task

BLIMP = {"sentence_good": "the whale swims", "sentence_bad": "the whale swim", "UID": "agreement", "pairID": "0"}
CHOICE = {"context": "the whale", "choices": ["swims", "sails"], "answer": 0}
KINDS = {
    "minimal pairs": ([BLIMP, {"good": "cats sit", "bad": "cats sits"}], "gpt2", 1),
    "multiple choice": ([CHOICE, CHOICE | {"answer": "sails"}], "t5", 1),
    "classification": ([{"text": "the sea", "label": 0}, {"text": "a ship", "label": "2"}], "bert-classify", 4),
    "translation": ([{"source": "the sea", "target": "a"}, {"source": "a ship", "target": "b"}], "marian", 2),
    "similarity": ([{"a": a, "b": b, "score": n} for n, (a, b) in enumerate(["ab", "bc", "cd", "da"])], "bert-mlm", 1),
}


def write(folder: Path, *rows: object) -> Path:
    file = folder / "mine.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_read_and_measured(opened, tmp_path, kind):
    rows, variant, count = KINDS[kind]
    model, _, tokenizer = opened(variant)
    task = read_task(write(tmp_path, *rows, ""))
    assert (task.kind, task.name, len(task.items)) == (kind, "mine", len(rows))
    scores = task.measure(model, tokenizer)
    assert len(scores) == count
    assert all("mine" in str(score) and score.n == len(rows) for score in scores)


def test_texts_are_measured_as_the_model_can(opened, tmp_path):
    task = read_task(write(tmp_path, {"text": "the whale swims"}, {"text": "a ship sails"}))
    assert task.measure(*opened("gpt2")[::2])[0].asked.normalisation.startswith("-log2 p")
    assert "hidden" in task.measure(*opened("bert-mlm")[::2])[0].asked.normalisation
    with pytest.raises(ConfigError, match="source"):
        task.measure(*opened("t5")[::2])


def test_what_a_line_becomes(tmp_path):
    assert read_task(write(tmp_path, BLIMP)).items == (MinimalPair("the whale swims", "the whale swim", "agreement"),)
    found = read_task(write(tmp_path, CHOICE | {"cluster": 7}, CHOICE | {"answer": "sails"})).items
    assert found == (Choice("the whale", ("swims", "sails"), 0, "7"), Choice("the whale", ("swims", "sails"), 1))


def test_classes_have_names(opened, tmp_path):
    model, _, tokenizer = opened("bert-classify")
    task = read_task(write(tmp_path, {"text": "the sea", "label": "bad"}, {"text": "a ship", "label": "good"}))
    assert task.measure(model, tokenizer, classes=["bad", "fair", "good"])[0].n == 2
    with pytest.raises(InputError, match=r"item 0: .*'bad' is none of 0, 1, 2"):
        task.measure(model, tokenizer)
    with pytest.raises(ConfigError, match="2 names for 3"):
        task.measure(model, tokenizer, classes=["bad", "good"])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "no items"),
        (("", " "), "no items"),
        ((BLIMP, "{"), "mine.jsonl:2: is not JSON"),
        ((["a"],), "not an object"),
        (({"question": "x"},), "question are of no task.*minimal pairs: good, bad"),
        ((BLIMP, CHOICE), "mine.jsonl:2: has no 'good', as minimal pairs need"),
        (({"good": 1, "bad": "x"},), "'good' must be text, not int"),
        ((CHOICE | {"choices": ["one"]},), "at least two"),
        ((CHOICE | {"choices": ["one", ""]},), "at least two"),
        ((CHOICE | {"answer": 2},), "answer 2 is none"),
        ((CHOICE | {"answer": True},), "answer True is none"),
        ((CHOICE | {"answer": "walks"},), "answer 'walks' is none"),
        (({"a": "x", "b": "y", "score": "high"},), "'score' must be a number"),
    ],
)
def test_wrong_files_are_told(tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        read_task(write(tmp_path, *rows))


def test_no_file(tmp_path):
    with pytest.raises(NotFoundError, match="no such file"):
        read_task(tmp_path / "none.jsonl")
