"""A run from a stack file: what it writes as it goes, what is checked of it, its card, its page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from lamina.contracts.trust import from_json
from lamina.kit.errors import ConfigError, NotFoundError
from lamina.kit.log import read_metrics
from lamina.kit.stages import Workshop
from lamina.recipes.current import recall
from lamina.recipes.model_card import FACTS, render
from lamina.recipes.models import export
from lamina.recipes.run_report import (
    bits_error,
    expected_of,
    known_findings,
    measured,
    pictures_of,
    report,
    write_measured_card,
)
from lamina.recipes.stack import Stack, open_stack
from lamina.recipes.trust import evaluation_apart, write_trust
from lamina.recipes.up import bring_up

STACK = """
name = "harbour"
[data]
workers = 1
held_out = 0.3
[[data.sources]]
use = "files"
from = "docs"
name = "docs"
license = "CC-BY-4.0"
[[data.steps]]
transform = "normalize"
[[data.steps]]
signal = "language"
[data.tokenizer]
use = "bpe"
vocabulary = 400
[model]
architecture = "gpt"
preset = "nano"
[model.train]
method = "full"
steps = 8
length = 32
batch = 2
samples = ["the whale"]
sample_every = 4
track = ["tensorboard"]
[model.evaluate]
tokens = 200
tasks = ["pairs.jsonl"]
"""
ANIMALS = ("whale", "gull", "squid", "shark", "seal", "crab", "heron", "otter", "eel", "tern", "skua", "orca")


@pytest.fixture(scope="module")
def stack(in_this_process: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A small GPT, trained and measured; its stages run in this process."""
    folder = tmp_path_factory.mktemp("harbour")
    (folder / "docs").mkdir()
    for number, animal in enumerate(ANIMALS):
        text = f"The {animal} of bay {number} swims far out at sea and comes home before the evening tide. " * 8
        (folder / "docs" / f"{animal}.txt").write_text(text)
    rows = [{"good": f"The {a} swims far out .", "bad": f"The {a} far out swims ."} for a in ANIMALS]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "lamina.toml").write_text(STACK)

    with pytest.MonkeyPatch.context() as patched:
        in_this_process(patched)
        bring_up(folder / "lamina.toml", [], places=[], serve=False, json=False)
        yield open_stack(folder / "lamina.toml")


def run_of(stack: Stack) -> Path:
    return stack.state / "runs" / str(recall(stack).run)


def test_it_was_watched_as_the_stack_file_says(stack: Stack) -> None:
    rows = list(read_metrics(run_of(stack) / "samples.jsonl"))
    assert [(row["step"], row["prompt"]) for row in rows] == [(n, "the whale") for n in (0, 4, 8)]
    [folder] = (stack.state / "tracking" / "tensorboard").iterdir()
    assert folder.name.startswith("harbour-")
    assert list(folder.glob("events*"))


def test_how_a_run_is_watched_does_not_decide_what_it_is(stack: Stack) -> None:
    from lamina.kit.progress import open_progress
    from lamina.recipes.plan import Plan

    keys = set()
    for settings in ([], ["model.train.samples=[]"], ['model.train.track=["mlflow"]'], ["model.train.batch=3"]):
        opened = open_stack(stack.file, settings)
        plan = Plan(opened, Workshop(opened.state, open_progress("quiet")), open_progress("quiet"))
        keys.add(plan.workshop.key(plan.training))
    assert len(keys) == 2


def test_every_check_passed_and_says_what_was_seen(stack: Stack) -> None:
    told = json.loads((run_of(stack) / "trust.json").read_text())
    assert told["passed"]
    found = {f.what: f for f in from_json(told)}
    assert {f.verdict for f in found.values()} == {"pass"}, found
    assert len(found) == 8
    said = " ".join(f.measured for f in found.values())
    for words in (
        "equal to the bit",
        "declared tied",
        "4 of 4 answers",
        "step 8; every byte as recorded",
        "12 questions",
    ):
        assert words in said


def test_the_card_is_read_by_the_hubs_library(stack: Stack) -> None:
    card = ModelCard.load(run_of(stack) / "model" / "README.md")
    data: Any = card.data
    assert (data.license, data.language, data.pipeline_tag) == ("cc-by-4.0", ["en"], "text-generation")
    assert (data.library_name, data.base_model) == ("transformers", None)
    for words in ("## Data", "| docs | files | CC-BY-4.0 (12) | 12 |", "| steps | 8 |", "## Limits", "- **pass**: "):
        assert words in card.text
    assert "Not measured when this card was written" in card.text


def test_an_exported_model_carries_what_was_measured(stack: Stack, tmp_path: Path) -> None:
    folder = export(run_of(stack) / "model", tmp_path / "out")
    write_measured_card(stack, run_of(stack), folder)
    text = (folder / "README.md").read_text()
    lines = measured(stack, run_of(stack))
    assert [line.split(":")[0] for line in lines] == ["bits per byte of held-out documents", "pairs"]
    assert all(f"- {line}" in text for line in lines)
    assert "±" in lines[0]


