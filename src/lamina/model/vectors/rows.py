"""Matrices whose rows the kernels can read as whole vectors: padded with zeros, and begun where a cache line begins."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_LINE = 64  # bytes


def aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros of ``shape``, float32, whose first byte begins a cache line."""
    size = math.prod(shape) * 4
    raw = np.zeros(size + _LINE, np.uint8)
    begin = -raw.ctypes.data % _LINE
    return raw[begin : begin + size].view(np.float32).reshape(shape)


def padded(rows: int, width: int) -> NDArray[np.float32]:
    """Zeros (rows, P), where P is ``width`` rounded up to whole cache lines (16 numbers)."""
    return aligned((rows, -(-width // 16) * 16))
