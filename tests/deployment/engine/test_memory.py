"""Memory of blocks that is given back, and what is beside it."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pytest
import torch

from lamina.deployment.engine.memory import give_back, make_store

BLOCK, HEADS, BLOCKS, DIM = 16, 2, 512, 64  # a block of a head is a page of 4 KiB in float32


def resident(store: torch.Tensor) -> int:
    """Bytes of ``store`` that are in memory, by the kernel."""
    first, last, found = store.data_ptr(), store.data_ptr() + store.nbytes, 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if place := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(place[1], 16) < last and int(place[2], 16) > first
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_blocks_are_given_back_and_their_neighbours_stay(dtype: torch.dtype) -> None:
    store = make_store((HEADS, BLOCKS * BLOCK, DIM), dtype, torch.device("cpu"))
    assert store.data_ptr() % mmap.PAGESIZE == 0
    before = resident(store)
    store.fill_(7)
    full = resident(store)
    assert full - before > 0.9 * store.nbytes
    gone = [*range(100, 300), *range(400, 500), 17]
    give_back([store], gone, BLOCK)
    assert full - resident(store) > 0.95 * HEADS * 300 * BLOCK * DIM * store.element_size()
    rows = store.view(HEADS, BLOCKS, BLOCK, DIM)
    kept = [block for block in range(BLOCKS) if block not in gone]
    assert bool((rows[:, kept] == 7).all())
    assert bool((rows[:, 101:299] == 0).all())
    store[:, 100 * BLOCK : 300 * BLOCK] = 3
    assert bool((rows[:, 100:300] == 3).all()), "they can be written to again"


def test_scales_beside_a_store_are_given_back_where_they_fill_pages() -> None:
    scales = make_store((HEADS, BLOCKS * BLOCK), torch.float32, torch.device("cpu"))
    scales.fill_(7)
    full = resident(scales)
    give_back([scales], range(100, 400), BLOCK)
    assert full - resident(scales) >= HEADS * 3 * mmap.PAGESIZE
    kept = [slot for slot in range(BLOCKS * BLOCK) if not 100 * BLOCK <= slot < 400 * BLOCK]
    assert bool((scales[:, kept] == 7).all())


def test_memory_comes_as_it_is_written_to() -> None:
    store = make_store((HEADS, 64 * BLOCKS * BLOCK, DIM), torch.float32, torch.device("cpu"))
    before = resident(store)
    store[:, :BLOCK] = 1
    assert resident(store) - before <= 8 * mmap.PAGESIZE * HEADS, "no huge pages"
