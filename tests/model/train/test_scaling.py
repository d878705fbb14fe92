"""The arithmetic of sizes: monotone where it must be, within its caps, and equal to closed forms where they exist."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.kit.errors import ConfigError
from lamina.model.architectures.gpt import llama
from lamina.model.train.scaling import Choice, Law, Shape, Speed, choose, effective, fit_speed, rows_of_step, shapes
from lamina.model.transformer import Transformer

SPEED = Speed(fixed=2e-5, each=2e-11)


def chosen(**changed: float) -> Choice:
    settings = {
        "seconds": 1200.0,
        "speed": SPEED,
        "unique_tokens": 10**8,
        "bytes_per_token": 3.4,
        "memory": 8 * 2**30,
        "length": 256,
    }
    return choose(shapes(8192), **settings | changed)  # type: ignore[arg-type]


def test_more_time_never_means_a_smaller_model_or_a_worse_prediction() -> None:
    found = [chosen(seconds=60.0 * 4**k) for k in range(8)]
    sizes = [choice.shape.blocks for choice in found]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    predicted = [choice.bits_per_byte for choice in found]
    assert predicted == sorted(predicted, reverse=True)


def test_the_choice_is_the_best_of_all() -> None:
    law, choice = Law(), chosen()
    for shape in shapes(8192):
        size = 1200.0 * SPEED.tokens_per_s(shape.parameters) * 3.4
        assert choice.bits_per_byte <= law.bits_per_byte(shape.blocks, size) + 1e-12
    assert choice.low < choice.bits_per_byte < choice.high


def test_it_is_the_closed_form_where_sizes_are_dense() -> None:
    # With c N seconds a token, the best N is (size·a / (data·b) · (D N)^b)^(1 / (a + b)) (arXiv 2203.15556, eq. 4).
    law, budget, each = Law(), 4e5, 1e-10
    product = budget / each * 1.0 / 1e12  # N · D, both in millions, of one byte a token
    a, b = law.size_power, law.data_power
    best = (law.size * a / (law.data * b) * product**b) ** (1 / (a + b))
    dense = [Shape(width=8, layers=layers, vocabulary=0) for layers in range(1, 20_000)]
    found = choose(
        dense,
        seconds=budget,
        speed=Speed(fixed=0.0, each=each),
        unique_tokens=10**15,
        bytes_per_token=1.0,
        memory=1e15,
        length=256,
    )
    assert found.shape.blocks / 1e6 == pytest.approx(best, rel=0.02)


def test_caps_hold() -> None:
    large = 10.0**8
    assert chosen(seconds=large, unique_tokens=10**12).shape.width == 1024
    few = chosen(seconds=large, unique_tokens=3_000_000)
    assert few.shape.blocks <= 3_000_000
    small = chosen(seconds=large, memory=2.0 * 16 * 5e6)
    assert small.shape.parameters <= 5e6
    assert chosen(unique_tokens=10).shape == shapes(8192)[0]
    with pytest.raises(ConfigError, match="no model fits"):
        chosen(memory=1000.0)


@given(tokens=st.floats(1, 1e12), unique=st.floats(1, 1e9))
def test_repeats_are_worth_less_and_never_nothing(tokens: float, unique: float) -> None:
    worth = effective(tokens, unique)
    assert worth <= tokens * (1 + 1e-12)
    assert worth <= unique * 16.4
    assert effective(tokens * 1.5, unique) >= worth
    if tokens <= unique:
        assert worth == tokens


def test_four_passes_are_nearly_as_good_as_new_data() -> None:  # what arXiv 2305.16264 is known for
    assert effective(4.0, 1.0) > 3.6
    assert effective(100.0, 1.0) < 17


def test_speed_is_found_again() -> None:
    points = [(n, SPEED.tokens_per_s(n)) for n in (7e5, 4e6, 2e7)]
    found = fit_speed(points)
    assert (found.fixed, found.each) == (pytest.approx(SPEED.fixed), pytest.approx(SPEED.each))
    odd = fit_speed([(1e6, 1e4), (4e6, 1e5)])  # a machine that was busy at first: no negative times
    assert odd.fixed >= 0
    assert odd.each > 0


def test_steps_are_many_and_batches_powers_of_two() -> None:
    assert rows_of_step(100_000, 256) == 1
    for tokens in (10**6, 10**7, 10**8, 10**10):
        rows = rows_of_step(tokens, 256)
        assert rows == 2 ** round(math.log2(rows))
        assert tokens / (rows * 256) >= 1900
        assert rows * 256 <= 65536


def test_far_from_what_was_measured_the_interval_is_wide() -> None:
    law = Law()
    (low, high), (least, most) = law.interval(1e6, 3e7), law.interval(1e9, 1e11)
    assert (most - least) / law.bits_per_byte(1e9, 1e11) == pytest.approx(
        2 * (high - low) / law.bits_per_byte(1e6, 3e7)
    )


@pytest.mark.parametrize("shape", shapes(512)[:4])
def test_parameters_are_the_models(shape: Shape) -> None:
    spec = llama(
        vocabulary=512, width=shape.width, layers=shape.layers, heads=shape.heads, inner=shape.inner, max_positions=64
    )
    assert Transformer(spec).parameter_count == pytest.approx(shape.parameters, rel=0.01)
