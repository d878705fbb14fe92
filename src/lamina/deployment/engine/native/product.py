"""One quantised matrix in the native library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamina.deployment.engine.native import binding as native
from lamina.kit.errors import LaminaError


def matrix(layer: Any, hold: Callable[[Tensor], int]) -> native.Matrix:
    """A quantised linear ``layer`` as the library takes it; ``hold`` keeps a tensor and gives its address."""
    int4, minimum = layer.weight.dtype == torch.uint8, getattr(layer, "minimum", None)
    return native.Matrix(
        rows=layer.out_features,
        columns=layer.in_features,
        kind=native.INT4 if int4 else native.INT8,
        weights=hold(layer.weight),
        scales=hold(layer.scale if int4 else layer.scale.float()),
        minimums=None if minimum is None else hold(minimum),
        bias=None if layer.bias is None else hold(layer.bias.float()),
    )


class Product:
    """A quantised linear ``layer``, packed, as a function of rows (M, K) float32 -> (M, N) float32.

    ``level``: an index in ``library.LEVELS``, -1 the best. Raises ``LaminaError`` without memory or the library.
    """

    def __init__(self, layer: Any, *, threads: int = 1, level: int = -1) -> None:
        self._library: Any = native.open_library()
        self._shape = layer.out_features, layer.in_features
        held: list[Tensor] = []

        def hold(tensor: Tensor) -> int:
            held.append(tensor.detach().contiguous())
            return held[-1].data_ptr()

        described = matrix(layer, hold)
        self._product = self._library and self._library.lamina_product_open(described, threads, level)
        if not self._product:
            raise LaminaError("the native kernels could not take the matrix", hint=native.describe())

    def __call__(self, x: Tensor) -> Tensor:
        """(M, K) -> (M, N). Raises ``LaminaError`` for rows of another size, and after ``close``."""
        if self._product is None or x.shape[-1] != self._shape[1]:
            raise LaminaError(f"rows of {self._shape[1]} are multiplied, not of {x.shape[-1]}, until it is closed")
        rows = x.float().contiguous()
        out = torch.empty(rows.shape[0], self._shape[0])
        if self._library.lamina_product_apply(self._product, rows.data_ptr(), rows.shape[0], out.data_ptr()):
            raise LaminaError("there is no memory for this product")
        return out

    def close(self) -> None:
        """Give the library's memory back."""
        if self._product:
            self._library.lamina_product_close(self._product)
            self._product = None
