"""Triton kernels of a step on a GPU: a handful of launches a layer instead of dozens.

Rows are tokens of sequences, each with its position and its owner, the number of its sequence's table of pages. Keys
and values lie as in ``runner``: (2 · kv_heads, slots, head_dim), in pages. Where each sequence has one row, attention
splits its context over several programs and joins their parts by their peaks and masses (flash decoding: Dao et al.
2023); else rows of one sequence that follow each other see their context together, tile by tile (arXiv 2205.14135).
"""

# Triton reads these functions' source: their types are its own, and mypy does not see them.
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

_TILE = 64  # tokens of the context at a time
_ROWS = 16  # the fewest rows that tensor cores multiply
_TOGETHER = {64: 64, 128: 64, 256: 32}  # rows of queries that see their context together, by the size of a head
_ACTIVATIONS = {"silu": 0, "gelu-tanh": 1, "gelu": 2, "relu": 3, "relu2": 4}


@triton.jit
def _add_norm(x, y, weight, bias, out, width, eps, ADD: tl.constexpr, LAYER: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row * width + at, mask=inside, other=0.0)
    if ADD:
        value += tl.load(y + row * width + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(x + row * width + at, value, mask=inside)
    if LAYER:
        value = tl.where(inside, value - tl.sum(value) / width, 0.0)
    value *= tl.rsqrt(tl.sum(value * value) / width + eps)
    value *= tl.load(weight + at, mask=inside, other=0.0)
    if LAYER:
        value += tl.load(bias + at, mask=inside, other=0.0)
    tl.store(out + row * width + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _place(
    qkv, queries, store, cosines, sines, positions, owners, tables, table_width, slots,
    HEADS: tl.constexpr, KV: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, TURN: tl.constexpr,
):  # fmt: skip
    row, head, at = tl.program_id(0), tl.program_id(1), tl.arange(0, DIM)
    position = tl.load(positions + row)
    base = qkv + (row * (HEADS + 2 * KV) + head) * DIM
    value = tl.load(base + at).to(tl.float32)
    if TURN and head < HEADS + KV:
        other = tl.load(base + (at + DIM // 2) % DIM).to(tl.float32)
        value = value * tl.load(cosines + position * DIM + at) + other * tl.load(sines + position * DIM + at)
    if head < HEADS:
        tl.store(queries + (row * HEADS + head) * DIM + at, value.to(queries.dtype.element_ty))
    else:
        page = tl.load(tables + tl.load(owners + row) * table_width + position // PAGE).to(tl.int64)
        slot = (head - HEADS) * slots + page * PAGE + position % PAGE
        tl.store(store + slot * DIM + at, value.to(store.dtype.element_ty))


@triton.jit
def _see(
    query, store, table, head, slots, token, there, seen, scale, peak, mass, total,
    KV: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    """Take a tile of keys and values into the running softmax of some queries; ``seen``: by which of them each is."""
    at = tl.arange(0, DIM)
    page = tl.load(table + token // PAGE, mask=there, other=0).to(tl.int64)
    slot = head * slots + page * PAGE + token % PAGE
    key = tl.load(store + slot[:, None] * DIM + at[None, :], mask=there[:, None], other=0.0)
    score = tl.where(seen, tl.dot(query, tl.trans(key)) * scale, float("-inf"))
    higher = tl.maximum(peak, tl.max(score, 1))
    weight = tl.exp(score - higher[:, None])
    fade = tl.exp(peak - higher)
    value = tl.load(store + (slot + KV * slots)[:, None] * DIM + at[None, :], mask=there[:, None], other=0.0)
    total = total * fade[:, None] + tl.dot(weight.to(value.dtype), value)
    return higher, mass * fade + tl.sum(weight, 1), total


@triton.jit
def _attend(
    queries, store, positions, owners, tables, table_width, slots, scale, sums, peaks, masses,
    GROUP: tl.constexpr, KV: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, SPLITS: tl.constexpr,
    TILE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    table = tables + tl.load(owners + row) * table_width
    length = tl.load(positions + row) + 1
    share = tl.cdiv(tl.cdiv(length, SPLITS), TILE) * TILE
    begin = split * share
    end = tl.minimum(begin + share, length)
    group, at, tile = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, TILE)
    real = group < GROUP
    place = (row * KV + head) * GROUP + group
    query = tl.load(queries + place[:, None] * DIM + at[None, :], mask=real[:, None], other=0.0)
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((ROWS, DIM), tl.float32)
    for start in range(begin, end, TILE):
        token = start + tile
        there = token < end
        peak, mass, total = _see(
            query, store, table, head, slots, token, there, there[None, :], scale, peak, mass, total, KV, DIM, PAGE
        )
    part = place * SPLITS + split
    tl.store(sums + part[:, None] * DIM + at[None, :], total, mask=real[:, None])
    tl.store(peaks + part, peak, mask=real)
    tl.store(masses + part, mass, mask=real)


@triton.jit
def _attend_together(
    queries, store, positions, owners, tiles, tables, table_width, slots, scale, out,
    GROUP: tl.constexpr, KV: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, TILE: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    first = tl.load(tiles + 2 * tl.program_id(0))
    count = tl.load(tiles + 2 * tl.program_id(0) + 1)
    head = tl.program_id(1)
    if count > 0:
        line, at, tile = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, TILE)
        row = first + line // GROUP
        real = line // GROUP < count
        table = tables + tl.load(owners + first) * table_width
        position = tl.load(positions + row, mask=real, other=0)
        place = (row * KV + head) * GROUP + line % GROUP
        query = tl.load(queries + place[:, None] * DIM + at[None, :], mask=real[:, None], other=0.0)
        peak = tl.full((ROWS,), float("-inf"), tl.float32)
        mass = tl.zeros((ROWS,), tl.float32)
        total = tl.zeros((ROWS, DIM), tl.float32)
        end = tl.max(position, 0) + 1
        for start in range(0, end, TILE):
            token = start + tile
            seen = token[None, :] <= position[:, None]
            peak, mass, total = _see(
                query, store, table, head, slots, token, token < end, seen, scale, peak, mass, total, KV, DIM, PAGE
            )
        found = (total / mass[:, None]).to(out.dtype.element_ty)
        tl.store(out + place[:, None] * DIM + at[None, :], found, mask=real[:, None])


@triton.jit
def _join(sums, peaks, masses, out, DIM: tl.constexpr, SPLITS: tl.constexpr):
    head, at, split = tl.program_id(0), tl.arange(0, DIM), tl.arange(0, SPLITS)
    part = head * SPLITS + split
    peak = tl.load(peaks + part)
    weight = tl.exp(peak - tl.max(peak, 0))
    mass = tl.sum(weight * tl.load(masses + part), 0)
    total = tl.sum(weight[:, None] * tl.load(sums + part[:, None] * DIM + at[None, :]), 0)
    tl.store(out + head * DIM + at, (total / mass).to(out.dtype.element_ty))


@triton.jit
def _activated(x, KIND: tl.constexpr):
    """The activation of that kind of float32 numbers."""
    if KIND == 0:
        x = x * tl.sigmoid(x)
    elif KIND == 1:  # 0.5 (1 + tanh(z)) = sigmoid(2z)
        x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    elif KIND == 2:
        x = 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))
    else:
        x = tl.maximum(x, 0.0)
        if KIND == 4:
            x = x * x
    return x


@triton.jit
def _activate(inner, out, width, GATED: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    stride = 2 * width if GATED else width
    x = tl.load(inner + row * stride + at, mask=inside, other=0.0).to(tl.float32)
    x = _activated(x, KIND)
    if GATED:
        x *= tl.load(inner + row * stride + width + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + at, x.to(out.dtype.element_ty), mask=inside)


def add_norm(x, y, weight, bias, eps, out):
    """``x`` (B, D) float32 += ``y`` (B, D), unless None; ``out`` (B, D): its norm, LayerNorm where there is a bias."""
    rows, width = x.shape
    _add_norm[(rows,)](
        x, x if y is None else y, weight, weight if bias is None else bias, out, width, eps,
        ADD=y is not None, LAYER=bias is not None, BLOCK=triton.next_power_of_2(width),
    )  # fmt: skip


def place(qkv, queries, store, rotary, rows, page, heads, kv_heads):
    """Turn the queries and keys of ``qkv`` (N, (heads + 2 · kv_heads) · Dh) to their places; store keys and values.

    ``rows``: positions (N,), owners (N,) and tables (S, pages) of int32, as everywhere here."""
    dim = store.shape[-1]
    cosines, sines = (queries, queries) if rotary is None else rotary
    _place[(qkv.shape[0], heads + 2 * kv_heads)](
        qkv, queries, store, cosines, sines, *rows, rows[-1].shape[1], store.shape[1],
        HEADS=heads, KV=kv_heads, DIM=dim, PAGE=page, TURN=rotary is not None,
    )  # fmt: skip


def attend(queries, store, rows, page, kv_heads, parts, out):
    """Attention of ``queries`` (N, H, Dh) to their sequences' contexts; ``parts`` is scratch, see ``scratch``."""
    count, heads, dim = queries.shape
    sums, peaks, masses = parts
    splits = sums.shape[2]
    _attend[(count, kv_heads, splits)](
        queries, store, *rows, rows[-1].shape[1], store.shape[1], dim**-0.5, sums, peaks, masses,
        GROUP=heads // kv_heads, KV=kv_heads, DIM=dim, PAGE=page, SPLITS=splits, TILE=_TILE,
        ROWS=max(_ROWS, triton.next_power_of_2(heads // kv_heads)),
    )  # fmt: skip
    _join[(count * heads,)](sums, peaks, masses, out, DIM=dim, SPLITS=splits)


def attend_together(queries, store, rows, tiles, page, kv_heads, out):
    """The same where rows that follow each other are of one sequence: ``tiles`` (n, 2) int32 has the first row of each
    and how many, no more than ``tile_tokens``; 0 where there is none."""
    group, dim = queries.shape[1] // kv_heads, queries.shape[2]
    positions, owners, tables = rows
    _attend_together[(tiles.shape[0], kv_heads)](
        queries, store, positions, owners, tiles, tables, tables.shape[1], store.shape[1], dim**-0.5, out,
        GROUP=group, KV=kv_heads, DIM=dim, PAGE=page, TILE=_TILE, ROWS=_together(group, dim),
    )  # fmt: skip


def tile_tokens(heads, kv_heads, dim):
    """How many tokens of a sequence see their context together."""
    return _together(heads // kv_heads, dim) // (heads // kv_heads)


def _together(group, dim):
    return max(_TOGETHER.get(dim, 64), triton.next_power_of_2(group))


def scratch(rows, heads, kv_heads, dim, device):
    """Sums, peaks and masses of the attention's parts: more parts for fewer sequences, to fill the card."""
    programs = 2 * torch.cuda.get_device_properties(device).multi_processor_count
    splits = min(32, triton.next_power_of_2(max(1, programs // (rows * kv_heads))))
    shape = (rows, heads, splits)
    sums = torch.empty((*shape, dim), dtype=torch.float32, device=device)
    return sums, torch.empty(shape, dtype=torch.float32, device=device), torch.empty(shape, device=device)


def activate(inner, activation, out, *, gated):
    """``out`` (B, D) = act(``inner``), or act(gate) · up of gate and up side by side."""
    rows, width = out.shape
    block = min(1024, triton.next_power_of_2(width))
    _activate[(rows, triton.cdiv(width, block))](
        inner, out, width, GATED=gated, KIND=_ACTIVATIONS[activation], BLOCK=block
    )


def probe():
    """Launch one of them: an import alone does not show that kernels can be compiled."""
    rows = torch.zeros((1, 16), device="cuda")
    add_norm(rows, None, rows[0], None, 1e-5, torch.empty_like(rows))
    torch.cuda.current_stream().synchronize()
