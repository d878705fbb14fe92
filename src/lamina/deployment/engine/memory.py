"""Memory of keys and values that can be given back in parts: whole pages of blocks that nobody needs (madvise(2))."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor

_PAGE = mmap.PAGESIZE
_DONT_NEED, _NO_HUGE_PAGES = 4, 15  # of Linux, <sys/mman.h>


def make_store(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tensor. On the processor it begins at a page, and memory comes as it is written to, page by page: in
    huge pages the first token would bring memory for thousands."""
    if device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    size = torch.empty((), dtype=dtype).element_size()
    count = 1
    for length in shape:
        count *= length
    whole = torch.empty(count * size + 2 * _PAGE, dtype=torch.uint8)
    start = -whole.data_ptr() % _PAGE
    store = whole[start : start + count * size].view(dtype).view(*shape)
    _advise(store.data_ptr(), -(-count * size // _PAGE) * _PAGE, _NO_HUGE_PAGES)
    return store


def give_back(stores: Iterable[Tensor], blocks: Sequence[int], block_tokens: int) -> None:
    """Give the memory of ``blocks`` back; their content is lost. ``stores`` are of the form (heads, slots, …), on the
    processor."""
    runs = []
    for _, group in groupby(enumerate(sorted(blocks)), lambda pair: pair[1] - pair[0]):
        members = [block for _, block in group]
        runs.append((members[0] * block_tokens, (members[-1] + 1) * block_tokens))
    for store in stores:
        if store.device.type != "cpu":
            continue
        slot = store.stride(1) * store.element_size()
        for head in store:
            for first, end in runs:
                begin = -(-(head.data_ptr() + first * slot) // _PAGE) * _PAGE
                last = (head.data_ptr() + end * slot) // _PAGE * _PAGE
                if last > begin:
                    _advise(begin, last - begin, _DONT_NEED)


def _advise(address: int, length: int, advice: int) -> None:
    """What the system refuses is left as it is."""
    call = getattr(_LIBRARY, "madvise", None)
    if call is not None:
        call(ctypes.c_void_p(address), ctypes.c_size_t(length), advice)


_LIBRARY = ctypes.CDLL(None)
