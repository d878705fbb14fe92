"""Losses over a large vocabulary without the whole matrix of logits in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.contracts.tokens import IGNORED
from lamina.model.device import triton_kernels
from lamina.model.layers.precision import lowered

_CHUNK_ELEMENTS = 1 << 24  # logits that exist at a time: 64 MiB in float32


class Measure(Protocol):
    """A loss of some rows of scores."""

    def __call__(self, scores: Tensor, rows: slice, *, wanted: bool) -> tuple[Tensor, Tensor]:
        """The sum of the losses of ``scores`` (n, V), those of ``rows``, in float32; with ``wanted`` their gradient,
        which may lie where they lay."""
        ...


class _ChunkedLoss(torch.autograd.Function):
    """A loss of hidden @ weight.T + bias; gradients are computed in the forward pass, chunk by chunk.

    Idea: Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models" (arXiv 2411.09009).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, measure: Measure) -> Tensor:
        want_hidden, want_weight, want_bias, _ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight = torch.zeros_like(weight) if want_weight else None
        grad_bias = torch.zeros_like(bias) if want_bias and bias is not None else None
        wanted = want_hidden or want_weight or want_bias
        size = max(1, _CHUNK_ELEMENTS // weight.shape[0])
        matrix = lowered(weight)
        for start in range(0, hidden.shape[0], size):
            rows = slice(start, start + size)
            part = hidden[rows].to(matrix.dtype)
            lost, slope = measure(F.linear(part, matrix, bias), rows, wanted=wanted)
            total += lost
            if grad_bias is not None:
                grad_bias += slope.sum(dim=0, dtype=grad_bias.dtype)
            slope = slope.to(matrix.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = torch.mm(slope, matrix)
            if grad_weight is not None:
                _add_product(grad_weight, slope, part)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        return (*(None if saved is None else saved * grad for saved in ctx.saved_tensors), None)


def _add_product(total: Tensor, scores: Tensor, hidden: Tensor) -> None:
    """``total`` (V, D) += ``scores`` (N, V).T @ ``hidden`` (N, D)."""
    if total.dtype == hidden.dtype:
        total.addmm_(scores.T, hidden)
    else:
        total += torch.mm(scores.T, hidden)


def chunked_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """The sum (nats) of the cross-entropies of ``hidden`` (N, D) @ ``weight`` (V, D).T + ``bias`` (V,) with
    ``targets`` (N,) int64.

    Equals ``F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="sum")`` in value and gradients, rows
    whose target is ``IGNORED`` included; what is frozen costs no gradient. Scores are summed up in float32.
    """

    kernels = triton_kernels("lamina.model.train.cuda_kernels") if hidden.is_cuda else None

    def measure(scores: Tensor, rows: slice, *, wanted: bool) -> tuple[Tensor, Tensor]:
        if kernels is not None:
            return kernels.cross_entropy(scores, targets[rows], wanted=wanted), scores
        scores = scores.float()
        return _cross_entropy(scores, targets[rows, None], wanted=wanted), scores

    total: Tensor = _ChunkedLoss.apply(hidden, weight, bias, measure)
    return total


def chunked_distillation(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    teacher: Callable[[slice], Tensor],
    *,
    bias: Tensor | None = None,
    share: float,
    temperature: float,
) -> Tensor:
    """The sum (nats) of ``mixed`` losses over ``hidden`` (N, D) @ ``weight`` (V, D).T + ``bias`` (V,).

    ``teacher(rows)``: its scores (n, V) of these rows.
    """

    def measure(scores: Tensor, rows: slice, *, wanted: bool) -> tuple[Tensor, Tensor]:
        scores = scores.float()
        ours, theirs = (F.log_softmax(s.float() / temperature, dim=-1) for s in (scores, teacher(rows)))
        soft, likely = theirs.exp(), ours.exp()
        apart = (soft * (theirs - ours)).sum()
        hard = _cross_entropy(scores, targets[rows, None], wanted=wanted)
        if wanted:  # d/ds of T² · KL is T · (softmax(s / T) - teacher)
            scores.mul_(1 - share).add_(likely.sub_(soft), alpha=share * temperature)
        return (1 - share) * hard + share * temperature**2 * apart, scores

    total: Tensor = _ChunkedLoss.apply(hidden, weight, bias, measure)
    return total


def mixed(scores: Tensor, targets: Tensor, theirs: Tensor, *, share: float, temperature: float) -> Tensor:
    """Knowledge distillation (arXiv 1503.02531): the sum (nats) over scores (N, V) of (1 - ``share``) times the
    cross-entropy with ``targets`` (N,), plus ``share`` · T² times the Kullback-Leibler divergence from the teacher's
    scores ``theirs`` (N, V), both softened by the ``temperature`` T."""
    ours, soft = (F.log_softmax(s.float() / temperature, dim=-1) for s in (scores, theirs))
    apart = F.kl_div(ours, soft, reduction="sum", log_target=True)
    hard = F.cross_entropy(scores.float(), targets, reduction="sum")
    return (1 - share) * hard + share * temperature**2 * apart


def _cross_entropy(scores: Tensor, targets: Tensor, *, wanted: bool) -> Tensor:
    """See ``Measure``; ``targets`` (n, 1)."""
    learned = targets != IGNORED
    targets = targets.clamp(min=0)
    peak = scores.amax(dim=1, keepdim=True)
    right = scores.gather(1, targets) - peak
    scores.sub_(peak).exp_()
    mass = scores.sum(dim=1, keepdim=True)
    if wanted:
        scores.div_(mass.masked_fill(~learned, torch.inf)).scatter_add_(1, targets, -learned.to(scores.dtype))
    return (mass.log() - right).masked_fill(~learned, 0.0).sum()
