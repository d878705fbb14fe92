"""Stacks of other architectures: which settings go together, and a BERT and a T5-like model from a stack file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.kit.errors import ConfigError
from lamina.recipes.served import looked, why_not_served
from lamina.recipes.stack import open_stack
from lamina.recipes.status import list_releases
from lamina.recipes.tokenizer_stage import wanted_tokenizer
from lamina.recipes.up import bring_up, show_evaluation

FILE = """
name = "encoder"
[data]
held_out = 0.0
steps = [{ transform = "normalize" }]
[[data.sources]]
use = "files"
name = "notes"
from = "notes"
[data.tokenizer]
use = "%(use)s"
vocabulary = 600
sentinels = %(sentinels)d
[model]
architecture = "%(architecture)s"
preset = "%(preset)s"
[model.train]
objective = "%(objective)s"
method = "%(method)s"
steps = 4
batch = 2
length = 32
"""
BERT = {"use": "wordpiece", "sentinels": 0, "architecture": "bert", "preset": "bert-nano", "objective": "masked-lm"}
T5 = {"use": "unigram", "sentinels": 20, "architecture": "seq2seq", "preset": "seq2seq-nano"}
T5["objective"] = "span-corruption"


def write(folder: Path, **settings: Any) -> Path:
    file = folder / "lamina.toml"
    file.write_text(FILE % ({"method": "full"} | BERT | settings))
    (folder / "notes").mkdir(exist_ok=True)
    animals = ("whale", "gull", "squid", "shark", "seal", "crab")
    for number, animal in enumerate(animals * 3):
        words = f"The {animal} number {number} swims in the sea. It was seen by {number + 2} sailors at noon. " * 5
        (folder / "notes" / f"{number}.txt").write_text(words + f"Nobody saw {animal}s again after {number} years.")
    return file


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "gpt"}, 'is of architecture "bert", not "gpt"'),
        ({"preset": "tiny"}, '\'tiny\' is of architecture "gpt", not "bert"'),
        ({"preset": "t5-small"}, 'is of architecture "seq2seq"'),
        ({"preset": "huge"}, "no preset 'huge'"),
        ({"objective": "causal-lm"}, '"bert" is not trained for "causal-lm"'),
        ({"objective": "span-corruption"}, 'objective = "masked-lm" or "next-sentence"'),
        ({"objective": "guessing"}, "guessing"),
        ({"method": "lora"}, "fresh weights need more than an adapter"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_stack(write(tmp_path, **settings))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use": "unigram"}, "'unigram' has none"),
        (T5 | {"use": "wordpiece", "sentinels": 0}, "a decoder writes text"),
        (T5 | {"sentinels": 0}, "needs sentinels"),
    ],
)
def test_tokenizers_of_no_use_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        wanted_tokenizer(open_stack(write(tmp_path, **settings)), tmp_path)


def test_a_bpe_for_a_bert_has_a_mask_and_frames_texts(tmp_path: Path) -> None:
    from lamina.data.objectives.masking import masking_of
    from lamina.data.tokenizer.train import train_tokenizer
    from lamina.kit.tokenizer import open_tokenizer

    stage = wanted_tokenizer(open_stack(write(tmp_path, use="bpe")), tmp_path)
    assert stage.parameters["mask"] is True
    gpt = {"use": "bpe", "architecture": "gpt", "preset": "nano", "objective": "causal-lm"}
    assert "mask" not in wanted_tokenizer(open_stack(write(tmp_path, **gpt)), tmp_path).parameters
    (tmp_path / "data").mkdir()
    texts = [file.read_text() for file in (tmp_path / "notes").iterdir()]
    columns: dict[str, list[Any]] = {
        "id": [str(n) for n in range(len(texts))],
        "text": texts,
        "source": ["notes"] * len(texts),
        "parent_id": [None] * len(texts),
    }
    pq.write_table(pa.table(columns), tmp_path / "data" / "train-0.parquet")
    train_tokenizer(tmp_path, tmp_path / "t", use="bpe", vocabulary=300, mask=True)
    tokenizer = open_tokenizer(tmp_path / "t")
    assert tokenizer.token_of(masking_of(tokenizer).mask) == "<|mask|>"
    assert masking_of(tokenizer).special[:4].all(), "what is special is never hidden"
    assert [tokenizer.token_of(i) for i in tokenizer.framed("a").ids] == ["<|endoftext|>", "a", "<|endoftext|>"]
    with pytest.raises(ConfigError, match="of 'bpe' only"):
        train_tokenizer(tmp_path, tmp_path / "u", use="wordpiece", mask=True)


def test_other_objectives_hold_no_conversations(tmp_path: Path) -> None:
    stack = open_stack(write(tmp_path))
    assert stack.model is not None
    assert stack.model.train is not None
    assert stack.model.train.replay == 0.0


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "BertForMaskedLM"),
        ({"objective": "next-sentence"}, "BertForPreTraining"),
        (T5, "MarianMTModel"),
    ],
)
def test_a_stack_ends_with_a_folder_that_transformers_opens(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], settings: dict[str, Any], kind: str
) -> None:
    import torch
    import transformers

    file = write(tmp_path, **settings)
    bring_up(file, [], places=[], serve=False, json=False)
    said = capfd.readouterr()
    assert "v1 is the champion" in said.out + said.err
    (run,) = (tmp_path / ".lamina" / "runs").glob("*/run.json")
    facts = json.loads(run.read_text())
    assert facts["steps"] == 4
    assert facts["objective"] == (settings.get("objective") or "masked-lm")
    folder = run.parent / "model"
    model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("The whale swims in the sea.", return_tensors="pt").input_ids
    more = {"decoder_input_ids": ids} if kind == "MarianMTModel" else {}
    out = model(input_ids=ids, **more)
    assert torch.isfinite(out[0]).all()
    if kind == "MarianMTModel":
        end = tokenizer.convert_tokens_to_ids("</s>")
        assert (model.config.eos_token_id, model.generation_config.eos_token_id) == (end, end)
    else:
        assert tokenizer.mask_token_id is not None
        assert model.config.pad_token_id == tokenizer.pad_token_id
    # nothing is done again
    before = sorted(p.name for p in (tmp_path / ".lamina" / "runs").iterdir())
    bring_up(file, [], places=[], serve=False, json=False)
    assert sorted(p.name for p in (tmp_path / ".lamina" / "runs").iterdir()) == before


BASE = """
name = "more"
[data]
held_out = 0.0
steps = [{ transform = "normalize" }]
[[data.sources]]
use = "files"
from = "notes"
[model]
base = "%s"
[model.train]
objective = "%s"
steps = 3
batch = 2
length = 32
"""


def test_a_base_that_writes_no_text_is_trained_further_and_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bring_up(write(tmp_path), ["model.train.steps=1"], places=[], serve=False, json=False)
    (run,) = (tmp_path / ".lamina" / "runs").glob("*/run.json")
    more = tmp_path / "more"
    more.mkdir()
    (tmp_path / "notes").rename(more / "notes")
    file = more / "lamina.toml"
    file.write_text(BASE % (run.parent / "model", "causal-lm"))
    with pytest.raises(ConfigError, match='"bert" is not trained for "causal-lm"'):
        bring_up(file, [], places=[], serve=False, json=False)
    bring_up(file, ["model.train.objective=masked-lm"], places=[], serve=False, json=False)
    assert "v1 is the champion" in capfd.readouterr().out
    (again,) = (more / ".lamina" / "runs").glob("*/run.json")
    assert json.loads(again.read_text())["method"] == "lora"
    assert (again.parent / "adapter" / "adapter_model.safetensors").exists()
    with pytest.raises(ConfigError, match="as served"):
        show_evaluation(open_stack(file, ["model.train.objective=masked-lm"]), json=False)
    file.write_text(f'name = "alone"\n[model]\nbase = "{run.parent / "model"}"\n')
    bring_up(file, [], places=[], serve=False, json=False)
    assert list_releases(open_stack(file), as_json=True)["versions"][-1]["role"] == "base"


@pytest.mark.parametrize("name", ["nano", "modern-small", "bert-nano", "seq2seq-nano"])
def test_what_is_served_is_told_from_the_folder(tmp_path: Path, name: str) -> None:
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import save_model
    from lamina.model.transformer import Transformer

    save_model(Transformer(preset(name, vocabulary=300)), tmp_path)
    assert why_not_served(tmp_path) is None


def test_what_is_not_served_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are served. No family that is read has a head with a factor, so a form of ours stands for what is not."""
    from lamina.deployment.texts import opening

    config = {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    config |= {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 97}
    config |= {"intermediate_size": 48, "num_key_value_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert why_not_served(tmp_path) is None
    known = opening.spec_of(tmp_path)
    assert known.head is not None
    scaled = replace(known, head=replace(known.head, scale=0.5))
    monkeypatch.setattr(opening, "spec_of", lambda folder: scaled)
    assert "a plain head (qwen2" in looked({"folder": str(tmp_path)})["reason"]
