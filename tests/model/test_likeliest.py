"""The greatest scores of rows are found among few of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina.model.likeliest import likeliest


@given(
    width=st.integers(1, 6000),
    count=st.integers(1, 12),
    kinds=st.integers(1, 3000),  # few of them: many are equal
    hidden=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_they_are_those_of_a_whole_sort(width: int, count: int, kinds: int, hidden: bool, seed: int) -> None:
    count, draw = min(count, width), torch.Generator().manual_seed(seed)
    scores = torch.randint(kinds, (3, width), generator=draw).float() - kinds / 2
    if hidden:
        scores[torch.rand(3, width, generator=draw) < 0.5] = -torch.inf
    values, places = likeliest(scores, count)
    assert torch.equal(values, scores.sort(-1, descending=True)[0][:, :count])
    assert torch.equal(scores.gather(1, places), values)
    assert all(len(set(row)) == count for row in places.tolist())


@pytest.mark.parametrize("place", [0, 255, 256, 5119, 5120, 5375])
def test_it_is_found_wherever_it_stands(place: int) -> None:
    scores = torch.zeros(2, 5376 + 7)
    scores[1, place] = 1.0
    assert likeliest(scores, 4)[1][1, 0] == place
    scores[0, -1] = 1.0  # behind the last whole run
    assert likeliest(scores, 4)[1][0, 0] == 5376 + 6
