"""The checks of a trained model: they pass on what is right, and fail on each thing that is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers, trainers

from lamina.contracts.tokens import Batch
from lamina.contracts.trust import Finding, as_json, from_json
from lamina.kit.tokenizer import ModelTokenizer, open_tokenizer
from lamina.model.checkpoint import open_model, save_model
from lamina.model.evaluate.trust import check_ends, check_folder
from lamina.model.transformer import Transformer

Reference = Callable[[str], tuple[Path, Any]]
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %}"
    " {{ m.content }}<|endoftext|>{% else %}<<SYS>>{{ m.content }}<</SYS>>{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}<|im_start|>{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}"
)
ENDLESS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"


def batch(model: Transformer) -> Batch:
    random = np.random.default_rng(0)
    shape = (2, 24)
    ids, sources = (random.integers(0, 60, shape) for _ in range(2))
    segments = np.repeat([[1] * 10 + [2] * 12 + [0] * 2], 2, axis=0)
    positions = np.repeat([[*range(10), *range(12), 0, 0]], 2, axis=0)
    both = model.encoder is not None and model.decoder is not None
    more = {"sources": sources, "source_segments": segments} if both else {}
    return Batch(inputs=ids, targets=ids, segments=segments, positions=positions, **more)


def checked(model: Transformer, folder: Path) -> dict[str, Finding]:
    findings = check_folder(model, folder, batch(model))
    return dict(zip(("outputs", "again", "ties"), findings, strict=True))


def test_every_family_passes(reference: Reference, any_variant: str, tmp_path: Path) -> None:
    model = open_model(reference(any_variant)[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    save_model(model, tmp_path / "model", like=reference(any_variant)[0])
    found = checked(model, tmp_path / "model")
    assert found["outputs"].verdict == found["again"].verdict == "pass", found
    assert "equal to the bit" in found["outputs"].measured
    assert found["ties"].verdict == ("pass" if model.head is not None else "not applicable"), found["ties"]
    assert not list(tmp_path.glob(".again-*"))


@pytest.fixture
def saved(reference: Reference, tmp_path: Path) -> tuple[Transformer, Path]:
    model = open_model(reference("llama-tied")[0])
    save_model(model, tmp_path / "model")
    return model, tmp_path / "model"


def test_other_weights_than_the_trained_ones_fail(saved: tuple[Transformer, Path]) -> None:
    model, folder = saved
    with torch.no_grad():
        model.stack.blocks[1].feedforward.down.weight.mul_(1.01)
    found = checked(model, folder)
    assert found["outputs"].verdict == "fail"
    assert "largest difference" in found["outputs"].measured
    assert found["again"].verdict == found["ties"].verdict == "pass"


def test_a_head_that_is_no_longer_the_embedding_fails(saved: tuple[Transformer, Path]) -> None:
    model, folder = saved
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * 1.1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    found = checked(model, folder)
    assert (found["ties"].verdict, found["outputs"].verdict) == ("fail", "fail")
    assert found["ties"].measured == "declared tied; two matrices in memory, two in the file"


def test_a_config_that_ties_what_was_trained_untied_fails(reference: Reference, tmp_path: Path) -> None:
    model, folder = open_model(reference("llama-untied")[0]), tmp_path / "model"
    save_model(model, folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    assert checked(model, folder)["ties"].verdict == "fail"


def tokenizer(folder: Path, template: str | None) -> ModelTokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(["a"], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet))
    made.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|endoftext|>"} | ({} if template is None else {"chat_template": template})
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return open_tokenizer(folder)


@pytest.mark.parametrize("template", [None, CHATML, LLAMA2, LLAMA3, MARKED])
def test_the_end_of_an_answer_is_learned_under_every_kind_of_template(tmp_path: Path, template: str | None) -> None:
    template_alone, rows = check_ends(tokenizer(tmp_path, template))
    assert template_alone.verdict == "pass", template_alone
    assert template_alone.measured.startswith("4 of 4 answers under ")
    assert rows.verdict == "not applicable"


def test_a_template_that_ends_no_answer_fails(tmp_path: Path) -> None:
    assert check_ends(tokenizer(tmp_path, ENDLESS))[0].verdict == "fail"


def test_rows_whose_end_is_not_learned_fail(tmp_path: Path) -> None:
    made = tokenizer(tmp_path, CHATML)
    end = made.end_ids[0]
    good = ([9, 10, 11, end], [False, True, True, True])
    masked = ([9, 10, 11, end], [False, True, True, False])  # the end taken for padding
    assert check_ends(made, [good, good])[1].verdict == "pass"
    found = check_ends(made, [good, masked])[1]
    assert (found.verdict, found.measured) == ("fail", "1 of 2 rows looked at")
    assert check_ends(made, [([9, 10], [False, False])])[1].verdict == "fail"


def test_a_report_is_what_was_written() -> None:
    findings = [
        Finding(what="a", verdict="pass", measured="b"),
        Finding(what="c", verdict="not applicable", measured=""),
    ]
    told = as_json(findings)
    assert told["passed"]
    assert from_json(json.loads(json.dumps(told))) == findings
    assert not as_json([*findings, Finding(what="d", verdict="fail", measured="e")])["passed"]
    assert str(findings[0]) == "pass: a: b"
