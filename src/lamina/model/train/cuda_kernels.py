"""The loss over a vocabulary on a GPU: one Triton kernel instead of ten passes over the scores."""

# Triton reads these functions' source: their types are its own, and mypy does not see them.
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

from lamina.contracts.tokens import IGNORED

_BLOCK = 4096


@triton.jit
def _cross_entropy(scores, targets, losses, width, LEFT_OUT: tl.constexpr, WANTED: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    target = tl.load(targets + row)
    learned = target != LEFT_OUT
    right = tl.load(scores + row * width + tl.maximum(target, 0)).to(tl.float32)  # before it is written over
    peak, mass = float("-inf"), 0.0
    for start in range(0, width, BLOCK):
        score = tl.load(scores + row * width + start + at, mask=start + at < width, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(peak, tl.max(score, 0))
        mass = mass * tl.exp(peak - higher) + tl.sum(tl.exp(score - higher), 0)
        peak = higher
    whole = peak + tl.log(mass)
    tl.store(losses + row, tl.where(learned, whole - right, 0.0))
    if WANTED:
        for start in range(0, width, BLOCK):
            place = scores + row * width + start + at
            inside = start + at < width
            slope = tl.exp(tl.load(place, mask=inside, other=0.0).to(tl.float32) - whole)
            slope = tl.where(learned, slope - tl.where(start + at == target, 1.0, 0.0), 0.0)
            tl.store(place, slope.to(scores.dtype.element_ty), mask=inside)


def cross_entropy(scores, targets, *, wanted):
    """The sum (nats) over ``scores`` (N, V) of the cross-entropies with ``targets`` (N,) int64, but for those that are
    ``IGNORED``. Computed in float32 from scores of any precision; with ``wanted`` they become their own gradient."""
    losses = torch.empty(len(scores), dtype=torch.float32, device=scores.device)
    if len(scores):
        _cross_entropy[(len(scores),)](
            scores, targets, losses, scores.shape[1], LEFT_OUT=IGNORED, WANTED=wanted, BLOCK=_BLOCK, num_warps=8
        )
    return losses.sum()


def probe():
    """Launch what is here once: an import alone does not show that kernels can be compiled."""
    cross_entropy(torch.zeros((1, 2), device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda"), wanted=True)
    torch.cuda.current_stream().synchronize()
