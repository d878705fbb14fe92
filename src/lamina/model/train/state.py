"""Checkpoints of a run: weights, optimizer, random generator and the stream's place; the newest whole one wins."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lamina.kit.durable import publish, verify
from lamina.kit.errors import CorruptError, StorageError
from lamina.model.train.distributed import like, whole
from lamina.model.train.optimizers import Average, Optimizer

_KEPT = 2  # checkpoints; the older of them is there for the day that the newer one is damaged
_WEIGHTS, _FACTS = "state.safetensors", "state.json"
_GPU_RANDOM = "random on the GPU"
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
    clock: float = 0.0  # seconds of the run's wall clock
    best: float | None = None  # the lowest loss on held-out batches (nats)
    best_step: int | None = None  # and the step that it was measured after
    worse: int = 0  # measurements since
    measured: int | None = None  # the step of the last one


def save_state(
    folder: Path,
    state: TrainState,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    average: Average | None = None,
    *,
    lead: bool = True,
) -> Path:
    """Publish a checkpoint under ``folder`` and remove all but the newest two. Returns its path.

    Tensors that are shared out over processes are written whole, by the one that has the ``lead``; all must call.
    """
    tensors = random_state(_device(parameters))
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = whole(parameter.detach()).contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = whole(value.detach()).contiguous()
    if average is not None:
        tensors |= {f"average/{name}": whole(value).contiguous() for name, value in average.values.items()}
    facts = asdict(replace(state, stream=dict(state.stream)))
    path = folder / f"step-{state.step:09d}"
    if not lead:
        return path
    with publish(path) as staging:
        write_tensors(tensors, staging / _WEIGHTS)
        (staging / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
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


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The random generators that training on ``device`` draws from, as bytes by name."""
    found = {"random": torch.get_rng_state()}
    if device.type == "cuda":  # dropout there draws from a generator of its own
        found[_GPU_RANDOM] = torch.cuda.get_rng_state(device)
    return found


def restore_random(found: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what ``random_state`` gave; a run that comes from another device keeps that device's generator."""
    torch.set_rng_state(found["random"])
    if device.type == "cuda" and _GPU_RANDOM in found:
        torch.cuda.set_rng_state(found[_GPU_RANDOM], device)


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """A safetensors file. Raises ``StorageError`` where the disk does not take it."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:  # it hides the OSError
        raise StorageError(f"cannot write the weights: {error}", where=str(path), hint="free some space") from error


def read_facts(folder: Path) -> list[dict[str, Any]]:
    """What the checkpoints under ``folder`` say of themselves, newest first; unreadable ones are passed over."""
    found = []
    for path in _checkpoints(folder):
        try:
            found.append(dict(json.loads((path / _FACTS).read_bytes())))
        except (OSError, ValueError):
            continue
    return found


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
        parameter.copy_(like(saved, parameter))
        kept = {
            key.split("/", 2)[1]: like(value, parameter).clone()
            for key, value in tensors.items()
            if key.startswith("optimizer/") and key.split("/", 2)[2] == name
        }
        if kept:
            optimizer.state[parameter] = kept
        if average is not None:
            if f"average/{name}" not in tensors:
                raise CorruptError(f"the checkpoint has no average of '{name}'", where=str(path))
            average.values[name].copy_(like(tensors[f"average/{name}"], parameter))
    restore_random(tensors, _device(parameters))
    return state


def _device(parameters: Mapping[str, nn.Parameter]) -> torch.device:
    return next((parameter.device for parameter in parameters.values()), torch.device("cpu"))
