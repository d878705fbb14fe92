"""Stacks that learn from rows: pairs, labelled texts, preferences; from a stack file to figures on held-out rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lamina.kit.errors import ConfigError, InputError
from lamina.kit.stages import Workshop
from lamina.recipes.row_section import COLUMNS
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.up import bring_up, show_evaluation

HEAD = 'name = "rows"\n'
TRAIN = """
[model.train]
objective = "%(objective)s"
method = "%(method)s"
steps = %(steps)d
batch = %(batch)d
length = 48
learning_rate = %(rate)g
[model.train.rows]
from = "%(file)s"
held_out = 0.2
%(more)s
"""
TOKENIZER = '[data.tokenizer]\nuse = "%s"\nvocabulary = %d\n'
FRESH = '[model]\narchitecture = "%s"\npreset = "%s"\n'
BASE = '[model]\nbase = "%s"\n[model.evaluate]\ntokens = 200\n'
ANIMALS = ("whale", "gull", "squid", "shark", "seal", "crab", "heron", "otter")
PLACES = ("sea", "harbour", "river", "lake", "bay")


@pytest.fixture(autouse=True)
def _inside(in_this_process: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    in_this_process(monkeypatch)


def write(folder: Path, head: str, rows: list[dict[str, Any]], **settings: Any) -> Path:
    usual = {"method": "full", "steps": 4, "batch": 4, "rate": 1e-3, "file": "rows.jsonl", "more": ""}
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "lamina.toml").write_text(HEAD + head + TRAIN % (usual | settings))
    return folder / "lamina.toml"


def up(file: Path, *settings: str) -> Stack:
    bring_up(file, settings, places=[], serve=False, json=False)
    return open_stack(file, settings)


def run_of(stack: Stack) -> Path:
    return stack.state / "runs" / json.loads((stack.state / "current.json").read_bytes())["run"]


def scores(stack: Stack) -> Mapping[str, Any]:
    found = show_evaluation(stack, json=True)
    return {score["name"]: score for score in found["scores"]} | {"rows": found["rows"]}


def translations() -> list[dict[str, str]]:
    words = {"whale": "ballena", "gull": "gaviota", "squid": "calamar", "shark": "tiburón", "crab": "cangrejo"}
    beside = ("the", "a", "my", "your", "this", "that", "one", "every")
    return [{"en": f"{some} {en}", "es": es} for some in beside for en, es in words.items()]


def labelled() -> list[dict[str, Any]]:
    said = {"good": "I love this {} in the {}, it is lovely", "bad": "I hate this {} in the {}, it is awful"}
    rows = [{"text": t.format(a, p), "label": n} for n, t in said.items() for a in ANIMALS for p in PLACES]
    return sorted(rows, key=lambda row: str(row["text"])[10:])


def preferred() -> list[dict[str, Any]]:
    return [
        {"prompt": f"Where is the {a}?", "chosen": f"In the {p}.", "rejected": f"I do not know the {a}."}
        for a in ANIMALS
        for p in PLACES[:2]
    ]


@pytest.fixture(scope="module")
def small_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fresh GPT and a tokenizer for conversations."""
    import torch

    from lamina.data.tokenizer.train import train_tokenizer
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import save_model
    from lamina.model.transformer import Transformer
    from lamina.recipes.rows import _write_texts

    place = tmp_path_factory.mktemp("gpt")
    _write_texts(place / "data", [{"text": " ".join(str(row.values()) for row in preferred())}])
    train_tokenizer(place, place / "tokenizer", use="bpe", vocabulary=350)
    torch.manual_seed(0)
    save_model(Transformer(preset("nano", vocabulary=350)), place / "model", like=place / "tokenizer")
    return place / "model"


