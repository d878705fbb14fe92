"""Tasks that a user brings: measured, perturbed by the data layer, compared before and after."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from lamina.kit.errors import ConfigError, InputError, NotFoundError
from lamina.kit.progress import open_progress
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.architectures.gpt import llama
from lamina.model.checkpoint import save_model
from lamina.model.evaluate.task_files import read_task
from lamina.model.transformer import Transformer
from lamina.recipes import row_evaluation
from lamina.recipes.evaluation import evaluate
from lamina.recipes.row_evaluation import evaluate_rows
from lamina.recipes.rows import write_rows
from lamina.recipes.stack import open_stack
from lamina.recipes.task_evaluation import evaluate_on_tasks
from lamina.recipes.tasks import perturbations, questions_of, run_tasks, task_files, task_lines
from lamina.recipes.up import figures, summary

PAIRS = [
    {"good": f"the {animal} swims in the sea and is about ten years old", "bad": f"the {animal} swim in the sea and is"}
    for animal in ("whale", "seal", "dolphin", "shark", "otter", "turtle", "squid", "eel", "crab", "penguin", "walrus")
]


@pytest.fixture
def tokenizer(tmp_path: Path) -> ModelTokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [row["good"] for row in PAIRS],
        trainers.BpeTrainer(vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet),
    )
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return open_tokenizer(tmp_path)


def model(seed: int) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(llama(vocabulary=280, width=16, layers=1, heads=2, max_positions=128)).eval()


def test_a_stack_of_rows_measures_its_tasks_before_and_after(tokenizer, tmp_path):
    (tmp_path / "agreement.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    for n, place in enumerate((tmp_path / "base", tmp_path / "run" / "model")):
        save_model(model(n), place, like=tmp_path)
    rows = {"objective": "dpo", "rows": {"held_out": 0.0}, "origin": "rows.jsonl"}
    (tmp_path / "rows").mkdir()
    progress = open_progress("quiet")
    context = {"files": [["rows.jsonl", str(tmp_path / "rows.jsonl")]]}
    write_rows(tmp_path / "rows", tmp_path, rows | {"context": context}, {}, progress)
    asked = {
        "objective": "dpo",
        "rows": 9,
        "length": 32,
        "fresh": False,
        "tasks": [["agreement.jsonl", "0"]],
        "draws": 0,
    }
    asked["context"] = {"folder": str(tmp_path), "references": str(tmp_path), "device": "cpu"}
    inputs = {name: tmp_path / name for name in ("run", "base", "rows")}
    evaluate_rows(tmp_path, tmp_path, asked, inputs, progress)
    found = json.loads((tmp_path / "evaluation.json").read_bytes())
    expected = [
        run_tasks([tmp_path / "agreement.jsonl"], model(n), tokenizer, draws=0, progress=progress) for n in (0, 1)
    ]
    assert [found["tasks_before"], found["tasks"]] == json.loads(json.dumps(expected))
    lines = row_evaluation.figures(found)
    assert "not evaluated: 0 held-out rows" in lines
    assert "\n".join(task_lines(*expected)) in lines
    assert row_evaluation.summary(found)["task_agreement"].startswith(
        f"{found['tasks']['agreement']['scores'][0]['value']:.4f}"
    )


def test_tasks_are_measured_perturbed_and_compared(tokenizer, tmp_path):
    file = tmp_path / "agreement.jsonl"
    file.write_text("\n".join(map(json.dumps, PAIRS)))
    progress = open_progress("quiet")
    one, two = (run_tasks([file], model(n), tokenizer, draws=2, progress=progress) for n in (0, 1))
    assert json.loads(json.dumps(one)).keys() == {"agreement"}
    [score] = one["agreement"]["scores"]
    assert score["n"] == len(PAIRS)
    assert [d["perturbation"] for d in one["agreement"]["drops"]] == ["typos", "OCR errors", "casing", "paraphrase"]
    lines = task_lines(json.loads(json.dumps(one)), json.loads(json.dumps(two)))
    assert len(lines) == 6
    assert lines[0].startswith("agreement: ")
    assert "ties wrong" in lines[0]
    assert "typos" in lines[1]
    assert "after" in lines[-1]
    assert len(task_lines(one)) == 5
    assert run_tasks([file], model(0), tokenizer, draws=0, progress=progress)["agreement"]["drops"] == []


def test_two_tasks_of_one_name_are_refused(tokenizer, tmp_path):
    files = [tmp_path / "one" / "pairs.jsonl", tmp_path / "two" / "pairs.jsonl"]
    with pytest.raises(ConfigError, match="two tasks are named 'pairs'"):
        run_tasks(files, model(0), tokenizer, draws=0, progress=open_progress("quiet"))


def test_perturbations_follow_from_seed_and_text():
    made, again = perturbations(3), perturbations(3)
    text = "the whale swims in the deep sea and is about ten years old"
    for condition, changes in made.items():
        said = [change(text) for change in changes]
        assert said == [change(text) for change in again[condition]]
        assert any(s != text for s in said), condition
    assert len({change(text) for change in made["typos"]}) == 3
    assert len(made["paraphrase"]) == 1


@pytest.fixture
def folder(tokenizer: ModelTokenizer, tmp_path: Path) -> Path:
    """A model's folder beside tasks and a stack file that names them."""
    made = tmp_path / "model"
    save_model(model(0), made, like=None)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / name, made / name)
    (tmp_path / "agreement.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": row["good"]}) for row in PAIRS))
    (tmp_path / "lamina.toml").write_text(
        'name = "sea"\n[model]\nbase = "model"\n[model.evaluate]\ntasks = ["agreement.jsonl"]\ndraws = 1\n'
    )
    return made


