"""Cross-entropy over a large vocabulary without the whole matrix of logits in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK_ELEMENTS = 1 << 24  # logits that exist at a time: 64 MiB in float32


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(hidden @ weight.T)[target]; gradients are computed in the forward pass, chunk by chunk.

    Idea: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models" (arXiv 2411.09009).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        want_hidden, want_weight, _ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight = torch.zeros_like(weight) if want_weight else None
        rows = max(1, _CHUNK_ELEMENTS // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            scores = F.linear(part, weight).float()
            peak = scores.amax(dim=1, keepdim=True)
            right = scores.gather(1, wanted) - peak
            scores.sub_(peak).exp_()
            mass = scores.sum(dim=1, keepdim=True)
            total += (mass.log() - right).sum()
            if not (want_hidden or want_weight):
                continue
            scores.div_(mass).scatter_add_(1, wanted, -torch.ones_like(right))
            if grad_hidden is not None:
                grad_hidden[start : start + rows] = torch.mm(scores.to(weight.dtype), weight)
            if grad_weight is not None:
                _add_product(grad_weight, scores.to(weight.dtype), part.to(weight.dtype))
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (grad,) = grads
        hidden, weight = ctx.saved_tensors
        return (None if hidden is None else hidden * grad, None if weight is None else weight * grad, None)


def _add_product(total: Tensor, scores: Tensor, hidden: Tensor) -> None:
    """``total`` (V, D) += ``scores`` (N, V).T @ ``hidden`` (N, D)."""
    if torch.is_autocast_enabled(total.device.type):  # in-place products are not cast: they would run in float32
        total += torch.mm(scores.T, hidden)
    else:
        total.addmm_(scores.T, hidden)


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The sum (nats) of the cross-entropies of ``hidden`` (N, D) @ ``weight`` (V, D).T with ``targets`` (N,) int64.

    Equals ``F.cross_entropy(hidden @ weight.T, targets, reduction="sum")`` in value and gradients; a frozen
    ``weight`` costs no gradient. Scores are summed up in float32.
    """
    total: Tensor = _ChunkedCrossEntropy.apply(hidden, weight, targets)
    return total
