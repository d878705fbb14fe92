"""Runs that go by the wall clock: the rate follows the time, and the run ends with the last step that fits."""

from __future__ import annotations

import importlib.util
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.contracts.tokens import Batch
from lamina.kit.errors import ConfigError
from lamina.kit.log import read_metrics
from lamina.kit.progress import open_progress
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.schedule import learning_rate, rate_at

_spec = importlib.util.spec_from_file_location("counting", Path(__file__).with_name("counting.py"))
assert _spec is not None
assert _spec.loader is not None
counting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(counting)
Texts, make, run = counting.Texts, counting.make, counting.run


class Time:
    """A clock that only batches move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    return made


class Slow(Texts):
    """Texts of which each batch takes a second, and from the 20th on ``later``."""

    def __init__(self, clock: Time, *, later: float | None = None, **given: Any) -> None:
        super().__init__(**given)
        self.clock, self.later = clock, later

    def __next__(self) -> Batch:
        self.clock.now += self.later if self.later is not None and self.drawn >= 20 else 1.0
        return super().__next__()


CLOCK = {"steps": None, "budget_s": 60.0, "pace": "clock"}


def test_it_ends_within_a_step_of_its_budget(tmp_path: Path, clock: Time) -> None:
    result = run(make(), tmp_path, Slow(clock), **CLOCK)
    assert result.ended == "clock"
    assert 1059.0 <= clock.now <= 1060.0
    rows = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert len(rows) == result.steps > 50
    rates = [row["learning_rate"] for row in rows]
    assert max(rates) == pytest.approx(1e-2, rel=0.01)
    assert rates[-1] == pytest.approx(1e-3, rel=0.05)  # the floor


def test_a_slow_spell_shortens_the_run_and_not_its_fall(tmp_path: Path, clock: Time) -> None:
    result = run(make(), tmp_path, Slow(clock, later=4.0), **CLOCK)
    assert result.steps < 0.6 * json.loads((tmp_path / "plan.json").read_text())["steps"]
    assert clock.now <= 1062.0
    rows = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert rows[-1]["learning_rate"] < 1.5e-3


@pytest.mark.parametrize("later", [0.25, 4.0])
def test_what_is_expected_follows_the_steps_that_there_were(tmp_path: Path, clock: Time, later: float) -> None:
    out = io.StringIO()
    result = run(make(), tmp_path, Slow(clock, later=later), progress=open_progress("json", stream=out), **CLOCK)
    rows = [row for row in map(json.loads, out.getvalue().splitlines()) if row.get("task") == "train"]
    assert all(row["done"] <= row["total"] for row in rows)
    assert rows[-1]["done"] == rows[-1]["total"] == result.steps
    planned = json.loads((tmp_path / "plan.json").read_text())["steps"]
    assert rows[0]["total"] == planned
    assert (result.steps > 1.5 * planned) == (later < 1)


def test_a_resumed_run_has_only_the_time_that_is_left(tmp_path: Path, clock: Time) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(make(), tmp_path, Slow(clock, stop_at=34), checkpoint_steps=5, **CLOCK)
    newest = max((tmp_path / "checkpoints").iterdir())
    spent = json.loads((newest / "state.json").read_text())["clock"]
    assert 30 <= spent <= 40
    clock.now = began = 5000.0
    result = run(make(), tmp_path, Slow(clock), checkpoint_steps=5, **CLOCK)
    assert clock.now - began == pytest.approx(60.0 - spent, abs=1.5)
    assert result.ended == "clock"
    rates = [row["learning_rate"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_steps_cap_it_and_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    settings = CLOCK | {"steps": 4, "checkpoint_steps": 2}
    assert run(make(), tmp_path, **settings).ended == "steps"
    assert run(make(), tmp_path, Texts(stop_at=1), **settings).steps == 4


def test_the_clock_needs_a_budget() -> None:
    with pytest.raises(ConfigError, match="budget"):
        TrainParameters(steps=3, pace="clock")


@given(
    share=st.floats(-0.5, 1.5),
    schedule=st.sampled_from(["cosine", "wsd"]),
    warmup=st.floats(0, 1),
    decay=st.floats(0, 1),
)
def test_rates_by_the_clock_are_at_most_the_peak(share: float, schedule, warmup: float, decay: float) -> None:
    parameters = TrainParameters(steps=1, learning_rate=1.0, schedule=schedule, warmup=warmup, decay=decay)
    assert 0 < rate_at(share, parameters) <= 1.0 + 1e-12


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_both_paces_draw_the_same_curve(schedule) -> None:
    parameters = TrainParameters(steps=1, learning_rate=1.0, schedule=schedule, warmup=0.1, decay=0.3)
    for step in range(120, 1000, 37):
        assert rate_at(step / 1000, parameters) == pytest.approx(learning_rate(step, 1000, parameters), abs=2e-3)
