from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.data.packing import best_fit


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 80))
def test_every_size_is_in_one_bin_and_no_bin_is_over_full(data: st.DataObject, capacity: int) -> None:
    sizes = data.draw(st.lists(st.integers(1, capacity), max_size=80))
    bins = best_fit(sizes, capacity)
    assert sorted(i for b in bins for i in b) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in b) <= capacity for b in bins)
    least = math.ceil(sum(sizes) / capacity)
    assert len(bins) <= 11 / 9 * max(least, sum(s > capacity / 2 for s in sizes)) + 1 or len(bins) <= 2 * least


def test_takes_the_fullest_bin_that_fits() -> None:
    assert best_fit([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]
