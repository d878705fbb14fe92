"""How a stack's training is planned: sizes that are chosen, held-out losses, processes that share a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lamina.kit import config
from lamina.kit.errors import ConfigError
from lamina.kit.log import read_metrics
from lamina.kit.progress import open_progress
from lamina.model.checkpoint import open_model
from lamina.recipes import sizing
from lamina.recipes.corpus import tokenize, train_tokenizer
from lamina.recipes.fresh import fresh_model
from lamina.recipes.ranks import shared_out
from lamina.recipes.sizing import size, sized, spec_of
from lamina.recipes.stack import TokenizerSection, TrainSection, open_stack
from lamina.recipes.train_parameters import train_parameters
from lamina.recipes.training import train_on_documents

STACK = """
name = "planned"
[[data.sources]]
use = "files"
from = "notes"
[data.tokenizer]
use = "bpe"
[model]
architecture = "gpt"
[model.train]
method = "full"
"""

LINGERING = """
import os, time
from pathlib import Path
from lamina.kit.progress import open_progress
from lamina.recipes.ranks import shared_out
from lamina.recipes.train_section import TrainSection

def stage(staging, work, *told):
    Path(f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    place = Path.cwd()
    shared_out("lingering:stage", place, place, {}, {}, open_progress("quiet"), TrainSection(steps=1, workers=2))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus, its tokenizer and tokens, and a fresh model, each as its stage makes it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "corpus" / "data").mkdir(parents=True)
    for split, numbers in (("train", range(30)), ("held_out", range(30, 36))):
        texts = [f"The whale number {n} swims in the cold sea, and {n + 2} gulls fly over it. " * 8 for n in numbers]
        rows: dict[str, Any] = {"id": [f"{n:032x}" for n in numbers], "text": texts, "source": ["notes"] * len(texts)}
        rows["parent_id"] = pa.nulls(len(texts), pa.string())
        pq.write_table(pa.table(rows), folder / "corpus" / "data" / f"{split}-00000-of-00001.parquet")
    quiet, inputs = open_progress("quiet"), {"corpus": folder / "corpus"}
    for name, stage, parameters in (
        ("tokenizer", train_tokenizer, config.resolved(TokenizerSection(use="bpe", vocabulary=400))),
        ("tokens", tokenize, {"replay": False, "seed": 0, "context": {"reuse": None, "workers": 1}}),
        ("base", fresh_model, {"architecture": "gpt", "preset": "nano", "seed": 0}),
    ):
        (folder / name).mkdir()
        stage(folder / name, folder / "work" / name, {"context": {}, **parameters}, inputs, quiet)
        inputs[name] = folder / name
    return inputs


def trained(made: dict[str, Path], folder: Path, inputs: dict[str, Path] | None = None, **keys: Any) -> dict[str, Any]:
    """What a run says of itself."""
    section = TrainSection(**{"method": "full", "batch": 2, "length": 32, "replay": 0.0, "compile": "never"} | keys)
    (folder / "staging").mkdir()
    parameters = {"train": config.resolved(section), "context": {"stack": {}}}
    given = {"base": made["base"], "tokens": made["tokens"]} | (inputs or {})
    train_on_documents(folder / "staging", folder / "work", parameters, given, open_progress("quiet"))
    return dict(json.loads((folder / "staging" / "run.json").read_bytes()))


def test_a_run_measures_documents_that_it_never_sees(made: dict[str, Path], tmp_path: Path) -> None:
    facts = trained(made, tmp_path, {"corpus": made["corpus"]}, steps=8, validate_every=3, patience=5)
    rows = [row for row in read_metrics(tmp_path / "staging" / "metrics.jsonl") if "held_out_nats" in row]
    assert [row["step"] for row in rows] == [3, 6]
    assert facts["held_out_nats"] < rows[0]["held_out_nats"] * 1.01
    assert facts["best_step"] == 8


def test_a_corpus_that_holds_nothing_out_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    whole = tmp_path / "corpus"
    (whole / "data").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds no document out"):
        trained(made, tmp_path, {"corpus": whole}, steps=2, validate_every=1)


