"""Casts that autocast would do again and again, done once."""

from __future__ import annotations

import torch
from torch import Tensor


def lowered(x: Tensor) -> Tensor:
    """``x`` in the precision of autocast's products; as it is where there is no autocast.

    Autocast itself casts what is neither a weight to be trained nor cast yet at each product that takes it.
    """
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(torch.get_autocast_dtype(x.device.type))
