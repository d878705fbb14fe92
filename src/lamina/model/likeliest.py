"""The greatest of many scores, without sorting them all."""

from __future__ import annotations

import torch
from torch import Tensor

_RUN = 256  # neighbours that are looked at as one


def likeliest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` greatest of each row of ``scores`` (rows, V), and where they stand: both (rows, count).

    They are within as many runs of neighbours as have the greatest of their own, so few are sorted.
    """
    runs = scores.shape[1] // _RUN
    if runs <= count:
        return scores.topk(count)
    split = scores[:, : runs * _RUN].unflatten(1, (runs, _RUN))
    chosen = split.amax(-1).topk(count)[1]
    starts = torch.cat((chosen * _RUN, torch.full_like(chosen[:, :1], runs * _RUN)), dim=1)  # the last: what is left
    some = split.gather(1, chosen[:, :, None].expand(-1, -1, _RUN)).flatten(1)
    values, places = torch.cat((some, scores[:, runs * _RUN :]), dim=1).topk(count)
    return values, starts.gather(1, places // _RUN) + places % _RUN