@pytest.fixture
def choice(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A size chosen for twelve seconds on a machine of which only the speed is made up."""
    monkeypatch.setattr(sizing, "_probe", lambda width, layers, vocabulary, longest, device: (1e5 * width, 4e7 / width))
    folder = tmp_path / "sizing"
    folder.mkdir()
    parameters = {"budget_s": 12.0, "context": {"machines": str(tmp_path / "machines"), "device": "cpu"}}
    size(folder, tmp_path / "work", parameters, made, open_progress("quiet"))
    return folder


def test_the_size_is_chosen_recorded_and_built(made: dict[str, Path], choice: Path, tmp_path: Path) -> None:
    found = json.loads((choice / "sizing.json").read_bytes())
    assert found["unique_tokens"] == json.loads((made["tokens"] / "summary.json").read_bytes())["tokens"]
    assert found["low"] <= found["bits_per_byte"] <= found["high"]
    spec = spec_of(choice, 400)
    assert len(spec.stack.blocks) == found["shape"]["layers"]
    (tmp_path / "base").mkdir()
    inputs = {"tokenizer": made["tokenizer"], "sizing": choice}
    parameters = {"architecture": "gpt", "preset": "auto", "seed": 0, "context": {}}
    fresh_model(tmp_path / "base", tmp_path / "fresh", parameters, inputs, open_progress("quiet"))
    assert open_model(tmp_path / "base").parameter_count == pytest.approx(found["parameters"], rel=0.01)
    section = sized(TrainSection(method="full", budget="12s"), choice)
    parameters = train_parameters(section, 1000, None)
    assert (parameters.pace, parameters.learning_rate) == ("clock", found["learning_rate"])
    assert 6.0 <= (parameters.budget_s or 0.0) <= 12.0
    assert section.batch * section.accumulate == found["rows"]


def test_a_machine_is_measured_once(
    made: dict[str, Path], choice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "_probe", lambda *_: pytest.fail("measured again"))
    (tmp_path / "again").mkdir()
    parameters = {"budget_s": 12.0, "context": {"machines": str(tmp_path / "machines"), "device": "cpu"}}
    size(tmp_path / "again", tmp_path / "work", parameters, made, open_progress("quiet"))
    first, second = (json.loads((f / "sizing.json").read_bytes()) for f in (choice, tmp_path / "again"))
    assert first["speed"] == second["speed"]


def test_a_probe_trains_for_real() -> None:
    parameters, speed = sizing._probe(64, 1, 300, 0.0, torch.device("cpu"))
    assert parameters == 300 * 64 + 4 * 64 * 64 + 3 * 64 * 192
    assert speed > 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "needs a 'preset'"),
        ({"steps": 10, "preset": "auto"}, "for a time"),
        ({"architecture": "bert", "preset": "auto"}, "only a GPT's"),
        ({"budget": "1m", "patience": 3}, "needs 'validate_every'"),
        ({"steps": 3, "pace": "clock", "preset": "tiny"}, "needs a budget"),
        ({"budget": "1m", "workers": 0}, "at least one process"),
        ({"objective": "dpo", "rows": {"from": "r.jsonl"}, "workers": 2}, "one process learns from rows"),
        ({"objective": "dpo", "rows": {"from": "r.jsonl"}, "validate_every": 9}, 'not measured for "dpo"'),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    file = tmp_path / "lamina.toml"
    file.write_text(STACK)
    model = ("architecture", "preset")
    given = [f"model.{'' if k in model else 'train.'}{k}={json.dumps(v)}" for k, v in keys.items() if k != "rows"]
    given += [f"model.train.rows.{k}={json.dumps(v)}" for k, v in keys.get("rows", {}).items()]
    with pytest.raises(ConfigError) as caught:
        open_stack(file, given)
    assert words in str(caught.value)


def test_a_gpt_with_a_budget_needs_no_preset(tmp_path: Path) -> None:
    (tmp_path / "lamina.toml").write_text(STACK)
    stack = open_stack(tmp_path / "lamina.toml", ["model.train.budget=20m"])
    assert stack.model is not None
    assert stack.model.preset == "auto"


def test_one_process_is_not_shared_out(tmp_path: Path) -> None:
    section = TrainSection(steps=1)
    assert not shared_out("x:y", tmp_path, tmp_path, {}, {}, open_progress("quiet"), section)


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(made: dict[str, Path], tmp_path: Path, executor: str) -> None:
    import torch

    keys: dict[str, Any] = {"steps": 3, "batch": 2}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = trained(made, tmp_path / "one", **keys)
    two = trained(made, tmp_path / "two", **keys, workers=2, executor=executor)
    assert one["tokens"] == two["tokens"]
    models = [open_model(tmp_path / name / "staging" / "model") for name in ("one", "two")]
    for ours, theirs in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # AdamW blows rounding of small gradients up


def test_what_goes_wrong_in_a_process_is_told(made: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be shared out over 2 processes"):
        trained(made, tmp_path, steps=2, batch=1, workers=2)


def test_processes_do_not_outlive_the_stage_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "lingering.py").write_text(LINGERING)
    begun = subprocess.Popen(
        [sys.executable, "-m", "lingering"], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        pids = [int(until(lambda rank=rank: (tmp_path / f"pid-{rank}").read_text())) for rank in (0, 1)]
    finally:
        begun.kill()
        begun.wait()
    for pid in pids:
        until(lambda pid=pid: "gone" if not Path(f"/proc/{pid}").exists() else "")


def until(look: Callable[[], str]) -> str:
    """What ``look`` finds, once it finds something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with suppress(OSError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_keys_of_the_section_reach_the_loop() -> None:
    section = TrainSection(budget="20m", pace="clock", validate_every=7, patience=2, compile="always")
    parameters = train_parameters(section, 1000, None)
    assert (parameters.pace, parameters.validate_every, parameters.patience) == ("clock", 7, 2)
    assert parameters.compile == "always"
    assert train_parameters(replace(section, budget=None, pace="steps"), 1000, None).budget_s == 120.0
