"""A start waits for trials only as long as it is not clear which way is faster."""

from __future__ import annotations

import pytest

from lamina.deployment.engine import choice


@pytest.mark.parametrize(
    ("first", "later", "calls", "taken"),
    [
        ((1, 10), (1, 10), 1, True),
        ((1, 3), (1, 3), 2, True),
        ((1, 10), (1, 1), 1, True),
        ((3, 10), (1, 1.5), 4, True),
        ((1, 1.5), (1, 1.5), 4, True),
        ((2, 1), (2, 1), 4, False),
        ((9, 8), (1, 2), 2, True),
    ],
)
def test_as_many_calls_as_it_takes(monkeypatch, first, later, calls, taken) -> None:
    now, made = [0.0], [0, 0]

    def way(which: int) -> None:
        now[0] += (first if made[which] == 0 else later)[which]
        made[which] += 1

    monkeypatch.setattr(choice.time, "perf_counter", lambda: now[0])
    assert choice.faster(lambda: way(0), lambda: way(1), "a step") is taken
    assert made == [calls, calls]
