"""What is seen of a training run while it goes, none of which changes what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.kit import config
from lamina.recipes.stack import Stack
from lamina.recipes.train_section import WATCHING, TrainSection

if TYPE_CHECKING:
    from lamina.kit.tokenizer import ModelTokenizer
    from lamina.model.train.observers import Observer


def deciding(section: TrainSection) -> dict[str, Any]:
    """The keys of ``[model.train]`` that decide what comes out: parameters of a stage."""
    return {name: value for name, value in config.resolved(section).items() if name not in WATCHING}


def watching(section: TrainSection, stack: Stack) -> dict[str, Any]:
    """The others, and where trackers write: for the stage's context."""
    table = config.resolved(section)
    return {name: table.get(name) for name in WATCHING} | {"folder": str(stack.state / "tracking"), "name": stack.name}


def observers(
    watch: Mapping[str, Any] | None, section: TrainSection, tokenizer: ModelTokenizer, work: Path
) -> list[Observer]:
    """The observers of a run in ``work``. Raises ``MissingExtraError`` where a tracker is not installed."""
    from lamina.model.train.distributed import Team
    from lamina.model.train.peak import Peak
    from lamina.model.train.samples import Samples
    from lamina.model.train.tracking import MLflow, TensorBoard

    found: list[Observer] = [Peak(rows=section.batch * section.length, passes=2 if section.method == "lora" else 3)]
    if watch is None or not Team().lead:
        return found
    metrics, folder = work / "metrics.jsonl", Path(watch["folder"])
    if watch["samples"]:
        found.append(Samples(watch["samples"], tokenizer, work / "samples.jsonl", every=watch["sample_every"]))
    if "tensorboard" in watch["track"]:
        found.append(TensorBoard(folder / "tensorboard" / f"{watch['name']}-{work.name[:8]}", metrics))
    if "mlflow" in watch["track"]:
        found.append(MLflow(folder / "mlflow", metrics, work / "mlflow-run", name=f"{watch['name']}-{work.name[:8]}"))
    return found
