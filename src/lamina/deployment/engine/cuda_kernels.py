"""Triton kernels of the decoding step on a GPU: a handful of launches a layer instead of dozens.

Rows are sequences, one token each. Keys and values lie as in ``runner``: (2 · kv_heads, slots, head_dim), in pages.
The attention splits a sequence's context over several programs and joins their parts by their peaks and masses
(flash decoding: Dao et al. 2023).
"""

# Triton reads these functions' source: their types are its own, and mypy does not see them.
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

_TILE = 64  # tokens of the context at a time
_ROWS = 16  # the fewest rows that tensor cores multiply
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
    qkv, queries, store, cosines, sines, positions, tables, table_width, slots,
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
        page = tl.load(tables + row * table_width + position // PAGE).to(tl.int64)
        slot = (head - HEADS) * slots + page * PAGE + position % PAGE
        tl.store(store + slot * DIM + at, value.to(store.dtype.element_ty))


@triton.jit
def _attend(
    queries, store, positions, tables, table_width, slots, scale, sums, peaks, masses,
    GROUP: tl.constexpr, KV: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, SPLITS: tl.constexpr,
    TILE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
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
        page = tl.load(tables + row * table_width + token // PAGE, mask=there, other=0).to(tl.int64)
        slot = head * slots + page * PAGE + token % PAGE
        key = tl.load(store + slot[:, None] * DIM + at[None, :], mask=there[:, None], other=0.0)
        score = tl.dot(query, tl.trans(key)) * scale
        score = tl.where(there[None, :], score, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 1))
        weight = tl.exp(score - higher[:, None])
        fade = tl.exp(peak - higher)
        mass = mass * fade + tl.sum(weight, 1)
        value = tl.load(store + (slot + KV * slots)[:, None] * DIM + at[None, :], mask=there[:, None], other=0.0)
        total = total * fade[:, None] + tl.dot(weight.to(value.dtype), value)
        peak = higher
    part = place * SPLITS + split
    tl.store(sums + part[:, None] * DIM + at[None, :], total, mask=real[:, None])
    tl.store(peaks + part, peak, mask=real)
    tl.store(masses + part, mass, mask=real)


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
def _activate(inner, out, width, GATED: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    stride = 2 * width if GATED else width
    x = tl.load(inner + row * stride + at, mask=inside, other=0.0).to(tl.float32)
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


def place(qkv, queries, store, rotary, positions, tables, page, heads, kv_heads):
    """Turn the queries and keys of ``qkv`` (B, (heads + 2 · kv_heads) · Dh) to their places; store keys and values."""
    rows, dim = qkv.shape[0], store.shape[-1]
    cosines, sines = (queries, queries) if rotary is None else rotary
    _place[(rows, heads + 2 * kv_heads)](
        qkv, queries, store, cosines, sines, positions, tables, tables.shape[1], store.shape[1],
        HEADS=heads, KV=kv_heads, DIM=dim, PAGE=page, TURN=rotary is not None,
    )  # fmt: skip


def attend(queries, store, positions, tables, page, kv_heads, parts, out):
    """Attention of ``queries`` (B, H, Dh) to their sequences' contexts; ``parts`` is scratch, see ``scratch``."""
    rows, heads, dim = queries.shape
    sums, peaks, masses = parts
    splits = sums.shape[2]
    _attend[(rows, kv_heads, splits)](
        queries, store, positions, tables, tables.shape[1], store.shape[1], dim**-0.5, sums, peaks, masses,
        GROUP=heads // kv_heads, KV=kv_heads, DIM=dim, PAGE=page, SPLITS=splits, TILE=_TILE,
        ROWS=max(_ROWS, triton.next_power_of_2(heads // kv_heads)),
    )  # fmt: skip
    _join[(rows * heads,)](sums, peaks, masses, out, DIM=dim, SPLITS=splits)


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
