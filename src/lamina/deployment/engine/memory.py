"""Memory of keys and values that can be given back in parts: whole pages of blocks that nobody needs (madvise(2))."""

from __future__ import annotations

import ctypes
import math
import mmap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby

import torch
from torch import Tensor

_PAGE = mmap.PAGESIZE


def make_store(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor for keys and values. On the processor it begins at a page, and memory comes as it is written to, page by
    page: in huge pages the first token would bring memory for thousands."""
    if device.type != "cpu":
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
    pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # not every system has it
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(shape)).view(*shape)


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
                    _drop(begin, last - begin)


def _drop(address: int, length: int) -> None:
    """Where the system does not, the memory is kept."""
    advice, call = getattr(mmap, "MADV_DONTNEED", None), getattr(_LIBRARY, "madvise", None)
    if advice is not None and call is not None:
        call(ctypes.c_void_p(address), ctypes.c_size_t(length), advice)


_LIBRARY = ctypes.CDLL(None)
