"""What is shown of a run's last checkpoint."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lamina.kit.log import MetricsWriter
from lamina.kit.progress import open_progress
from lamina.model.train import TrainParameters, train
from lamina.model.train.proof import check_resume

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)


def trained(work: Path, **settings: Any) -> tuple[Any, Any]:
    """A model as training left it (adapters not merged), and its stream at the end."""
    model, stream = counting.make(), counting.Texts()
    settings = {"steps": 6, "precision": "float32", "checkpoint_s": 300.0} | settings
    train(
        model,
        stream,
        parameters=TrainParameters(**settings),
        work=work,
        progress=open_progress("quiet"),
        metrics=MetricsWriter(work / "metrics.jsonl"),
        merge=False,
    )
    return model, stream


@pytest.mark.parametrize("settings", [{}, {"method": "lora"}, {"average": 0.9}, {"optimizer": "muon"}])
def test_a_run_can_go_on_from_its_last_checkpoint(tmp_path: Path, settings: dict[str, Any]) -> None:
    model, stream = trained(tmp_path, **settings)
    place = stream.state()
    found = check_resume(tmp_path / "checkpoints", model, stream)
    assert found.verdict == "pass", found
    assert found.measured.startswith("step 6; ")
    assert stream.state() == place


def test_other_weights_a_wrong_place_and_damage_fail(tmp_path: Path) -> None:
    model, stream = trained(tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000000006"
    stream.drawn += 1
    found = check_resume(tmp_path / "run" / "checkpoints", model, stream)
    assert (found.verdict, "the next batch is another" in found.measured) == ("fail", True)
    stream.drawn -= 1
    with torch.no_grad():
        model.stack.blocks[0].feedforward.down.weight[0, 0] += 1e-6
    found = check_resume(tmp_path / "run" / "checkpoints", model, stream)
    assert (found.verdict, "other weights" in found.measured) == ("fail", True)
    facts = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").write_text(json.dumps(facts | {"step": 7}))
    found = check_resume(tmp_path / "run" / "checkpoints", model, stream)
    assert (found.verdict, "cannot be read" in found.measured) == ("fail", True)


def test_a_run_without_checkpoints_has_nothing_to_show(tmp_path: Path) -> None:
    model, stream = trained(tmp_path, checkpoint_s=None)
    shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
    assert check_resume(tmp_path / "checkpoints", model, stream).verdict == "not applicable"
