"""Adapters as the native library takes them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from lamina.deployment.engine.adapters import PRODUCTS, EngineAdapter
from lamina.deployment.engine.native import binding as native


class Adapters:
    """The tables of the adapters that steps were computed with; each lives as long as its adapter, whose tensors it
    points to."""

    def __init__(self) -> None:
        self._tables: WeakKeyDictionary[EngineAdapter, ctypes.Array[native.LowRank]] = WeakKeyDictionary()

    def rows(self, adapters: Sequence[EngineAdapter | None]) -> ctypes.Array[ctypes.c_void_p] | None:
        """The addresses of each row's table (null: no adapter); None where no row has one."""
        if not any(adapters):
            return None
        found = [None if adapter is None else ctypes.addressof(self._table(adapter)) for adapter in adapters]
        return (ctypes.c_void_p * len(found))(*found)

    def _table(self, adapter: EngineAdapter) -> ctypes.Array[native.LowRank]:
        if adapter not in self._tables:
            table = (native.LowRank * (len(adapter.parts) * len(PRODUCTS) * native.PARTS))()
            for layer, products in enumerate(adapter.parts):
                for product, parts in enumerate(products):
                    for place, part in enumerate(parts):
                        rank, rows = part.up.shape
                        table[(layer * len(PRODUCTS) + product) * native.PARTS + place] = native.LowRank(
                            rank, part.begin, rows, part.down.data_ptr(), part.up.data_ptr()
                        )
            self._tables[adapter] = table
        return self._tables[adapter]