def test_any_model_is_measured_on_files_without_a_build(folder: Path) -> None:
    tasks = [folder.parent / "agreement.jsonl", folder.parent / "texts.jsonl"]
    lines = evaluate_on_tasks(str(folder), tasks, stack=None, against=None, draws=0, json=False).split("\n")
    assert [line.split(":")[0] for line in lines] == ["agreement", "texts"]
    both = evaluate_on_tasks(str(folder), tasks[:1], stack=None, against=f"{folder}/", draws=0, json=False)
    assert "no winner" in both
    found = evaluate_on_tasks(str(folder), tasks[:1], stack=None, against=None, draws=2, json=True)
    assert len(found[str(folder)]["agreement"]["drops"]) == 4


def test_a_stacks_own_tasks_are_the_default(folder: Path) -> None:
    stack = open_stack(folder.parent / "lamina.toml")
    said = evaluate_on_tasks(str(folder), [], stack=stack, against=None, draws=0, json=False)
    assert said.startswith("agreement: ")
    with pytest.raises(NotFoundError, match="no model yet"):
        evaluate_on_tasks("champion", [], stack=stack, against=None, draws=0, json=False)
    with pytest.raises(ConfigError, match="no task to measure"):
        evaluate_on_tasks(str(folder), [], stack=None, against=None, draws=0, json=False)


def test_the_stages_evaluation_measures_them_and_knows_their_content(folder: Path) -> None:
    stack = open_stack(folder.parent / "lamina.toml")
    before = task_files(stack)
    assert [name for name, _ in before] == ["agreement.jsonl"]
    data = folder.parent / "corpus" / "data"
    data.mkdir(parents=True)
    pq.write_table(
        pa.table({"id": ["a", "b"], "text": [row["good"] for row in PAIRS[:2]]}), data / "held_out-0.parquet"
    )
    settings = {"tokens": 100, "questions": [], "passages": 0, "system": None, "tasks": before, "draws": 1}
    (folder.parent / "served").mkdir()
    folder.rename(folder.parent / "served" / "model")
    evaluate(
        folder.parent,
        folder.parent,
        settings | {"context": {"folder": str(stack.folder)}},
        {"served": folder.parent / "served", "corpus": folder.parent / "corpus"},
        open_progress("quiet"),
    )
    found = json.loads((folder.parent / "evaluation.json").read_text())
    assert found["tasks"]["agreement"]["scores"][0]["n"] == len(PAIRS)
    assert "agreement: " in figures(found, found)
    assert summary(found)["task_agreement"].startswith("0.")
    (stack.folder / "agreement.jsonl").write_text(json.dumps(PAIRS[0]))
    assert task_files(stack) != before
    (stack.folder / "agreement.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"no such file.*agreement|agreement.*no such file"):
        task_files(stack)


def test_what_gives_an_item_away(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "pair": {"good": "a b", "bad": "c"},
        "choice": {"context": "a b", "choices": ["x", "y"], "answer": 1},
        "class": {"text": "a b", "label": "l"},
        "translation": {"source": "a b", "target": "t"},
        "similar": {"a": "a b", "b": "c", "score": 1},
        "text": {"text": "a b"},
    }
    answers = {"choice": ["y"], "translation": ["t"]}
    for name, row in rows.items():
        (tmp_path / name).write_text(json.dumps(row))
        assert questions_of(read_task(tmp_path / name)) == [{"question": "a b", "answers": answers.get(name, [])}]


def test_a_wrong_file_is_named(tokenizer, tmp_path):
    file = tmp_path / "wrong.jsonl"
    file.write_text("{}")
    with pytest.raises(InputError, match=r"wrong\.jsonl:1"):
        run_tasks([file], model(0), tokenizer, draws=0, progress=open_progress("quiet"))
