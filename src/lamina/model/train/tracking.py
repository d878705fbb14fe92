"""A run's curves in TensorBoard and in MLflow (extra ``track``), beside ``metrics.jsonl``, which is what counts.

Both are observers of ``train``. A run that resumes has one curve: what a kill kept from a tracker is taken from the
metrics, and what a run took back is overwritten.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamina.kit.durable import atomic_write, make_folder
from lamina.kit.errors import require
from lamina.kit.log import read_metrics
from lamina.kit.progress import Progress
from lamina.model.train.plan import Plan
from lamina.model.transformer import Transformer

_WAIT_S = 5.0  # rows that are sent together
_ROWS = 200  # and at most so many; MLflow takes 1,000 figures at once


class TensorBoard:
    """Writes event files into ``folder``; ``metrics`` is the run's own file."""

    needs_model = False

    def __init__(self, folder: Path, metrics: Path) -> None:
        require("tensorboard", extra="track", why="to write for TensorBoard")
        self._folder, self._metrics = folder, metrics
        self._writer: Any = None

    def begin(self, model: Transformer, step: int, plan: Plan, progress: Progress) -> None:
        """Write anew what the metrics hold."""
        from torch.utils.tensorboard import SummaryWriter

        self.close(well=False)
        shutil.rmtree(self._folder, ignore_errors=True)
        make_folder(self._folder)
        self._writer = SummaryWriter(str(self._folder), flush_secs=10)
        for row in read_metrics(self._metrics):
            self.see(row)
        progress.say(f"TensorBoard: tensorboard --logdir {self._folder.parent}")

    def see(self, facts: Mapping[str, Any]) -> Mapping[str, str]:
        """Write the figures of a step."""
        for name, value in _figures(facts).items():
            self._writer.add_scalar(f"train/{name}", value, facts["step"])
        return {}

    def close(self, *, well: bool) -> None:
        """Write out what is held back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MLflow:
    """Logs to the server that ``MLFLOW_TRACKING_URI`` names, or to a database in ``folder``.

    ``note`` keeps MLflow's id of the run for its next life; ``metrics`` is the run's own file.
    """

    needs_model = False

    def __init__(self, folder: Path, metrics: Path, note: Path, *, name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing of a run is told to anybody
        mlflow: Any = require("mlflow", extra="track", why="to write for MLflow")
        self._entities: Any = require("mlflow.entities", extra="track", why="to write for MLflow")
        self._metrics, self._note, self._name, self._run = metrics, note, name, ""
        self._rows: list[Mapping[str, Any]] = []
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            require("alembic", extra="track", why="to keep MLflow's database here")
            make_folder(folder)
            uri = f"sqlite:///{folder.absolute()}/mlflow.db"
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
        self._uri = uri

    def begin(self, model: Transformer, step: int, plan: Plan, progress: Progress) -> None:
        """Open the run, or the one of an earlier life, and send what it lacks."""
        if self._run:  # it went back to a checkpoint: what comes is written over what was
            return
        if self._note.is_file():
            self._run = self._note.read_text(encoding="utf-8")
            self._client.update_run(self._run, "RUNNING")
        else:
            found = self._client.get_experiment_by_name("lamina")
            experiment = found.experiment_id if found else self._client.create_experiment("lamina")
            self._run = self._client.create_run(experiment, run_name=self._name).info.run_id
            atomic_write(self._note, self._run.encode())
            for name, value in plan.parameters.items():
                self._client.log_param(self._run, name, value)
        self._sent = time.monotonic()
        known = self._client.get_metric_history(self._run, "loss_nats")
        last = max((point.step for point in known), default=0)
        self._rows = [row for row in read_metrics(self._metrics) if row["step"] > last]
        self._send()
        progress.say(f"MLflow: mlflow ui --backend-store-uri {self._uri}")

    def see(self, facts: Mapping[str, Any]) -> Mapping[str, str]:
        """Send the figures of the steps, several at once."""
        self._rows.append(dict(facts))
        if time.monotonic() - self._sent >= _WAIT_S or len(self._rows) >= _ROWS:
            self._send()
        return {}

    def close(self, *, well: bool) -> None:
        """Send what is held back, and say how the run ended; one that is resumed runs again."""
        if self._run:
            self._send()
            self._client.set_terminated(self._run, status="FINISHED" if well else "FAILED")

    def _send(self) -> None:
        now = int(time.time() * 1000)
        made = [
            self._entities.Metric(name, value, now, row["step"])
            for row in self._rows
            for name, value in _figures(row).items()
        ]
        for begin in range(0, len(made), 1000):
            self._client.log_batch(self._run, metrics=made[begin : begin + 1000])
        self._rows, self._sent = [], time.monotonic()


def _figures(facts: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row; a figure that is not finite stands as null in the metrics, and in no curve."""
    return {
        name: float(value)
        for name, value in facts.items()
        if name != "step" and isinstance(value, int | float) and value == value and abs(value) != float("inf")
    }