def test_several_licences_are_all_named(stack: Stack) -> None:
    facts = json.loads((run_of(stack) / FACTS).read_text())
    facts |= {"base": "hf:org/base", "base_license": "Apache-2.0"}
    data: Any = ModelCard(render(facts)).data
    assert (data.license, data.license_name) == ("other", "Apache-2.0, CC-BY-4.0")
    assert data.base_model == "org/base"
    failed = {"what": "a check", "verdict": "fail", "measured": "seen"}
    facts["trust"]["findings"].append(failed)
    assert "A check failed: a check (seen)." in render(facts)


def test_the_page_shows_curves_samples_figures_and_checks(stack: Stack, tmp_path: Path) -> None:
    said = report(stack, tmp_path / "page.html", pictures=tmp_path / "pictures")
    assert said == f"wrote {tmp_path / 'page.html'}"
    page = (tmp_path / "page.html").read_text()
    for words in ("loss (nats a token)", "learning rate", "norm of the gradient", "tokens learned a second", "step 4",
                  "bits per byte of held-out documents", "equal to the bit", '<span class="pass">'):  # fmt: skip
        assert words in page, words
    assert "http" not in page
    names = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert names == {"loss.svg", "learning_rate.svg", "gradient_norm.svg", "tokens_per_s.svg"}
    assert set(pictures_of(run_of(stack))) == {name.removesuffix(".svg") for name in names}


def test_what_was_expected_is_that_of_the_run_itself(tmp_path: Path) -> None:
    assert expected_of(tmp_path) is None
    (tmp_path / "sizing.json").write_text('{"bits_per_byte": 2.5}')
    assert expected_of(tmp_path) == {"bits_per_byte": 2.5}


def test_a_run_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "lamina.toml").write_text(STACK)
    with pytest.raises(NotFoundError, match="nothing has been built"):
        report(open_stack(tmp_path / "lamina.toml"))


def test_what_is_known_of_the_evaluation_is_that_of_today(stack: Stack, tmp_path: Path) -> None:
    shutil.copy(stack.folder / "pairs.jsonl", tmp_path / "kept")
    try:
        (stack.folder / "pairs.jsonl").write_text(json.dumps({"text": "another task than the one of then"}))
        found = [f for f in known_findings(stack, run_of(stack)) if "questions and tasks" in f.what]
        assert [(f.verdict, f.measured) for f in found] == [
            ("not applicable", "the corpus was not searched for them yet")
        ]
    finally:
        shutil.copy(tmp_path / "kept", stack.folder / "pairs.jsonl")


def test_documents_that_hold_the_evaluation_fail_it() -> None:
    held = {"questions": 3, "set": "exam", "too_short": 0, "held": 1, "with_answer": 0, "by_source": {"docs": 1}}
    assert evaluation_apart(held | {"documents": [{"id": "a"}]}).verdict == "fail"
    assert evaluation_apart(held | {"documents": []}).verdict == "pass"
    assert evaluation_apart(None).verdict == "not applicable"


def test_the_error_of_bits_per_byte_is_that_of_documents() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(50, 400, 200)
    bits = random.normal(2.0, 0.5, 200)
    pairs = [(b * n * np.log(2), int(n)) for b, n in zip(bits, sizes, strict=True)]
    assert bits_error(pairs) == pytest.approx(0.5 / np.sqrt(200), rel=0.4)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('objective = "masked-lm"\nsamples = ["a"]', "writes nothing by itself"),
        ("sample_every = 0", "at least one step"),
        ('track = ["paper"]', "track"),
    ],
)
def test_what_cannot_be_watched_is_refused(tmp_path: Path, keys: str, words: str) -> None:
    (tmp_path / "lamina.toml").write_text(f'name = "x"\n[model]\nbase = "b"\n[model.train]\n{keys}\n')
    with pytest.raises(ConfigError, match=words):
        open_stack(tmp_path / "lamina.toml")


def test_a_model_that_was_changed_after_it_was_saved_fails(stack: Stack, tmp_path: Path) -> None:
    import torch

    from lamina.contracts.tokens import Batch
    from lamina.kit.tokenizer import open_tokenizer
    from lamina.model.checkpoint import open_model

    class Stream:
        def __next__(self) -> Batch:
            ids = np.arange(8)[None]
            return Batch(inputs=ids, targets=ids, segments=np.ones_like(ids), positions=ids)

        def state(self) -> dict[str, int]:
            return {}

        def restore(self, state: Any) -> None:
            pass

    shutil.copytree(run_of(stack) / "model", tmp_path / "model")
    model, tokenizer = open_model(tmp_path / "model"), open_tokenizer(tmp_path / "model")
    with torch.no_grad():
        model.stack.blocks[0].feedforward.down.weight.add_(0.1)
    write_trust(tmp_path, model, tokenizer, Stream(), objective="causal-lm")
    told = json.loads((tmp_path / "trust.json").read_text())
    assert not told["passed"]
    assert [f["verdict"] for f in told["findings"]].count("fail") == 1
