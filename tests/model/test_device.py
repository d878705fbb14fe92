"""What the machine has, and how fast it is."""

from __future__ import annotations

import torch

from lamina.kit.limits import read_limits
from lamina.model.device import memory_of, product_rate, read_rate

CPU = torch.device("cpu")


def test_the_processor_has_what_this_process_may_use() -> None:
    assert memory_of(CPU) == read_limits().memory > 2**28


def test_rates_are_of_this_century() -> None:
    assert 1e9 < product_rate(CPU) < 1e15
    assert 1e8 < read_rate(CPU) < 1e13
