"""Which adapters a captured step can reach: a table on the device of where their matrices lie, a slot for each.

A captured graph reads addresses that were fixed when it was captured. So an adapter's own are no part of it: they stand
in a table (as in S-LoRA, arXiv 2311.03285), and each row of a step says which slot of it holds its adapter.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lamina.deployment.engine.adapters import PRODUCTS, EngineAdapter

MOST_RANK = 128  # of an adapter in a captured step; one of a greater rank goes through torch
MOST_PARTS = 3  # of a product: query, key and value
FIELDS = 6  # of a part: the addresses of down and up, rank, row stride of down, first output, outputs


class AdapterSlots:
    """``table`` (slots, layers, products, parts, fields) int64 on ``device``; rank 0: no such part.

    Adapters are not held: the slot of one that is gone is free, and what stands in it is read by nobody. The sequences
    of a step hold those that it reads.
    """

    def __init__(self, slots: int, layers: int, device: torch.device) -> None:
        self.table = torch.zeros((slots, layers, len(PRODUCTS), MOST_PARTS, FIELDS), dtype=torch.int64, device=device)
        self._owners: list[weakref.ref[EngineAdapter] | None] = [None] * slots
        self._slots: weakref.WeakKeyDictionary[EngineAdapter, int] = weakref.WeakKeyDictionary()
        self._used = [0] * slots  # the step that used each last
        self._step = 0

    def of(self, adapters: Sequence[EngineAdapter | None]) -> list[int]:
        """The slots of a step's ``adapters``, -1 for None: at most as many different ones as there are slots.

        One that has none takes that of an adapter that is gone, else of the one not in this step that was used longest
        ago. Its table is copied in the order of the stream: what runs still reads the old one, what comes the new. The
        copy waits for the stream, once for each adapter that comes.
        """
        self._step += 1
        wanted = dict.fromkeys(adapter for adapter in adapters if adapter is not None)
        new = []
        for adapter in wanted:
            slot = self._slots.get(adapter)
            if slot is None or self._owner(slot) is not adapter:
                new.append(adapter)
            else:
                self._used[slot] = self._step
        for adapter in new:
            slot = self._free()
            self.table[slot].copy_(entries(adapter))
            self._owners[slot], self._used[slot] = weakref.ref(adapter), self._step
            self._slots[adapter] = slot
        return [-1 if adapter is None else self._slots[adapter] for adapter in adapters]

    def _owner(self, slot: int) -> EngineAdapter | None:
        found = self._owners[slot]
        return None if found is None else found()

    def _free(self) -> int:
        unused = (slot for slot, step in enumerate(self._used) if step < self._step)
        return min(unused, key=lambda slot: (self._owner(slot) is not None, self._used[slot]))


def entries(adapter: EngineAdapter) -> Tensor:
    """What the table says of ``adapter``, whose matrices stay where they are: (layers, products, parts, fields) int64.

    ``ValueError``: a matrix is laid out as the kernels do not read it, or of a rank that they have no room for.
    """
    if adapter.rank > MOST_RANK:
        raise ValueError(f"{adapter.key}: of rank {adapter.rank}, at most {MOST_RANK} is possible here")
    found = torch.zeros((len(adapter.parts), len(PRODUCTS), MOST_PARTS, FIELDS), dtype=torch.int64)
    rows = found.numpy()
    for number, layer in enumerate(adapter.parts):
        for product, parts in enumerate(layer):
            for index, part in enumerate(parts):
                down, up = part.down, part.up
                if {down.dtype, up.dtype} != {torch.float32} or down.stride(1) != 1 or not up.is_contiguous():
                    raise ValueError(f"{adapter.key}: not float32 in rows")
                place = down.data_ptr(), up.data_ptr(), len(down), down.stride(0), part.begin, up.shape[1]
                rows[number, product, index] = place
    return found


def shapes(begins: Iterable[int], outputs: int) -> tuple[int, int]:
    """How many parts a product of ``outputs`` outputs has, and the outputs of the widest; ``begins``: of each."""
    edges = [*begins, outputs]
    return len(edges) - 1, max(end - begin for begin, end in pairwise(edges))
