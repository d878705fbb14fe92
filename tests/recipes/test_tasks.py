"""Tasks that a user brings: measured, perturbed by the data layer, compared before and after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from lamina.kit.errors import InputError
from lamina.kit.progress import open_progress
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.architectures.gpt import llama
from lamina.model.transformer import Transformer
from lamina.recipes.tasks import perturbations, run_tasks, task_lines

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


def test_perturbations_follow_from_seed_and_text():
    made, again = perturbations(3), perturbations(3)
    text = "the whale swims in the deep sea and is about ten years old"
    for condition, changes in made.items():
        said = [change(text) for change in changes]
        assert said == [change(text) for change in again[condition]]
        assert any(s != text for s in said), condition
    assert len({change(text) for change in made["typos"]}) == 3
    assert len(made["paraphrase"]) == 1


def test_a_wrong_file_is_named(tokenizer, tmp_path):
    file = tmp_path / "wrong.jsonl"
    file.write_text("{}")
    with pytest.raises(InputError, match=r"wrong\.jsonl:1"):
        run_tasks([file], model(0), tokenizer, draws=0, progress=open_progress("quiet"))