def test_a_translator_from_pairs_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    head = TOKENIZER % ("unigram", 500) + FRESH % ("seq2seq", "seq2seq-nano")
    more = 'languages = ["en", "es"]'
    file = write(tmp_path, head, translations(), objective="translation", steps=80, batch=2, rate=1e-3, more=more)
    stack = up(file)
    said = capfd.readouterr().out
    assert "rows: 34 to learn from, 6 held out" in said
    assert "v1 is the champion" in said
    config = json.loads((run_of(stack) / "model" / "config.json").read_bytes())
    assert config["task_specific_params"] == {"translation_en_to_es": {"prefix": ""}}
    found = scores(stack)
    assert found["translation: chrF"]["value"] > 60, "what it has never seen is translated by the parts that it has"
    assert found["translation: BLEU"]["n"] == found["rows"] == 6
    import transformers

    model = transformers.MarianMTModel.from_pretrained(run_of(stack) / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run_of(stack) / "model")
    ids = tokenizer("this crab", return_tensors="pt").input_ids
    assert ids[0, -1] == model.config.eos_token_id, "a source ends as in training"
    out = tokenizer.decode(model.generate(ids, max_new_tokens=20)[0], skip_special_tokens=True)
    assert out == "cangrejo"


def test_a_classifier_knows_its_labels_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    head = TOKENIZER % ("wordpiece", 300) + FRESH % ("bert", "bert-nano")
    rows = [*labelled(), {"text": " ", "label": "bad"}, {"text": "no label"}, labelled()[0]]
    stack = up(write(tmp_path, head, rows, objective="classification", steps=30, batch=8, rate=2e-3))
    said = capfd.readouterr().out
    assert "labels: good 40, bad 40" in said or "labels: bad 40, good 40" in said
    assert "1 row left out: its text is empty (rows.jsonl:81)" in said
    assert "1 row left out: has no label (rows.jsonl:82)" in said
    assert "1 row left out: stands there already (rows.jsonl:83)" in said
    found = scores(stack)
    assert found["classification: accuracy"]["value"] > 0.9
    assert {"classification: macro-F1", "classification: calibration error"} <= set(found)
    import transformers

    told = transformers.pipeline("text-classification", model=str(run_of(stack) / "model"))
    assert told("I hate this squid in the bay")[0]["label"] == "bad"
    config = json.loads((run_of(stack) / "model" / "config.json").read_bytes())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    # A classifier as the base goes on from its own scores, and keeps the names.
    again = write(tmp_path / "again", BASE % (run_of(stack) / "model"), labelled(), objective="classification", steps=1)
    assert scores(up(again))["classification: accuracy"]["value"] > 0.9


def test_a_gpt_classifies_by_its_last_token(tmp_path: Path, small_gpt: Path) -> None:
    import numpy as np
    import torch
    import transformers

    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model
    from lamina.model.evaluate.classification import class_probabilities

    head = BASE % small_gpt
    stack = up(write(tmp_path, head, labelled(), objective="classification", steps=30, batch=8, rate=1e-3))
    assert scores(stack)["classification: accuracy"]["value"] > 0.9
    folder = run_of(stack) / "model"
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(theirs).__name__ == "LlamaForSequenceClassification"
    assert theirs.config.id2label == {0: "bad", 1: "good"}
    tokenizer, texts = open_tokenizer(folder), ["I hate this", "I love this gull in the lake"]
    ours = class_probabilities(open_model(folder), tokenizer, texts)
    rows = [tokenizer.encode(text) for text in texts]
    pad = theirs.config.pad_token_id
    ids = torch.tensor([row + [pad] * (max(map(len, rows)) - len(row)) for row in rows])
    found = theirs(ids, attention_mask=(ids != pad).long()).logits.softmax(-1).detach().numpy()
    assert np.allclose(ours, found, atol=1e-5)


