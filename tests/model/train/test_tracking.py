"""Curves in TensorBoard and MLflow, read back by these tools."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamina.kit.errors import MissingExtraError
from lamina.kit.log import read_metrics
from lamina.model.train.tracking import MLflow, TensorBoard

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)


def interrupted(folder: Path, tracker: Any, between: Callable[[], None] = lambda: None) -> None:
    """A run that is stopped after a checkpoint, some steps further on, and resumed."""
    with pytest.raises(KeyboardInterrupt):
        counting.run(
            counting.make(), folder, counting.Texts(stop_at=6), steps=8, checkpoint_steps=2, observers=[tracker()]
        )
    between()
    counting.run(counting.make(), folder, steps=8, checkpoint_steps=2, observers=[tracker()])


def test_tensorboard_has_the_curve_of_the_metrics(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics, folder = tmp_path / "metrics.jsonl", tmp_path / "tensorboard" / "run"
    interrupted(tmp_path, lambda: TensorBoard(folder, metrics))
    found = EventAccumulator(str(folder))
    found.Reload()
    wanted = [(row["step"], pytest.approx(row["loss_nats"])) for row in read_metrics(metrics)]
    assert [(event.step, event.value) for event in found.Scalars("train/loss_nats")] == wanted
    assert len(wanted) == 8
    assert "train/learning_rate" in found.Tags()["scalars"]


def test_mlflow_has_one_run_with_the_curve_of_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    metrics, note = tmp_path / "metrics.jsonl", tmp_path / "mlflow-run"
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    between: list[str] = []
    interrupted(
        tmp_path,
        lambda: MLflow(tmp_path / "mlflow", metrics, note, name="counting"),
        lambda: between.append(client.get_run(note.read_text()).info.status),
    )
    assert between == ["FAILED"]
    experiment = client.get_experiment_by_name("lamina")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name, run.info.run_id) == ("FINISHED", "counting", note.read_text())
    assert run.data.params["steps"] == "8"
    last = {}
    for point in sorted(client.get_metric_history(run.info.run_id, "loss_nats"), key=lambda p: p.timestamp):
        last[point.step] = point.value
    assert last == {row["step"]: pytest.approx(row["loss_nats"]) for row in read_metrics(metrics)}
    assert len(last) == 8


def test_without_the_extra_it_is_said_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *more: Any) -> Any:
        if name in ("tensorboard", "mlflow"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match="'tensorboard' is not installed") as raised:
        TensorBoard(tmp_path / "board", tmp_path / "metrics.jsonl")
    assert raised.value.hint == "pip install 'lamina[track]'"
    with pytest.raises(MissingExtraError, match="'mlflow' is not installed"):
        MLflow(tmp_path / "mlflow", tmp_path / "metrics.jsonl", tmp_path / "note", name="x")
    assert not (tmp_path / "board").exists()
