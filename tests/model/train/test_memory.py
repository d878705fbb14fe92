"""Freed memory that stays: a second round of large arrays takes no new pages from the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys
import numpy as np
from lamina.model.train.memory import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    print("no glibc")
    sys.exit()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(10_000_000, np.float32) for _ in range(3)]
    del arrays
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> list[int]:
    """Page faults of each round, in a process of its own (the setting is the process')."""
    done = subprocess.run([sys.executable, "-c", ROUNDS, how], capture_output=True, text=True, check=True)
    if "no glibc" in done.stdout:
        pytest.skip("needs glibc")
    return [int(line) for line in done.stdout.split()]


def test_later_rounds_take_no_new_pages() -> None:
    kept, usual = faults("kept"), faults("usual")
    assert kept[2] < usual[2] / 10
