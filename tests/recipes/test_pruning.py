"""`[deployment.prune]`, from the stack file to the run whose model is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lamina.contracts.corpus import DOCUMENTS
from lamina.data.shards import Shards
from lamina.kit import config
from lamina.kit.errors import ConfigError, RefusedError, StageError
from lamina.kit.log import read_metrics
from lamina.kit.progress import open_progress
from lamina.kit.stages import Stage, Workshop
from lamina.kit.tokenizer import open_tokenizer
from lamina.model.checkpoint import open_model
from lamina.model.evaluate.bits_per_byte import bits_per_byte
from lamina.recipes import prune_stages, up
from lamina.recipes.corpus import train_tokenizer
from lamina.recipes.current import read_json
from lamina.recipes.feedback_training import own_shards
from lamina.recipes.fresh import fresh_model
from lamina.recipes.models import SERVED, export, source_of
from lamina.recipes.plan import Plan
from lamina.recipes.prune_section import PruneSection
from lamina.recipes.pruning import Deployed, conditions, deployed, recovery, unpruned
from lamina.recipes.stack import TokenizerSection, TrainSection, open_stack
from lamina.recipes.versions import open_registry

STACK = """
name = "smaller"
[[data.sources]]
use = "files"
from = "notes"
[model]
base = "base"
[deployment]
quantize = "none"
[deployment.prune]
depth = 0.34
width = 0.25
vocabulary = true
least = 2
common = 300
recover = "2s"
"""
TEXT = "The whale number {n} swims in the cold sea, and {m} gulls fly over it. Nobody knows whale {n} by another name. "


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, and a base with a tokenizer of more words, as their stages make them."""
    folder = tmp_path_factory.mktemp("made")
    texts = [TEXT.format(n=n, m=n + 2) * 6 for n in range(36)]
    odd = [" ".join(f"{a}{b}ingly" for b in "abcdefghijklmnopqrst") * 3 for a in ("gr", "fl", "str", "sch", "bl", "pl")]
    _write(folder / "corpus", "train", texts[:30])
    _write(folder / "corpus", "held_out", texts[30:])
    _write(folder / "other", "train", texts[:6] + odd)  # words that the documents do not have
    quiet, inputs = open_progress("quiet"), {"corpus": folder / "other"}
    for name, stage, parameters in (
        ("tokenizer", train_tokenizer, config.resolved(TokenizerSection(use="bpe", vocabulary=600))),
        ("base", fresh_model, {"architecture": "gpt", "preset": "nano", "seed": 0}),
    ):
        (folder / name).mkdir()
        stage(folder / name, folder / "work" / name, {"context": {}, **parameters}, inputs, quiet)
        inputs |= {name: folder / name}
    return folder


def _write(corpus: Path, split: str, texts: list[str]) -> None:
    known = {"id": [f"{n:032x}" for n in range(len(texts))], "text": texts, "source": ["notes"] * len(texts)}
    rows = [pa.array(known.get(f.name, [None] * len(texts)), f.type) for f in DOCUMENTS]
    (corpus / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_arrays(rows, names=DOCUMENTS.names), corpus / "data" / f"{split}-00000-of-00001.parquet"
    )


@pytest.fixture
def plan(
    made: Path,
    tmp_path: Path,
    in_this_process: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Plan]:
    """``plan(text)``: the stages of a stack over that corpus and base; they run in this process."""

    def open_plan(text: str) -> Plan:
        file = tmp_path / "lamina.toml"
        file.write_text(text)
        stack = open_stack(file)
        found = Plan(stack, Workshop(stack.state, open_progress("quiet")), open_progress("quiet"))
        found.corpus = Stage(name="corpus", shelf="corpora", function="none:none")
        _adopt(found.workshop, found.corpus, made / "corpus")
        return found

    (tmp_path / "base").symlink_to(made / "base")

    def few_steps(section: PruneSection, train: TrainSection | None) -> TrainSection:
        return replace(recovery(section, train), budget=None, steps=12, length=64, learning_rate=3e-3)

    in_this_process(monkeypatch)
    monkeypatch.setattr("lamina.recipes.pruning.recovery", few_steps)
    return open_plan


def _adopt(workshop: Workshop, stage: Stage, source: Path) -> None:
    import shutil

    workshop.adopt(stage, lambda staging: shutil.copytree(source, staging, dirs_exist_ok=True) and None)


