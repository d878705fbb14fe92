"""Scales and minimums of 4-bit groups, fitted to what their layer reads.

With its nibbles as they are, a row of the layer is linear in its scales and minimums, so that those whose products are
least off solve a system of 2 K / 32 equations, made of the second moments of the inputs. Rounding chose them group by
group, as if inputs were independent; together they make up for one another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.deployment.compress.int4 import GROUP, unpacked, values

_SHRINK = 1e-3  # of a system's diagonal, added to it: towards the values that were there
_NUMBERS = 1 << 24  # that are held for some rows at a time


@torch.no_grad()
def fit_grids(weight: Tensor, moments: Tensor, groups: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """``groups`` of a ``weight`` (N, K), as ``round_groups`` gives them, with other scales and minimums.

    ``moments`` (K, K): E[x xᵀ] of the layer's inputs. A row whose products would be no nearer keeps its own.
    """
    nibbles, scale, minimum = groups
    count = scale.shape[1]
    blocks = moments.view(count, GROUP, count, GROUP)
    rows = max(1, _NUMBERS // (weight.shape[1] * count))
    parts = [
        _fitted(*some, moments, blocks)
        for some in zip(
            weight.detach().float().split(rows),
            unpacked(nibbles).split(rows),
            scale.split(rows),
            minimum.split(rows),
            strict=True,
        )
    ]
    scales, minimums = (torch.cat(part) for part in zip(*parts, strict=True))
    return nibbles, scales, minimums


def _fitted(
    weight: Tensor, whole: Tensor, scale: Tensor, minimum: Tensor, moments: Tensor, blocks: Tensor
) -> tuple[Tensor, Tensor]:
    """Of some rows: ``whole`` (N, G, 32) are their nibbles, ``blocks`` (G, 32, G, 32) the moments."""
    across = torch.einsum("gihj,nhj->ngih", blocks, whole)
    of_scales = torch.einsum("ngi,ngih->ngh", whole, across)
    mixed = across.sum(2)  # minimum of g, scale of h
    of_minimums = blocks.sum((1, 3)).expand_as(of_scales)
    upper, lower = torch.cat((of_scales, mixed.mT), -1), torch.cat((mixed, of_minimums), -1)
    system = torch.cat((upper, lower), 1).double()
    read = (weight @ moments).view_as(whole)
    target = torch.cat(((whole * read).sum(-1), read.sum(-1)), -1).double()
    before = torch.cat((scale, minimum), -1).double()
    shrink = _SHRINK * system.diagonal(dim1=1, dim2=2) + torch.finfo(torch.float32).tiny
    found = torch.linalg.solve(system + torch.diag_embed(shrink), target + shrink * before)
    scales, minimums = found.half().split(scale.shape[1], dim=-1)
    nearer = _errors(weight, whole, scales, minimums, moments) < _errors(weight, whole, scale, minimum, moments)
    return torch.where(nearer[:, None], scales, scale), torch.where(nearer[:, None], minimums, minimum)


def _errors(weight: Tensor, whole: Tensor, scale: Tensor, minimum: Tensor, moments: Tensor) -> Tensor:
    """E[((rounded - weight) x)²] of each row."""
    off = values(whole, scale.float().unsqueeze(-1), minimum.float().unsqueeze(-1)).flatten(1) - weight
    return torch.nan_to_num(((off @ moments) * off).sum(1), nan=torch.inf)
