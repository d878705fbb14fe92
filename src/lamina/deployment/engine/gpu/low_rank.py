"""Triton kernels that add to each row of a product what the row's own adapter makes of its input.

As in Punica (arXiv 2310.18547) and S-LoRA (arXiv 2311.03285): a table on the device says where each adapter's matrices
lie, each row says which adapter is its own, and two kernels go down to the rank and up again. A program belongs to
rows of one adapter; its sums are in the same order whoever stands beside them. One whose rows have none returns at
once and leaves them as they are, bit for bit. All sums are float32, rounded once when they are added.
"""

# Triton reads these functions' source: their types are its own, and mypy does not see them.
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

from lamina.deployment.engine.gpu.slots import FIELDS, MOST_RANK

_SPLITS = 8  # programs that share the ranks of a part
_DOT = 16  # the least that each side of ``tl.dot`` has


@triton.jit
def _part(slots, tiles, table, slot_stride, FIELDS: tl.constexpr, ROWS: tl.constexpr):
    """The first of a program's rows, how many they are, the entry of its part in the table, and the rank there."""
    first = tl.program_id(0)
    count = 1
    if ROWS > 1:
        count = tl.load(tiles + 2 * first + 1)
        first = tl.load(tiles + 2 * first)
    slot = tl.load(slots + first, mask=count > 0, other=-1).to(tl.int64)
    entry = table + slot * slot_stride + tl.program_id(1) * FIELDS
    rank = tl.load(entry + 2, mask=slot >= 0, other=0).to(tl.int32)
    return first, count, entry, rank


@triton.jit
def _shrink(
    x, low, slots, tiles, table, slot_stride, width,
    PARTS: tl.constexpr, MOST: tl.constexpr, FIELDS: tl.constexpr, ROWS: tl.constexpr, RANKS: tl.constexpr,
    INPUTS: tl.constexpr,
):  # fmt: skip
    first, count, entry, rank = _part(slots, tiles, table, slot_stride, FIELDS, ROWS)
    line, at = tl.arange(0, ROWS), tl.arange(0, INPUTS)
    real = line < count
    for begin in range(tl.program_id(2) * RANKS, rank, tl.num_programs(2) * RANKS):
        down = tl.load(entry).to(tl.pointer_type(tl.float32))
        stride = tl.load(entry + 3)
        ranks = begin + tl.arange(0, RANKS)
        if ROWS == 1:
            total = tl.zeros((RANKS, INPUTS), tl.float32)
        else:
            total = tl.zeros((ROWS, RANKS), tl.float32)
        for start in range(0, width, INPUTS):
            inside = start + at < width
            value = tl.load(
                x + (first + line)[:, None] * width + (start + at)[None, :],
                mask=real[:, None] & inside[None, :],
                other=0.0,
            ).to(tl.float32)
            weight = tl.load(
                down + ranks[:, None] * stride + (start + at)[None, :],
                mask=(ranks < rank)[:, None] & inside[None, :],
                other=0.0,
            )
            if ROWS == 1:
                total += weight * value
            else:
                total = tl.dot(value, tl.trans(weight), total, input_precision="ieee")
        if ROWS == 1:
            found = tl.sum(total, 1)[None, :]
        else:
            found = total
        place = ((first + line) * PARTS + tl.program_id(1))[:, None] * MOST + ranks[None, :]
        tl.store(low + place, found, mask=real[:, None] & (ranks < rank)[None, :])


@triton.jit
def _expand(
    low, out, slots, tiles, table, slot_stride, width,
    PARTS: tl.constexpr, MOST: tl.constexpr, FIELDS: tl.constexpr, ROWS: tl.constexpr, RANKS: tl.constexpr,
    OUTPUTS: tl.constexpr,
):  # fmt: skip
    first, count, entry, rank = _part(slots, tiles, table, slot_stride, FIELDS, ROWS)
    if rank > 0:
        up = tl.load(entry + 1).to(tl.pointer_type(tl.float32))
        outputs = tl.load(entry + 5)
        line, at = tl.arange(0, ROWS), tl.program_id(2) * OUTPUTS + tl.arange(0, OUTPUTS)
        real, inside = line < count, at < outputs
        source = low + ((first + line) * PARTS + tl.program_id(1))[:, None] * MOST
        total = tl.zeros((ROWS, OUTPUTS), tl.float32)
        for begin in range(0, rank, RANKS):
            ranks = begin + tl.arange(0, RANKS)
            value = tl.load(source + ranks[None, :], mask=real[:, None] & (ranks < rank)[None, :], other=0.0)
            weight = tl.load(
                up + ranks[:, None] * outputs + at[None, :], mask=(ranks < rank)[:, None] & inside[None, :], other=0.0
            )
            if ROWS == 1:
                total += tl.sum(tl.trans(value) * weight, 0)[None, :]
            else:
                total = tl.dot(value, weight, total, input_precision="ieee")
        place = out + (first + line)[:, None] * width + (tl.load(entry + 4) + at)[None, :]
        mask = real[:, None] & inside[None, :]
        total += tl.load(place, mask=mask, other=0.0).to(tl.float32)
        tl.store(place, total.to(out.dtype.element_ty), mask=mask)


def room(rows, parts, device):
    """What ``add`` computes in, for products of at most ``parts`` parts."""
    return torch.empty((rows, parts, MOST_RANK), dtype=torch.float32, device=device)


def add(x, out, low, slots, tiles, table, *, parts, widest, tile):
    """Add to ``out`` (N, outputs), in place, what the adapters in ``slots`` (N,) int32 (-1: none) make of ``x`` (N,
    inputs); both contiguous.

    ``table`` (slots, parts, fields) int64: the product's, see ``slots``; it has ``parts`` parts, of at most ``widest``
    outputs. ``low`` is scratch, see ``room``. ``tiles`` (n, 2) as ``kernels.attend_together`` has them, of at most
    ``tile`` rows; without any each row is by itself.
    """
    width = x.shape[1]
    if len(tiles):
        rows = max(_DOT, triton.next_power_of_2(tile))
        ranks, inputs, outputs = _DOT, min(64, max(_DOT, triton.next_power_of_2(width))), 64
    else:
        rows, ranks, inputs, outputs = 1, 4, min(1024, triton.next_power_of_2(width)), 256
    # Without tiles none are read: an empty tensor has no address.
    programs, common = len(tiles) or len(x), (slots, tiles if len(tiles) else slots, table, table.stride(0))
    sizes = {"PARTS": low.shape[1], "MOST": low.shape[2], "FIELDS": FIELDS, "ROWS": rows}
    _shrink[(programs, parts, _SPLITS)](x, low, *common, width, **sizes, RANKS=ranks, INPUTS=inputs)
    grid = (programs, parts, triton.cdiv(widest, outputs))
    _expand[grid](low, out, *common, out.shape[1], **sizes, RANKS=_DOT, OUTPUTS=outputs)


def probe():
    """Launch them: an import alone does not show that kernels can be compiled."""
    x, slots = torch.zeros((1, 16), device="cuda"), torch.full((1,), -1, dtype=torch.int32, device="cuda")
    tiles, table = torch.zeros((1, 2), dtype=torch.int32, device="cuda"), torch.zeros((1, 1, FIELDS), device="cuda")
    for there in (tiles, tiles[:0]):
        add(x, x, room(1, 1, "cuda"), slots, there, table.long(), parts=1, widest=16, tile=1)
    torch.cuda.current_stream().synchronize()