def test_the_base_is_pruned_and_recovers(
    plan: Callable[..., Plan], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = plan(STACK)
    streams: list[Any] = []

    def stopped(model: object, stream: Any, *given: object, **named: object) -> None:
        streams.append(stream)
        raise StageError("the machine stopped")

    with monkeypatch.context() as broken:
        broken.setattr(prune_stages, "run_training", stopped)
        with pytest.raises(StageError, match="the machine stopped"):
            deployed(opened)
    assert streams[0].state()["of"]["form"] == {"every": True}, "the parent has scores of what users say, too"
    monkeypatch.setattr(prune_stages, "write_pruned", _stopped)  # what a killed run has cut is not cut again
    found = deployed(opened)
    run, model = found.source, open_model(found.source / "model")
    before, facts = open_model(made / "base"), json.loads((found.source / "run.json").read_bytes())
    assert (found.part, found.run) == ("model", run.name)
    assert len(model.spec.stack.blocks) == len(before.spec.stack.blocks) - 1
    assert model.spec.stack.blocks[0].feedforward.inner < before.spec.stack.blocks[0].feedforward.inner
    old, new = open_tokenizer(made / "base"), open_tokenizer(run / "model")
    assert model.spec.stack.embeddings.vocabulary == new.vocabulary < old.vocabulary
    assert facts["pruning"]["parameters"] == model.parameter_count < facts["pruning"]["parameters_before"]
    assert "fewer" in facts["pruning"]["what"]
    first, behind = facts["pruning"]["gap"]
    assert behind == first + 1
    assert "It was pruned: " in (run / "model" / "README.md").read_text()
    assert unpruned(opened.stack.state, run.name) == (opened.workshop.folder(opened.base), "")
    texts = pq.read_table(made / "corpus/data/train-00000-of-00001.parquet")["text"].to_pylist()[:8]
    assert [new.decode(new.encode(t)) for t in texts] == texts
    losses = [row["loss_nats"] for row in read_metrics(run / "metrics.jsonl")]
    assert len(losses) == 12
    assert losses[-1] < 0.9 * losses[0]
    assert bits_per_byte(model, new, texts).value < bits_per_byte(before, old, texts).value
    tokens = Shards(opened.stack.state / "tokens" / str(found.tokens) / "documents")
    assert tokens.facts["vocabulary"] == new.vocabulary
    kept = json.loads((opened.stack.state / "tokenizers" / _only(opened, "tokenizers") / "kept.json").read_bytes())
    assert [new.token_of(i) for i in range(0, len(kept), 7)] == [old.token_of(i) for i in kept[::7]]
    whale = old.encode(" whale")
    assert set(whale) <= set(kept)
    assert not set(old.encode(" blqingly")) <= set(kept)
    shards = opened.stack.state / "tokens" / str(found.tokens)
    assert [s.path.name for s in own_shards(shards, new, open_progress("quiet"))] == ["documents", "replay"]
    assert own_shards(shards, old, open_progress("quiet")) == []
    _remade(opened, found)


def test_what_lost_more_than_its_budget_does_not_come_up(
    plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = STACK.replace('quantize = "none"', 'quality = "-4%"')
    opened, change = plan(served), [0.05]

    def told(file: Path) -> dict[str, Any]:
        return read_json(file) | ({"change": change[0]} if file.name == "quality.json" else {})

    monkeypatch.setattr("lamina.recipes.compression_table.read_json", told)
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"pruned\+int8 needs 5.00% more bits .*4.00% are allowed"):
            up._bring_up_served(opened)
        assert not (opened.stack.state / "current.json").exists()
        with open_registry(opened.stack) as registry:
            assert registry.versions() == []
    change[0] = 0.03
    up._bring_up_served(opened)
    with open_registry(opened.stack) as registry:
        version = registry.resolve("champion")
        folder = registry.folder(version.id)
    assert read_json(folder / "compression.json")["chosen"] == "pruned+int8"
    assert version.run == read_json(opened.stack.state / "current.json")["run"]
    card = (folder / "README.md").read_text()
    assert "It was pruned: " in card
    assert "| pruned+int8 |" in card
    export(source_of(opened.stack, version.id, served=True), opened.stack.state / "m.gguf", type=SERVED)
    assert (opened.stack.state / "m.gguf").stat().st_size > 0


def _stopped(*given: object, **named: object) -> None:
    raise StageError("the machine stopped")


def _only(opened: Plan, shelf: str) -> str:
    (folder,) = (opened.stack.state / shelf).iterdir()
    return folder.name


def _remade(opened: Plan, found: Deployed) -> None:
    """What stands is not made again, and is told to be fresh."""
    marks = {p: p.stat().st_mtime_ns for p in opened.stack.state.glob("*/*/manifest.json")}
    assert deployed(opened) == found
    states = {name: look().state for name, look in conditions(opened).items()}
    assert states == dict.fromkeys(("vocabulary", "pruned-tokens", "pruning"), "fresh")
    assert marks == {p: p.stat().st_mtime_ns for p in opened.stack.state.glob("*/*/manifest.json")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("depth = 0.34", "depth = 1.0"), "depth = 1.0 is not a share"),
        (("depth = 0.34\nwidth = 0.25\nvocabulary = true\n", ""), "names nothing that goes"),
        (('recover = "2s"', 'recover = "0s"'), "needs time to recover"),
        (('[[data.sources]]\nuse = "files"\nfrom = "notes"\n', ""), "recovers on documents"),
        (("[deployment]", '[model.train]\nobjective = "masked-lm"\nmethod = "full"\n[deployment]'), "masked-lm"),
        (("common = 300", "commons = 300"), "did you mean 'common'"),
        (("least = 2", "least = 0"), "least = 0: from"),
    ],
)
def test_mistakes_in_the_stack_file(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in STACK
    file = tmp_path / "lamina.toml"
    file.write_text(STACK.replace(*change))
    with pytest.raises(ConfigError, match=message):
        open_stack(file)