def test_vectors_of_texts_that_mean_the_same(tmp_path: Path) -> None:
    rows = [{"anchor": f"where is the {a} of the {p}", "positive": f"{p} {a}"} for a in ANIMALS for p in PLACES]
    head = TOKENIZER % ("wordpiece", 300) + FRESH % ("bert", "bert-nano")
    stack = up(write(tmp_path, head, rows, objective="contrastive", steps=60, batch=16, rate=1e-3))
    found = scores(stack)
    nearest = found["retrieval: its own counterpart is the nearest"]
    assert nearest["value"] > 3 * nearest["details"]["by chance"]
    assert nearest["details"]["cosine of pairs"] > nearest["details"]["of others"] + 0.2
    pooling = json.loads((run_of(stack) / "model" / "1_Pooling" / "config.json").read_bytes())
    assert pooling["pooling_mode_mean_tokens"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_preferred_answers_become_likelier(tmp_path: Path, small_gpt: Path, method: str) -> None:
    head = BASE % small_gpt
    stack = up(write(tmp_path, head, preferred(), objective="dpo", method=method, steps=25, rate=2e-3))
    found = scores(stack)["preference accuracy"]
    assert found["value"] == 1.0
    assert found["details"]["gain of the preferred (nats)"] > found["details"]["of the other"] + 1
    assert list((stack.state / "served").glob("*/model/config.json")), "a GPT is served"
    # Another beta: the reference's log-probabilities are there already.
    before = {file: file.stat().st_mtime_ns for file in (stack.state / "references").iterdir()}
    up(stack.file, "model.train.beta=0.5", "model.train.steps=1")
    assert before == {file: file.stat().st_mtime_ns for file in (stack.state / "references").iterdir()}


def test_judged_answers(tmp_path: Path, small_gpt: Path) -> None:
    rows = [
        {"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"}
        for row in preferred()
        for name in ("chosen", "rejected")
    ]
    stack = up(write(tmp_path, BASE % small_gpt, rows, objective="kto", steps=30, rate=2e-3))
    found = scores(stack)["preference accuracy"]
    assert found["value"] > 0.7
    assert found["details"]["gain of good answers (nats)"] > found["details"]["of bad ones"]


def test_rows_in_other_files_and_under_other_names(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lamina.data.objectives.row_files import read_rows

    (tmp_path / "a.tsv").write_text("english\tspanish\nhello\thola\nbroken\nbye\tadiós\n")
    found = read_rows("translation", [("a.tsv", tmp_path / "a.tsv")], fields={"source": "english", "target": "spanish"})
    assert [(row["source"], row["target"]) for row in found.kept] == [("hello", "hola"), ("bye", "adiós")]
    assert found.in_words() == ["1 row left out: has no target (a.tsv:3)"]
    pq.write_table(pa.table({"body": ["x", "y"], "class": [0, 1]}), tmp_path / "b.parquet")
    columns = {"text": "body", "label": "class"}
    found = read_rows("classification", [("b.parquet", tmp_path / "b.parquet")], fields=columns)
    assert [(row["text"], row["label"]) for row in found.kept] == [("x", "0"), ("y", "1")]
    talk = [{"role": "user", "content": "Hi"}]
    said = {name: [*talk, {"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    (tmp_path / "c.json").write_text(json.dumps({"data": [said, said | {"prompt": talk}, said | {"prompt": "Hi"}]}))
    columns = {name: name for name in COLUMNS["dpo"]}
    found = read_rows("dpo", [("c.json", tmp_path / "c.json")], fields=columns, records="data")
    assert found.kept[0]["prompt"] == talk
    assert found.kept[0]["chosen"] == [{"role": "assistant", "content": "chosen"}]
    assert found.left_out == {"stands there already": 2}, "the three ways to write a row are one"


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("", "", "holds no row to learn from"),
        ('{"txt": "a", "label": "x"}\n', "", r"rows\.jsonl: no row has a column 'text'; there is: txt, label"),
        ('{"text": "a", "label": "x"}\n{"text": "b", "label": "x"}\n', "", "all rows have the label 'x'"),
        (
            '{"text": "a", "label": "x"}\n{"text": "b", "label": "z"}\n',
            'labels = ["x", "y"]',
            "rows.jsonl:2: the label 'z' is none of x, y",
        ),
        (
            "".join(f'{{"text": "a{n}", "label": "{n % 2}"}}\n' for n in range(9)),
            'labels = ["0", "1", "2"]',
            "the label '2' has no row",
        ),
        ("not json\n", "", r"no row to learn from; 1 row left out: is not JSON.*line 1"),
    ],
)
def test_rows_of_no_use_are_named(tmp_path: Path, content: str, more: str, words: str) -> None:
    head = TOKENIZER % ("wordpiece", 300) + FRESH % ("bert", "bert-nano")
    file = write(tmp_path, head, [], objective="classification", more=more)
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(InputError, match=words):
        up(file)
    assert not (tmp_path / ".lamina" / "runs").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[model.train.rows]", "[model.train.rowz]"), "no such key 'rowz'"),
        (('from = "rows.jsonl"', ""), '"classification" learns from rows of text, label'),
        (("held_out = 0.2", "held_out = 1.5"), "1.5 is no share"),
        (("held_out = 0.2", 'fields = { txt = "a" }'), "'txt' is no column of classification"),
        (('"classification"', '"masked-lm"'), '"masked-lm" learns from the documents, not from rows'),
        (('"classification"', '"translation"'), '"bert" is not trained for "translation"'),
        (('"full"', '"lora"'), "a fresh output needs more than an adapter"),
        (("held_out = 0.2", 'languages = ["en", "es"]'), "names the source and the target of a translation"),
        (("held_out = 0.2", 'labels = ["a"]'), "lists the two or more labels"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    head = TOKENIZER % ("wordpiece", 300) + FRESH % ("bert", "bert-nano")
    file = write(tmp_path, head, labelled(), objective="classification")
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(ConfigError) as caught:
        open_stack(file)
    assert words in str(caught.value)


def test_a_base_of_another_architecture_is_refused_before_training(tmp_path: Path, small_gpt: Path) -> None:
    with pytest.raises(ConfigError, match='"gpt" is not trained for "contrastive"'):
        up(write(tmp_path, BASE % small_gpt, [{"anchor": "a", "positive": "b"}], objective="contrastive"))


def test_rows_that_ask_the_same_stand_on_one_side(tmp_path: Path, small_gpt: Path) -> None:
    from lamina.kit.progress import open_progress
    from lamina.recipes.rows import HELD_OUT, TRAIN, read_split, rows_stage

    stack = open_stack(write(tmp_path, BASE % small_gpt, preferred(), objective="dpo"))
    assert stack.model is not None
    assert stack.model.train is not None
    progress = open_progress("quiet")
    workshop = Workshop(stack.state, progress)
    stage = rows_stage(stack, stack.model.train, progress)
    folder = workshop.run(stage)
    sides = [{json.dumps(row["prompt"]) for row in read_split(folder, side)} for side in (TRAIN, HELD_OUT)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]
    (tmp_path / "rows.jsonl").write_text((tmp_path / "rows.jsonl").read_text() + "\n")
    assert workshop.key(rows_stage(stack, stack.model.train, progress)) != workshop.key(stage), (
        "other bytes, other rows"
    )


def test_a_student_learns_from_a_teacher_with_its_tokenizer(tmp_path: Path, small_gpt: Path) -> None:
    (tmp_path / "notes").mkdir()
    for number in range(6):
        (tmp_path / "notes" / f"{number}.txt").write_text("Where is the whale? In the sea, and the gull too. " * 9)
    data = """[data]
steps = [{ transform = "normalize" }]
[[data.sources]]
use = "files"
name = "notes"
from = "notes"
%s
[model.train]
method = "full"
steps = 2
length = 32
teacher = "%s"
[model.evaluate]
tokens = 100
"""
    file = tmp_path / "lamina.toml"
    file.write_text(HEAD + data % (FRESH % ("gpt", "nano"), small_gpt))
    stack = up(file)
    mine, theirs = (json.loads((place / "config.json").read_bytes()) for place in (run_of(stack) / "model", small_gpt))
    assert mine["vocab_size"] == theirs["vocab_size"]
    assert (run_of(stack) / "model" / "tokenizer.json").read_bytes() == (small_gpt / "tokenizer.json").read_bytes()
    # With a tokenizer of its own there is nothing to compare, token by token.
    file.write_text(file.read_text() + TOKENIZER % ("bpe", 400))
    with pytest.raises(ConfigError, match="the teacher's tokenizer is another"):
        up(file)


def test_a_base_in_the_layout_of_sentence_transformers(tmp_path: Path) -> None:
    from lamina.model.architectures.presets import preset
    from lamina.model.checkpoint import save_model
    from lamina.model.evaluate.embedding import write_pooling
    from lamina.model.transformer import Transformer
    from lamina.recipes.models import import_folder

    place = tmp_path / "package" / "model"
    save_model(Transformer(preset("bert-nano", vocabulary=300)), place)
    write_pooling(place, width=128, longest=64)
    import_folder(tmp_path / "package", tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_bytes())
    assert config["model_type"] == "bert", "the model's own, not that of its pooling"
    assert (tmp_path / "base" / "1_Pooling" / "config.json").is_file()
