"""Checkpoints of a run: weights, optimizer, random generator and the stream's place; the newest whole one wins."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lamina.kit.durable import publish, verify
from lamina.kit.errors import CorruptError, StorageError
from lamina.model.train.optimizers import Average, Optimizer

_KEPT = 2  # checkpoints; the older of them is there for the day that the newer one is damaged
_WEIGHTS, _FACTS = "state.safetensors", "state.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainState:
    """Where a run stands after ``step`` steps. ``stream`` is what ``BatchStream.restore`` takes."""

    step: int
    tokens: int  # learned so far
    seconds: float  # spent so far, over all its lives
    skipped: int  # steps in a row whose gradient was not finite
    stream: Mapping[str, Any]
    returns: int = 0  # times that the run went back to a checkpoint because its loss rose


def save_state(
    folder: Path,
    state: TrainState,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    average: Average | None = None,
) -> Path:
    """Publish a checkpoint under ``folder`` and remove all but the newest two. Returns its path."""
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value.detach().contiguous()
    if average is not None:
        tensors |= {f"average/{name}": value.contiguous() for name, value in average.values.items()}
    facts = {name: getattr(state, name) for name in ("step", "tokens", "seconds", "skipped", "returns")}
    path = folder / f"step-{state.step:09d}"
    with publish(path) as staging:
        save_file(tensors, staging / _WEIGHTS)
        (staging / _FACTS).write_text(json.dumps(facts | {"stream": dict(state.stream)}), encoding="utf-8")
    for old in _checkpoints(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_state(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer, average: Average | None = None
) -> TrainState | None:
    """Restore the newest checkpoint whose bytes are what was recorded; None where there is none.

    A damaged one is passed over with a warning; where all are damaged, ``CorruptError`` of the newest.
    """
    damage: CorruptError | None = None
    for path in _checkpoints(folder):
        try:
            verify(path)
        except CorruptError as error:
            _log.warning("passed over a damaged checkpoint: %s", error)
            damage = damage or error
            continue
        return _restore(path, parameters, optimizer, average)
    if damage is not None:
        raise damage
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted((p for p in folder.glob("step-*") if p.is_dir()), reverse=True) if folder.is_dir() else []


@torch.no_grad()
def _restore(
    path: Path, parameters: Mapping[str, nn.Parameter], optimizer: Optimizer, average: Average | None
) -> TrainState:
    try:
        tensors = load_file(path / _WEIGHTS)
        facts = json.loads((path / _FACTS).read_bytes())
        state = TrainState(**facts)
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"cannot read the checkpoint: {error}", where=str(path)) from error
    for name, parameter in parameters.items():
        saved = tensors.get(f"weight/{name}")
        if saved is None or saved.shape != parameter.shape:
            raise CorruptError(f"the checkpoint is of another model: '{name}' does not fit", where=str(path))
        parameter.copy_(saved)
        kept = {
            key.split("/", 2)[1]: value.clone()
            for key, value in tensors.items()
            if key.startswith("optimizer/") and key.split("/", 2)[2] == name
        }
        if kept:
            optimizer.state[parameter] = kept
        if average is not None:
            if f"average/{name}" not in tensors:
                raise CorruptError(f"the checkpoint has no average of '{name}'", where=str(path))
            average.values[name].copy_(tensors[f"average/{name}"])
    torch.set_rng_state(tensors["random"])
    return state
