"""Triton kernels that draw tokens on a GPU: one program for a row of scores, no sorting.

What top-k and top-p keep, and which token a random number means, depends on how much lies above some share of a token.
That share is found by bisection over the bits of float32 numbers (for positive ones their order is that of integers),
each time with a pass over the row, which stays in the cache. Sums are in float64, as ``sampling.Sampler`` has them.
"""

# Triton reads these functions' source: their types are its own, and mypy does not see them.
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK, _WARPS = 8192, 16


@triton.jit
def _summarize(scores, out, width, BLOCK: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    peak, mass, moment, best = float("-inf"), 0.0, 0.0, 0
    for start in range(0, width, BLOCK):
        score = tl.load(scores + row * width + start + at, mask=start + at < width, other=float("-inf"))
        top = tl.max(score, 0)
        first = tl.min(tl.where(score == top, start + at, width), 0)
        best = tl.where(top > peak, first, best)
        higher = tl.maximum(peak, top)
        base = tl.where(higher > float("-inf"), higher, 0.0)
        weight, fade = tl.exp(score - base), tl.exp(peak - base)
        mass = mass * fade + tl.sum(weight, 0)
        moment = moment * fade + tl.sum(tl.where(weight == 0.0, 0.0, weight * score), 0)
        peak = higher
    whole = peak + tl.log(mass)
    tl.store(out + row * 4, best.to(tl.float32))
    tl.store(out + row * 4 + 1, peak - whole)
    tl.store(out + row * 4 + 2, whole - moment / mass)
    tl.store(out + row * 4 + 3, whole)


@triton.jit
def _at_least(shares, width, bound, BLOCK: tl.constexpr):
    """The sum of the shares that are at least ``bound``, and their number."""
    at = tl.arange(0, BLOCK)
    total, count = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.int32)
    for start in range(0, width, BLOCK):
        share = tl.load(shares + start + at, mask=start + at < width, other=-1.0)
        total += tl.where(share >= bound, share, 0.0).to(tl.float64)
        count += (share >= bound).to(tl.int32)
    return tl.sum(total, 0), tl.sum(count, 0)


@triton.jit
def _bound(shares, width, mass, count, BLOCK: tl.constexpr):
    """The greatest share such that those at least as great are ``count`` or more and have ``mass`` together; then the
    sum of the greater ones, their number, and how many have just this share."""
    low, high = 0, 0x3F800001  # bits of 0 and of what is just above 1, the greatest share
    while high - low > 1:
        middle = (low + high) // 2
        total, found = _at_least(shares, width, middle.to(tl.float32, bitcast=True), BLOCK)
        enough = (total >= mass) & (found >= count)
        low, high = tl.where(enough, middle, low), tl.where(enough, high, middle)
    above, more = _at_least(shares, width, (low + 1).to(tl.float32, bitcast=True), BLOCK)
    share = low.to(tl.float32, bitcast=True)
    _, found = _at_least(shares, width, share, BLOCK)
    return share, above, more, found - more


@triton.jit
def _in_order(shares, width, least, value, BLOCK: tl.constexpr):
    """The first place at which the shares of at least ``least`` up to there have more than ``value`` together; the last
    one that has a share where rounding leaves none."""
    at = tl.arange(0, BLOCK)
    before, base, found = tl.zeros((), tl.float64), tl.zeros((), tl.float64), 0
    for start in range(0, width, BLOCK):  # the block first, then the place in it
        share = tl.load(shares + start + at, mask=start + at < width, other=0.0)
        mass = tl.sum(tl.where(share >= least, share, 0.0).to(tl.float64), 0)
        found = tl.where((before <= value) & (mass > 0.0), start, found)
        base = tl.where((before <= value) & (mass > 0.0), before, base)
        before += mass
    share = tl.load(shares + found + at, mask=found + at < width, other=0.0)
    share = tl.where(share >= least, share, 0.0)
    above = (base + tl.cumsum(share.to(tl.float64), 0) > value) & (share > 0.0)
    place = tl.min(tl.where(above, found + at, width), 0)
    return tl.where(place < width, place, tl.max(tl.where(share > 0.0, found + at, 0), 0))


