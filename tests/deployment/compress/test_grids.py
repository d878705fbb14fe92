"""Scales and minimums that are fitted to the inputs of a layer: never worse, and as good as they can be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lamina.deployment.compress import grids
from lamina.deployment.compress.awq import output_error
from lamina.deployment.compress.grids import fit_grids
from lamina.deployment.compress.int4 import Int4Linear, packed, round_groups, unpacked


def inputs(width: int, generator: torch.Generator, rank: int = 12) -> Tensor:
    """Moments of inputs that depend on each other, of unlike size."""
    mixed = torch.randn(rank, width, generator=generator) * torch.logspace(-1, 1, width)
    x = torch.randn(200, rank, generator=generator) @ mixed + 0.1 * torch.randn(200, width, generator=generator)
    return x.T @ x / len(x)


def of_rows(weight: Tensor, groups: tuple[Tensor, Tensor, Tensor], moments: Tensor) -> list[float]:
    made = Int4Linear(*groups).widened()
    return [output_error(weight[n : n + 1], made[n : n + 1], moments) for n in range(len(weight))]


@given(
    seed=st.integers(0, 10_000), groups=st.integers(1, 4), rows=st.integers(1, 9), split=st.sampled_from([1, 1 << 24])
)
@settings(max_examples=30, deadline=None)
def test_no_row_is_further_off_than_before(seed: int, groups: int, rows: int, split: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    width = 32 * groups
    weight = torch.randn(rows, width, generator=generator)
    moments = inputs(width, generator, rank=seed % 20 + 1)
    if seed % 3 == 0:
        moments[:32] = moments[:, :32] = 0.0  # inputs that never come
    before = round_groups(weight)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grids, "_NUMBERS", split)
        after = fit_grids(weight, moments, before)
    assert torch.equal(after[0], before[0])
    assert [part.dtype for part in after] == [torch.uint8, torch.float16, torch.float16]
    for new, old in zip(of_rows(weight, after, moments), of_rows(weight, before, moments), strict=True):
        assert new <= old * (1 + 1e-4) + 1e-9
    if seed % 3 == 0:
        assert torch.equal(after[1][:, 0], before[1][:, 0])


def test_groups_make_up_for_each_other() -> None:
    generator = torch.Generator().manual_seed(3)
    weight, moments = torch.randn(24, 128, generator=generator), inputs(128, generator)
    before = round_groups(weight)
    after = fit_grids(weight, moments, before)
    least, plain = (sum(of_rows(weight, found, moments)) for found in (after, before))
    assert least < 0.5 * plain
    for sign in (1.02, 0.98):  # whichever of them is changed, it is worse
        for part in (1, 2):
            for group in range(4):
                other = [t.clone() for t in after]
                other[part][:, group] *= sign
                assert sum(of_rows(weight, tuple(other), moments)) > least  # type: ignore[arg-type]


def test_the_grid_that_a_weight_lies_on_is_found() -> None:
    generator = torch.Generator().manual_seed(5)
    whole = torch.randint(0, 16, (6, 3, 32), generator=generator).float()
    scale, minimum = (torch.rand(6, 3, generator=generator) + 0.5).half(), torch.randn(6, 3, generator=generator).half()
    weight = Int4Linear(packed(whole), scale, minimum).widened()
    assert torch.equal(unpacked(packed(whole)), whole)
    off = (packed(whole), (scale * 1.1).half(), (minimum - 0.2).half())
    moments = inputs(96, generator, rank=96)
    found = fit_grids(weight, moments, off)
    assert sum(of_rows(weight, found, moments)) < 1e-4 * sum(of_rows(weight, off, moments))
    torch.testing.assert_close(found[1], scale, rtol=5e-3, atol=0)
