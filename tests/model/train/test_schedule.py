from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.errors import ConfigError
from lamina.model.train.parameters import TrainParameters
from lamina.model.train.schedule import learning_rate


def rates(steps: int, **settings) -> list[float]:
    parameters = TrainParameters(steps=steps, learning_rate=1.0, **settings)
    return [learning_rate(step, steps, parameters) for step in range(steps)]


def test_cosine_rises_then_falls_to_the_floor():
    found = rates(100, schedule="cosine", warmup=0.1, floor=0.1)
    assert found[0] == pytest.approx(1 / 11)
    assert found[10] == 1.0
    assert found[:11] == sorted(found[:11])
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[55] == pytest.approx(0.55)
    assert 0.1 < found[-1] < 0.101


def test_wsd_is_flat_between():
    found = rates(100, schedule="wsd", warmup=0.1, decay=0.2, floor=0.0)
    assert set(found[10:81]) == {1.0}
    assert found[90] == pytest.approx(0.5)
    assert found[99] == pytest.approx(0.05)


@given(
    steps=st.integers(1, 50),
    schedule=st.sampled_from(["cosine", "wsd"]),
    warmup=st.floats(0, 1),
    decay=st.floats(0, 1),
    floor=st.floats(0, 1),
)
def test_rates_are_above_zero_and_at_most_the_peak(steps: int, schedule, warmup: float, decay: float, floor: float):
    for rate in rates(steps, schedule=schedule, warmup=warmup, decay=decay, floor=floor):
        assert 0 < rate <= 1.0 + 1e-12


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"steps": 0},
        {"steps": 1, "warmup": 1.5},
        {"steps": 1, "schedule": "triangle"},
        {"steps": 1, "clip": 0.0},
    ],
)
def test_impossible_parameters(settings: dict):
    with pytest.raises(ConfigError):
        TrainParameters(**settings)


def test_parameters_as_json():
    parameters = TrainParameters(budget_s=9.0, method="lora", targets=("q",))
    assert TrainParameters.from_json(parameters.to_json()) == parameters
    with pytest.raises(ConfigError, match="stpes"):
        TrainParameters.from_json({"stpes": 3})