@triton.jit
def _nth(shares, width, share, nth, BLOCK: tl.constexpr):
    """The place of the ``nth`` one, from 0, that has just this ``share``."""
    at = tl.arange(0, BLOCK)
    before, place = tl.zeros((), tl.int32), tl.zeros((), tl.int32)
    for start in range(0, width, BLOCK):
        same = tl.load(shares + start + at, mask=start + at < width, other=-1.0) == share
        number = before + tl.cumsum(same.to(tl.int32), 0) - 1
        place += tl.sum(tl.where(same & (number == nth), start + at, 0), 0)
        before += tl.sum(same.to(tl.int32), 0)
    return place


@triton.jit
def _draw(scores, shares, numbers, out, width, BLOCK: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    scores, shares, numbers = scores + row * width, shares + row * width, numbers + row * 5
    temperature, top_p = tl.load(numbers).to(tl.float32), tl.load(numbers + 1)
    top_k, number, min_p = tl.load(numbers + 2), tl.load(numbers + 3), tl.load(numbers + 4).to(tl.float32)
    peak = float("-inf")
    for start in range(0, width, BLOCK):
        score = tl.load(scores + start + at, mask=start + at < width, other=float("-inf"))
        peak = tl.maximum(peak, tl.max(score, 0))
    for start in range(0, width, BLOCK):  # relative to the likeliest, whose share is 1
        inside = start + at < width
        score = tl.load(scores + start + at, mask=inside, other=float("-inf"))
        tl.store(shares + start + at, tl.exp((score - peak) / temperature), mask=inside)
    tl.debug_barrier()
    if (top_k >= width) & (top_p >= 1.0):
        whole, _ = _at_least(shares, width, min_p, BLOCK)
        token = _in_order(shares, width, min_p, number * whole, BLOCK)
    else:
        least = tl.zeros((), tl.float32)
        whole, _ = _at_least(shares, width, least, BLOCK)
        if top_k < width:
            least, above, more, _ = _bound(shares, width, 0.0, top_k.to(tl.int32), BLOCK)
            whole = above + (top_k - more) * least
        if top_p < 1.0:  # a token stays while the likelier ones together have less (Holtzman et al. 2020)
            need = top_p * whole
            least, above, _, same = _bound(shares, width, need, 1, BLOCK)
            whole = above + tl.minimum(tl.maximum(tl.ceil((need - above) / least), 1.0), same) * least
        if min_p > least:
            whole, _ = _at_least(shares, width, min_p, BLOCK)
        value = number * whole
        share, above, _, same = _bound(shares, width, value, 1, BLOCK)
        nth = tl.minimum(tl.maximum(tl.floor((value - above) / share), 0.0), (same - 1).to(tl.float64))
        token = _nth(shares, width, share, nth.to(tl.int32), BLOCK)
    tl.store(out + row, token.to(tl.int64))


def summarize(scores):
    """See ``drawing.summarize``."""
    scores = scores.contiguous()
    out = scores.new_empty((scores.shape[0], 4))
    _summarize[(scores.shape[0],)](scores, out, scores.shape[1], BLOCK=_BLOCK, num_warps=_WARPS)
    return out


def draw(scores, numbers):
    """A token (B,) int64 for each row of ``scores`` (B, V) float32 by ``numbers`` (B, 5) float64: temperature, top-p,
    top-k (V: none), a random number in [0, 1), min-p."""
    scores = scores.contiguous()
    out = torch.empty(scores.shape[0], dtype=torch.int64, device=scores.device)
    _draw[(scores.shape[0],)](
        scores, torch.empty_like(scores), numbers, out, scores.shape[1], BLOCK=_BLOCK, num_warps=_WARPS
    )
    return out


def probe():
    """Launch what is here once: an import alone does not show that kernels can be compiled."""
    scores = torch.zeros((1, 2), device="cuda")
    summarize(scores)
    draw(scores, torch.tensor([[1.0, 0.5, 2.0, 0.0, 0.0]], dtype=torch.float64, device="cuda"))
    torch.cuda.current_stream().synchronize()
