"""Early stopping: measured as the run goes along, ended when the patience is, with the best weights."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lamina.contracts.tokens import IGNORED, Batch
from lamina.kit.errors import ConfigError
from lamina.kit.log import read_metrics
from lamina.model.train.held_out import HeldOut
from lamina.model.train.objectives import Counts, batch_loss
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.state import TrainState

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, VOCABULARY, make, run = counting.Texts, counting.VOCABULARY, counting.make, counting.run


class Turning(Texts):
    """Texts that teach nonsense from batch 20 on, so that the loss on other texts rises again."""

    def __next__(self) -> Batch:
        number = self.drawn
        batch = super().__next__()
        if number >= 20:
            learned = batch.targets != IGNORED
            batch.targets[learned] = (batch.targets[learned] + 11) % VOCABULARY
        return batch


def texts(count: int = 2) -> list[Batch]:
    stream = Texts()
    stream.drawn = 10_000
    return [next(stream) for _ in range(count)]


SETTINGS: dict[str, Any] = {"steps": 80, "validate_every": 4, "patience": 3, "held_out": texts()}


def loss_of(model: torch.nn.Module) -> float:
    with torch.no_grad():
        counts = Counts.of(texts())
        return sum(float(batch_loss(model, b, torch.device("cpu"), counts)) for b in texts())


def test_it_ends_with_the_best_weights(tmp_path: Path) -> None:
    model = make()
    result = run(model, tmp_path, Turning(), **SETTINGS)
    assert result.ended == "patience"
    assert result.best_step == 20
    assert result.steps == 32  # three measurements later
    measured = {
        row["step"]: row["held_out_nats"] for row in read_metrics(tmp_path / "metrics.jsonl") if "held_out_nats" in row
    }
    assert list(measured) == list(range(4, 33, 4))
    assert min(measured, key=lambda step: measured[step]) == 20
    assert loss_of(model) == pytest.approx(measured[20], rel=1e-5) == pytest.approx(result.held_out, rel=1e-5)


def test_without_patience_it_only_measures(tmp_path: Path) -> None:
    model = make()
    result = run(model, tmp_path, Turning(), **SETTINGS | {"patience": None, "steps": 30})
    assert (result.ended, result.steps, result.best_step) == ("steps", 30, 20)
    assert loss_of(model) > 1.3 * (result.held_out or 0.0)
    assert not (tmp_path / "best").exists()


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    one, two = make(), make()
    run(one, tmp_path / "one")
    run(two, tmp_path / "two", validate_every=3, held_out=texts())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize("killed_at", [10, 23, 30])
@pytest.mark.parametrize("average", [None, 0.5])
def test_it_resumes_to_the_bit(tmp_path: Path, killed_at: int, average: float | None) -> None:
    settings = SETTINGS | {"checkpoint_steps": 7, "average": average}
    whole, resumed = make(), make()
    wanted = run(whole, tmp_path / "whole", Turning(), **settings)
    with pytest.raises(KeyboardInterrupt):
        run(make(), tmp_path / "broken", Turning(stop_at=killed_at), **settings)
    found = run(resumed, tmp_path / "broken", Turning(), **settings)
    assert (found.best_step, found.steps, found.held_out) == (wanted.best_step, wanted.steps, wanted.held_out)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_an_ended_run_is_not_done_again(tmp_path: Path) -> None:
    settings = SETTINGS | {"checkpoint_steps": 7}
    first, second = make(), make()
    run(first, tmp_path, Turning(), **settings)
    again = run(second, tmp_path, Turning(stop_at=1), **settings)
    assert again.ended == "patience"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_weights_that_checkpoints_need_are_kept(tmp_path: Path) -> None:
    run(make(), tmp_path, **SETTINGS | {"steps": 40, "checkpoint_steps": 10})
    kept = {int(path.name.removeprefix("step-")) for path in (tmp_path / "best").iterdir()}
    needed = {json.loads(p.read_text())["best_step"] for p in (tmp_path / "checkpoints").glob("*/state.json")}
    assert needed <= kept
    assert len(kept) <= 3


def test_it_needs_something_to_measure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="held out"):
        run(make(), tmp_path, validate_every=3)
    with pytest.raises(ConfigError, match="patient"):
        TrainParameters(steps=3, patience=2)


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    held = HeldOut(batches=[next(Texts())], every=1, patience=None, folder=tmp_path)
    state = TrainState(step=1, tokens=0, seconds=0.0, skipped=0, stream={})
    state = held.judged(state, math.nan)
    state = held.judged(dataclasses.replace(state, step=2), 3.0)
    assert (state.best, state.best_step) == (3.0, 2)
    state = held.judged(dataclasses.replace(state, step=3), math.nan)
    assert (state.best, state.best_step, state.worse) == (3.0, 2, 1)
