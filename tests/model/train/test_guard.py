"""The watch on the loss, alone and in a run."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lamina.contracts.tokens import Batch
from lamina.kit.errors import StageError
from lamina.model.train.guard import Guard

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, VOCABULARY, make, run = counting.Texts, counting.VOCABULARY, counting.make, counting.run


def noisy(count: int, around: float = 2.0) -> list[float]:
    return (around + 0.05 * np.random.default_rng(0).standard_normal(count)).tolist()


def test_a_loss_that_wanders_is_let_be() -> None:
    guard = Guard()
    falling = [4.0 * math.exp(-step / 60) + jitter for step, jitter in enumerate(noisy(400, 0.5))]
    assert not any(guard.lost(loss) for loss in falling)


def test_one_bad_batch_is_let_pass_and_three_are_not() -> None:
    guard = Guard(noisy(60))
    assert [guard.lost(loss) for loss in (9.0, 2.0, 9.0, 9.0, 2.0, 9.0, float("nan"), 9.0)] == [False] * 7 + [True]


def test_nothing_is_said_at_the_start() -> None:
    guard = Guard(noisy(10))
    assert not any(guard.lost(50.0) for _ in range(5))


class Poisoned(Texts):
    """Texts, of which the batches in ``bad`` have targets that follow from nothing."""

    bad: range = range(45, 48)

    def __next__(self) -> Batch:
        number = self.drawn
        batch = super().__next__()
        if number in self.bad:
            batch.targets[:] = np.random.default_rng(number).integers(0, VOCABULARY, batch.targets.shape)
        return batch


def returns(work: Path) -> int:
    newest = max((work / "checkpoints").iterdir())
    return int(json.loads((newest / "state.json").read_text())["returns"])


def test_a_run_goes_back_past_bad_data_and_resumes_to_the_bit(tmp_path: Path) -> None:
    settings = {"steps": 60, "checkpoint_steps": 5, "learning_rate": 5e-3}
    whole, broken, resumed = make(), make(), make()
    loss = run(whole, tmp_path / "whole", Poisoned(), **settings).loss
    assert returns(tmp_path / "whole") == 1
    assert loss < 1.0
    steps = [json.loads(line)["step"] for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 61))
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken", Poisoned(stop_at=52), **settings)
    run(resumed, tmp_path / "broken", Poisoned(), **settings)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_run_that_never_finds_its_way_ends_in_words(tmp_path: Path) -> None:
    class Hopeless(Poisoned):
        bad = range(45, 10_000)

    with pytest.raises(StageError, match="stayed up 4 times"):
        run(make(), tmp_path, Hopeless(), steps=80, checkpoint_steps=5, learning_rate=5e-3)
